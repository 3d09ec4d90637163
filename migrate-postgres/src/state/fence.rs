//! Taking, holding and giving back the right to write for a job.

use crate::connection::execute;
use crate::error::from_sqlx;
use crate::pool::{Pool, Session, SessionId, epoch_number, fenced};
use crate::rehearsal::over;
use migrate_core::state::{Fence, FenceOwner};
use migrate_core::{Error, ErrorKind, Result};
use sqlx::postgres::PgConnection;
use std::time::{Duration, Instant};

/// How long one attempt waits for the fence's row before it looks for sessions to end again.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a session of another role, which cannot be ended, is waited for.
const LIMIT: Duration = Duration::from_secs(60);

/// Takes the fence: ends the sessions of the holder before, then counts the epoch up.
///
/// A rehearsal takes none: nobody's sessions are ended for it, and nobody waits for its end to begin a run.
pub(super) async fn acquire(pool: &Pool, job: &str, owner: &FenceOwner) -> Result<Fence> {
    if pool.lone().is_some() {
        return Ok(Fence { job: job.to_owned(), epoch: 0 });
    }
    with_session(pool, async |connection| {
        sqlx::query("INSERT INTO migrate.fence (job, epoch) VALUES ($1, 0) ON CONFLICT (job) DO NOTHING")
            .bind(job)
            .execute(&mut *connection)
            .await
            .map_err(from_sqlx)?;
        let epoch = locked(connection, job, Holders::All, async |connection, _| {
            let (epoch,): (i64,) = sqlx::query_as(
                "UPDATE migrate.fence f SET epoch = f.epoch + 1, execution = $2, host = $3, process = $4, taken_at = pg_catalog.now() \
                 WHERE f.job = $1 RETURNING f.epoch",
            )
            .bind(job)
            .bind(&owner.execution)
            .bind(&owner.host)
            .bind(i64::from(owner.process))
            .fetch_one(&mut *connection)
            .await
            .map_err(from_sqlx)?;
            sqlx::query("DELETE FROM migrate.fence_session s WHERE s.job = $1")
                .bind(job)
                .execute(connection)
                .await
                .map_err(from_sqlx)?;
            Ok(epoch)
        })
        .await?;
        let epoch = u64::try_from(epoch).map_err(|_| Error::new(ErrorKind::Corrupt, "the fence holds a negative epoch"))?;
        Ok(Fence { job: job.to_owned(), epoch })
    })
    .await
}

/// Waits until no lost session of this fence can commit any more.
pub(super) async fn settle(pool: &Pool, fence: &Fence) -> Result<()> {
    if pool.lone().is_some() {
        return Err(over());
    }
    let lost = pool.take_lost();
    let settled = with_session(pool, async |connection| {
        let wanted = epoch_number(fence)?;
        locked(
            connection,
            &fence.job,
            Holders::These(&lost),
            async |_, epoch| {
                if epoch == wanted { Ok(()) } else { Err(fenced(fence)) }
            },
        )
        .await
    })
    .await;
    if settled.is_err() {
        // Whoever asks again must wait for the same sessions.
        lost.into_iter().for_each(|id| pool.lose(id));
    }
    settled
}

/// Gives the fence back, unless somebody has taken over.
pub(super) async fn release(pool: &Pool, fence: &Fence) -> Result<()> {
    if pool.lone().is_some() {
        return Ok(());
    }
    with_session(pool, async |connection| {
        sqlx::query(
            "WITH mine AS (UPDATE migrate.fence f SET execution = NULL, host = NULL, process = NULL \
                           WHERE f.job = $1 AND f.epoch = $2 RETURNING f.job, f.epoch) \
             DELETE FROM migrate.fence_session s USING mine m WHERE s.job = m.job AND s.epoch = m.epoch",
        )
        .bind(&fence.job)
        .bind(epoch_number(fence)?)
        .execute(connection)
        .await
        .map_err(from_sqlx)?;
        Ok(())
    })
    .await
}

/// Returns who holds the fence.
pub(super) async fn holder(pool: &Pool, job: &str) -> Result<Option<FenceOwner>> {
    with_session(pool, async |connection| {
        let found: Option<(Option<String>, Option<String>, Option<i64>)> =
            sqlx::query_as("SELECT f.execution, f.host, f.process FROM migrate.fence f WHERE f.job = $1")
                .bind(job)
                .fetch_optional(connection)
                .await
                .map_err(from_sqlx)?;
        Ok(found.and_then(|(execution, host, process)| {
            Some(FenceOwner { execution: execution?, host: host?, process: u32::try_from(process?).ok()? })
        }))
    })
    .await
}

