//! What the target remembers, in tables named `_migrate_*` beside the rows.

mod changes;
mod fence;
mod key_map;
mod read;
mod schema;

pub(crate) use changes::apply;
pub(crate) use fence::check as check_fence;
pub(crate) use key_map::by_source as mapped;

use crate::error::SqliteContext;
use crate::sink::Shared;
use async_trait::async_trait;
use migrate_core::schema::TableName;
use migrate_core::state::{
    BlockHead, Checkpoint, Feeds, Fence, FenceOwner, GoneRow, QuarantinedRow, Scope, StoredBlock, TargetState, UnfinishedTable,
};
use migrate_core::value::Key;
use migrate_core::{Error, ErrorKind, Result};
use rusqlite::{Connection, params};
use std::collections::HashMap;
use std::sync::Arc;

/// The state tables of a SQLite file.
///
/// They are read over the writer's own connection: a second one would be locked out while the first holds a large transaction.
/// State is written by a commit alone, in one go, so nothing uncommitted is ever seen.
#[derive(Debug, Clone)]
pub(crate) struct SqliteState {
    shared: Arc<Shared>,
}

impl SqliteState {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        SqliteState { shared }
    }

    /// Reads something, or says `T::default()` where no state was ever written.
    async fn read<T: Default + Send + 'static>(&self, read: impl FnOnce(&Connection) -> Result<T> + Send + 'static) -> Result<T> {
        if !self.shared.file_exists() {
            return Ok(T::default());
        }
        self.shared.run(move |c| if schema::exists(c)? { read(c) } else { Ok(T::default()) }).await
    }
}

#[async_trait]
impl TargetState for SqliteState {
    async fn exists(&self) -> Result<bool> {
        if !self.shared.file_exists() {
            return Ok(false);
        }
        self.shared.run(schema::exists).await
    }

    async fn initialize(&self) -> Result<()> {
        self.shared.run_alone(schema::initialize).await
    }

    fn initialize_sql(&self, _writer: Option<&str>) -> String {
        // Rights on a SQLite file are those on the file: there is nothing to grant.
        schema::statements()
    }

    async fn acquire(&self, job: &str, owner: &FenceOwner) -> Result<Fence> {
        let (job, owner) = (job.to_owned(), owner.clone());
        self.shared.run_alone(move |c| in_transaction(c, |c| fence::acquire(c, &job, &owner))).await
    }

    async fn holder(&self, job: &str) -> Result<Option<FenceOwner>> {
        let job = job.to_owned();
        self.read(move |c| fence::holder(c, &job)).await
    }

    async fn release(&self, fence: &Fence) -> Result<()> {
        let fence = fence.clone();
        self.shared.run_alone(move |c| in_transaction(c, |c| fence::release(c, &fence))).await
    }

    async fn settle(&self, fence: &Fence) -> Result<()> {
        let fence = fence.clone();
        // Holding the write lock means that no other transaction is in progress.
        self.shared.run_alone(move |c| in_transaction(c, |c| check_fence(c, &fence))).await
    }

    async fn checkpoints(&self, job: &str, entity: &str) -> Result<Vec<(u32, Checkpoint)>> {
        let (job, entity) = (job.to_owned(), entity.to_owned());
        self.read(move |c| read::checkpoints(c, &job, &entity)).await
    }

    async fn neighbours(&self, job: &str) -> Result<Vec<(Scope, Feeds)>> {
        let job = job.to_owned();
        self.read(move |c| read::neighbours(c, &job)).await
    }

    async fn ledger_blocks(&self, scope: &Scope, after: Option<i64>, limit: usize) -> Result<Vec<StoredBlock>> {
        let scope = scope.clone();
        self.read(move |c| read::ledger_blocks(c, &scope, after, limit)).await
    }

    async fn ledger_heads(&self, scope: &Scope, after: Option<i64>, limit: usize) -> Result<Vec<BlockHead>> {
        let scope = scope.clone();
        self.read(move |c| read::ledger_heads(c, &scope, after, limit)).await
    }

    async fn quarantine(&self, job: &str, entity: Option<&str>, limit: usize) -> Result<Vec<QuarantinedRow>> {
        let (job, entity) = (job.to_owned(), entity.map(str::to_owned));
        self.read(move |c| read::quarantine(c, &job, entity.as_deref(), limit)).await
    }

    async fn quarantined_keys(&self, scope: &Scope, limit: usize) -> Result<Vec<Vec<u8>>> {
        let scope = scope.clone();
        self.read(move |c| read::quarantined_keys(c, &scope, limit)).await
    }

    async fn gone_rows(&self, scope: &Scope, before: Option<i64>, limit: usize) -> Result<Vec<(i64, GoneRow)>> {
        let scope = scope.clone();
        self.read(move |c| read::gone_rows(c, &scope, before, limit)).await
    }

