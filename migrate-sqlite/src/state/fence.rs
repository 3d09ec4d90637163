//! The fence: which process may write for a job.

use crate::error::SqliteContext;
use migrate_core::state::{Fence, FenceOwner};
use migrate_core::{Error, ErrorKind, Result};
use rusqlite::{Connection, OptionalExtension, params};

/// Checks that nobody has taken over. Within a transaction that holds the write lock the answer stays true until its end.
pub(crate) fn check(connection: &Connection, fence: &Fence) -> Result<()> {
    let doing = "checking the fence";
    let mut statement = connection.prepare_cached("SELECT epoch FROM main._migrate_fence WHERE job = ?1").during(doing)?;
    let epoch: Option<i64> = statement.query_row([&fence.job], |row| row.get(0)).optional().during(doing)?;
    if epoch.and_then(|e| u64::try_from(e).ok()) == Some(fence.epoch) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Fenced, "another process has taken over").with("job", &fence.job))
}

/// Counts the epoch up. The caller holds the write lock, so no earlier holder is in a transaction; its next one will be refused.
pub(super) fn acquire(connection: &Connection, job: &str, owner: &FenceOwner) -> Result<Fence> {
    let upsert = "INSERT INTO main._migrate_fence(job, epoch, execution, host, process, process_started, acquired_at)
                  VALUES (?1, 1, ?2, ?3, ?4, ?5, CURRENT_TIMESTAMP)
                  ON CONFLICT (job) DO UPDATE SET epoch = epoch + 1, execution = excluded.execution, host = excluded.host,
                  process = excluded.process, process_started = excluded.process_started, acquired_at = excluded.acquired_at
                  RETURNING epoch";
    let row = params![job, owner.execution, owner.host, owner.process, process_started(owner.process)];
    let epoch: i64 = connection.query_row(upsert, row, |row| row.get(0)).during("taking the fence")?;
    let epoch =
        u64::try_from(epoch).map_err(|_| Error::new(ErrorKind::Corrupt, "the stored epoch is negative").with("job", job))?;
    Ok(Fence { job: job.to_owned(), epoch })
}

/// Returns who holds the fence.
pub(super) fn holder(connection: &Connection, job: &str) -> Result<Option<FenceOwner>> {
    let query = "SELECT execution, host, process FROM main._migrate_fence WHERE job = ?1 AND execution IS NOT NULL";
    connection
        .query_row(query, [job], |row| Ok(FenceOwner { execution: row.get(0)?, host: row.get(1)?, process: row.get(2)? }))
        .optional()
        .during("reading the fence")
}

/// Gives the fence back; the epoch stays.
pub(super) fn release(connection: &Connection, fence: &Fence) -> Result<()> {
    let update = "UPDATE main._migrate_fence SET execution = NULL, host = NULL, process = NULL, process_started = NULL
                  WHERE job = ?1 AND epoch = ?2";
    // An epoch beyond i64 was never given out, so it matches nothing.
    let epoch = i64::try_from(fence.epoch).unwrap_or(-1);
    connection.execute(update, params![fence.job, epoch]).during("giving the fence back").map(|_| ())
}

/// When a process of this host began, in clock ticks since boot: tells it from a later one of the same number. For people only.
fn process_started(process: u32) -> Option<i64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The command stands in brackets and may hold anything; field 22 is the twentieth behind it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}