/// Runs something on a session of the pool, which is given back only if all went well.
pub(crate) async fn with_session<T>(pool: &Pool, work: impl AsyncFnOnce(&mut PgConnection) -> Result<T>) -> Result<T> {
    if let Some(lone) = pool.lone() {
        let mut loan = lone.lend_apart().await?;
        let result = work(&mut loan.connection).await;
        return loan.settle(result).await;
    }
    let mut session: Session = pool.get().await?;
    let result = work(&mut session.connection).await;
    if result.is_ok() {
        pool.put(session);
    }
    result
}

/// Which sessions stand in the way of the lock.
enum Holders<'a> {
    /// All that the fence names.
    All,
    /// Our own lost ones.
    These(&'a [SessionId]),
}

/// Ends sessions and locks the fence's row, which waits for whatever they had under way, then runs `work` and commits.
async fn locked<T>(
    connection: &mut PgConnection,
    job: &str,
    holders: Holders<'_>,
    work: impl AsyncFnOnce(&mut PgConnection, i64) -> Result<T>,
) -> Result<T> {
    let began = Instant::now();
    let epoch = loop {
        let left = end_sessions(connection, job, &holders).await?;
        execute(connection, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await?;
        execute(connection, format!("SET LOCAL lock_timeout = {}", PATIENCE.as_millis())).await?;
        let found: std::result::Result<Option<(i64,)>, _> =
            sqlx::query_as("SELECT f.epoch FROM migrate.fence f WHERE f.job = $1 FOR UPDATE")
                .bind(job)
                .fetch_optional(&mut *connection)
                .await;
        match found.map_err(from_sqlx) {
            Ok(Some((epoch,))) => break epoch,
            Ok(None) => {
                execute(connection, "ROLLBACK").await?;
                return Err(Error::new(ErrorKind::Fenced, "nobody holds the fence of this job").with("job", job));
            }
            Err(error) if error.kind() == ErrorKind::Busy => {
                execute(connection, "ROLLBACK").await?;
                if began.elapsed() > LIMIT {
                    let message = "a session of the process that held the fence before does not end";
                    let error = Error::new(ErrorKind::Busy, message).with("job", job);
                    return Err(match left.first() {
                        Some(pid) => error.with("server process", pid),
                        None => error,
                    });
                }
            }
            Err(error) => return Err(error),
        }
    };
    let result = work(connection, epoch).await;
    let end = execute(connection, if result.is_ok() { "COMMIT" } else { "ROLLBACK" }).await;
    let value = result?;
    end?;
    Ok(value)
}

/// Ends the sessions that belong to the same role and returns the process ids of those that are still there.
///
/// A process id is used again sooner or later; only together with the time that the session began does it name one.
async fn end_sessions(connection: &mut PgConnection, job: &str, holders: &Holders<'_>) -> Result<Vec<i32>> {
    let given = match holders {
        Holders::All => None,
        Holders::These([]) => return Ok(Vec::new()),
        Holders::These(ids) => Some(ids),
    };
    let (pids, started): (Vec<i32>, Vec<String>) = match given {
        Some(ids) => ids.iter().map(|id| (id.pid, id.started.clone())).unzip(),
        None => sqlx::query_as::<_, (i32, String)>("SELECT s.pid, s.started FROM migrate.fence_session s WHERE s.job = $1")
            .bind(job)
            .fetch_all(&mut *connection)
            .await
            .map_err(from_sqlx)?
            .into_iter()
            .unzip(),
    };
    // A session of a role that this one may not look into has no time of its own here; it is left to the lock.
    let rows: Vec<(i32, bool)> = sqlx::query_as(
        "SELECT a.pid, CASE WHEN a.usename = CURRENT_USER OR pg_catalog.pg_has_role(a.usesysid, 'MEMBER') \
                            THEN pg_catalog.pg_terminate_backend(a.pid) ELSE false END \
         FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.int4[]), pg_catalog.unnest($2::pg_catalog.text[])) AS s(pid, started) \
         JOIN pg_catalog.pg_stat_activity a ON a.pid = s.pid AND a.backend_start::pg_catalog.text = s.started \
         WHERE a.pid <> pg_catalog.pg_backend_pid()",
    )
    .bind(pids)
    .bind(started)
    .fetch_all(connection)
    .await
    .map_err(from_sqlx)?;
    Ok(rows.into_iter().map(|(pid, _)| pid).collect())
}