    async fn mapped(&self, job: &str, entity: &str, sources: &[Key]) -> Result<HashMap<Key, Key>> {
        let (job, entity, sources) = (job.to_owned(), entity.to_owned(), sources.to_vec());
        self.read(
            move |c| if schema::has_key_map(c)? { key_map::by_source(c, &job, &entity, &sources) } else { Ok(HashMap::new()) },
        )
        .await
    }

    async fn mapped_back(&self, job: &str, entity: &str, targets: &[Key]) -> Result<HashMap<Key, Key>> {
        let (job, entity, targets) = (job.to_owned(), entity.to_owned(), targets.to_vec());
        self.read(
            move |c| if schema::has_key_map(c)? { key_map::by_target(c, &job, &entity, &targets) } else { Ok(HashMap::new()) },
        )
        .await
    }

    async fn unfinished_tables(&self, job: &str) -> Result<Vec<UnfinishedTable>> {
        let job = job.to_owned();
        self.read(move |c| read::unfinished_tables(c, &job)).await
    }
}

/// Runs a closure in a transaction that holds the write lock from its start, and commits it.
pub(crate) fn in_transaction<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    connection.execute_batch("BEGIN IMMEDIATE").during("beginning a transaction")?;
    let result = work(connection).and_then(|value| commit(connection).map(|()| value));
    if result.is_err() {
        rollback(connection);
    }
    result
}

/// How often a commit waits for readers, the busy timeout each time.
const COMMIT_ATTEMPTS: u32 = 6;

/// Commits; readers that hold the file are waited for.
///
/// # Errors
/// [`ErrorKind::CommitUnknown`] if the file system failed at the very end, so that only the file knows what holds.
pub(crate) fn commit(connection: &Connection) -> Result<()> {
    use rusqlite::ffi;
    let mut attempt = 1;
    loop {
        let Err(error) = connection.execute_batch("COMMIT") else { return Ok(()) };
        let code = match &error {
            rusqlite::Error::SqliteFailure(failure, _) => failure.extended_code,
            _ => 0,
        };
        if code & 0xff == ffi::SQLITE_BUSY && attempt < COMMIT_ATTEMPTS && !connection.is_autocommit() {
            attempt += 1;
            continue;
        }
        let error = crate::error::from_sqlite(&error, "committing");
        // The commit is the removal of the journal, or the sync of the log: a failure before it undoes all, one of it is open.
        let at_the_end =
            [ffi::SQLITE_IOERR_DELETE, ffi::SQLITE_IOERR_DIR_FSYNC, ffi::SQLITE_IOERR_TRUNCATE, ffi::SQLITE_IOERR_FSYNC];
        return Err(if at_the_end.contains(&code) && connection.is_autocommit() {
            error.into_kind(ErrorKind::CommitUnknown)
        } else {
            error
        });
    }
}

/// Rolls back what is open.
pub(crate) fn rollback(connection: &Connection) {
    if !connection.is_autocommit() {
        // Should this fail, the transaction stays open and the next BEGIN says so; nothing of it is committed.
        let _ = connection.execute_batch("ROLLBACK");
    }
}

/// Whether some job is creating a table and has not finished.
pub(crate) fn is_unfinished(connection: &Connection, table: &str) -> Result<bool> {
    let query = "SELECT EXISTS (SELECT 1 FROM main._migrate_unfinished WHERE table_name = ?1 COLLATE NOCASE)";
    let mut statement = connection.prepare_cached(query).during("reading the state")?;
    statement.query_row([table], |row| row.get(0)).during("reading the state")
}

/// Records that a table is being created.
pub(crate) fn begin_table(connection: &Connection, job: &str, table: &UnfinishedTable) -> Result<()> {
    let plan = to_json(&table.plan)?;
    let insert = "INSERT OR REPLACE INTO main._migrate_unfinished(job, table_name, plan) VALUES (?1, ?2, ?3)";
    connection.execute(insert, params![job, table.name.name, plan]).during("writing the state").map(|_| ())
}

/// Records that a table is complete.
pub(crate) fn end_table(connection: &Connection, job: &str, table: &TableName) -> Result<()> {
    let delete = "DELETE FROM main._migrate_unfinished WHERE job = ?1 AND table_name = ?2";
    connection.execute(delete, params![job, table.name]).during("writing the state").map(|_| ())
}

fn to_json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::new(ErrorKind::Internal, "state cannot be written as JSON").caused_by(e))
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str, what: &'static str) -> Result<T> {
    serde_json::from_str(text).map_err(|_| {
        Error::new(ErrorKind::Corrupt, format!("a stored {what} cannot be read: it is damaged or of a newer version"))
    })
}
