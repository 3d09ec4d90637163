//! A SQLite file as a target.

use crate::config::{Access, SqliteConfig};
use crate::error::SqliteContext;
use crate::rehearsal::SqliteRehearsal;
use crate::source::SqliteSource;
use crate::state::SqliteState;
use crate::thread::{Answer, Worker};
use crate::transaction::SqliteTransaction;
use crate::{ddl, introspect, locks};
use async_trait::async_trait;
use migrate_core::schema::{DatabaseSchema, TableKind, TableName, TableSchema};
use migrate_core::sink::{CreateRequest, OnStep, Rehearsal, SchemaPlan, Sink, SinkCapabilities, SinkTransaction, TablePlan};
use migrate_core::source::Source;
use migrate_core::state::{Fence, TargetState};
use migrate_core::{Error, ErrorKind, Result};
use rusqlite::Connection;
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

/// The engine's name.
pub(crate) const ENGINE: &str = "sqlite";

/// SQLite's page cache for writing, in KiB. Part of the memory that a run may take; a larger one was measured and gained nothing.
const CACHE_KIB: i64 = 6 * 1024;

/// The page size of a file that is new. Larger pages mean fewer of them to find, split and log.
const PAGE_BYTES: i64 = 16 * 1024;

/// Threads that sort the keys of an index while SQLite's own reads on: nothing else is to be done by then. Each takes as much memory as
/// the page cache.
const SORTERS: i64 = 2;

/// A SQLite database file that rows are written to, with the state that says which.
///
/// A missing file is created by the first write, not before. All writing goes over one connection; transactions queue for it in
/// the order in which they were asked for. The journal mode and `synchronous` stay as they are.
///
/// References are enforced on tables that are in use, whatever the connection's default. Tables that a plan creates are checked as
/// a whole by [`Sink::finish`].
#[derive(Debug, Clone)]
pub struct SqliteSink {
    shared: Arc<Shared>,
}

impl SqliteSink {
    /// Creates a sink; nothing is opened yet.
    pub fn new(config: SqliteConfig) -> Self {
        let (worker, writer) = (OnceCell::new(), Arc::new(Semaphore::new(1)));
        SqliteSink { shared: Arc::new(Shared { config, worker, writer, drawn: Mutex::default() }) }
    }
}

/// The connection that writes, and the queue for it.
#[derive(Debug)]
pub(crate) struct Shared {
    config: SqliteConfig,
    worker: OnceCell<Worker>,
    writer: Arc<Semaphore>,
    /// The highest row number that was drawn for each table: rows may wait for a later transaction than the one that drew theirs.
    drawn: Mutex<HashMap<TableName, i64>>,
}

impl Shared {
    /// Returns so many numbers behind the highest one of a table, and those that were drawn before.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if there are no more.
    pub(crate) fn draw(&self, table: &TableName, highest: i64, count: usize) -> Result<RangeInclusive<i64>> {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let first = drawn.get(table).copied().unwrap_or(0).max(highest);
        let last = i64::try_from(count).ok().and_then(|count| first.checked_add(count));
        let last = last.ok_or_else(|| Error::new(ErrorKind::Schema, "the table has no numbers left").with("table", table))?;
        drawn.insert(table.clone(), last);
        Ok(first + 1..=last)
    }

    /// Whether there is a file to be read.
    pub(crate) fn file_exists(&self) -> bool {
        self.worker.initialized() || self.config.path.exists()
    }

    async fn worker(&self) -> Result<&Worker> {
        let open = || {
            let config = self.config.clone();
            Worker::start(move || {
                let connection = config.open(Access::Create)?;
                // Changes nothing of a file that holds anything.
                connection.pragma_update(None, "page_size", PAGE_BYTES).during("opening the database")?;
                connection.pragma_update(None, "cache_size", -CACHE_KIB).during("opening the database")?;
                connection.pragma_update(None, "threads", SORTERS).during("opening the database")?;
                connection.set_prepared_statement_cache_capacity(64);
                Ok(connection)
            })
        };
        let worker = self.worker.get_or_try_init(open).await;
        worker.map_err(|error| locks::name_holder(error, &self.config.path))
    }

    /// Runs a closure on the connection's thread, inside whatever transaction is open there.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Connection) -> Result<T> + Send + 'static) -> Result<T> {
        let result = self.worker().await?.run(move |connection| work(connection)).await;
        result.map_err(|error| locks::name_holder(error, &self.config.path))
    }

    /// Sends a closure to the connection's thread, and returns where its answer will be; see [`Shared::name_holder`].
    pub(crate) async fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<Answer<T>> {
        self.worker().await?.submit(move |connection| work(connection))
    }

    /// Names, in an error of a busy file, who holds it.
    pub(crate) fn name_holder(&self, error: Error) -> Error {
        locks::name_holder(error, &self.config.path)
    }

    /// Waits for the open transaction, if any, and runs a closure that opens its own.
    pub(crate) async fn run_alone<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permit = self.queue().await?;
        // The permit goes with the closure: should the caller go away, the next in the queue still waits for its end.
        self.run(move |connection| {
            let result = work(connection);
            drop(permit);
            result
        })
        .await
    }

    /// Waits for the head of the queue.
    pub(crate) async fn queue(&self) -> Result<OwnedSemaphorePermit> {
        let permit = self.writer.clone().acquire_owned().await;
        permit.map_err(|_| Error::new(ErrorKind::Internal, "the queue of writers is closed"))
    }

    /// Runs a closure on the connection's thread without waiting for it, if there is a connection.
    pub(crate) fn post(&self, work: impl FnOnce(&Connection) + Send + 'static) {
        if let Some(worker) = self.worker.get() {
            worker.post(move |connection| work(connection));
        }
    }
}

#[async_trait]
impl Sink for SqliteSink {
    fn name(&self) -> &'static str {
        ENGINE
    }

    fn capabilities(&self) -> SinkCapabilities {
        SinkCapabilities::with_writers(1).with_together()
    }

    async fn schema(&self) -> Result<DatabaseSchema> {
        if !self.shared.file_exists() {
            return Ok(DatabaseSchema {
                engine: ENGINE.to_owned(),
                version: rusqlite::version().to_owned(),
                ..DatabaseSchema::default()
            });
        }
        self.shared.run(introspect::read_schema).await
    }

    fn default_schema(&self) -> Option<String> {
        None
    }

    fn can_choose(&self, table: &TableSchema) -> bool {
        // Rows are read with their numbers, for which a result must have room.
        let has_room = table.columns.len() < ddl::MAX_COLUMNS;
        has_room && table.kind == TableKind::Table && introspect::rowid(table).is_some()
    }

    fn plan_table(&self, request: &CreateRequest<'_>) -> Result<TablePlan> {
        ddl::plan_table(request)
    }

    async fn check_writable(&self, table: &TableSchema) -> Result<()> {
        match table.kind {
            TableKind::View | TableKind::MaterializedView => {
                return Err(Error::new(ErrorKind::Schema, "a view cannot be written to").with("table", &table.name));
            }
            TableKind::Table | TableKind::Partitioned | TableKind::Partition | TableKind::Foreign | TableKind::Virtual => {}
        }
        if let Some(obstacle) = table.write_obstacles.first() {
            return Err(
                Error::new(ErrorKind::Unsupported, format!("the table cannot be written: {obstacle}")).with("table", &table.name)
            );
        }
        self.check_file().await.map_err(|e| e.with("table", &table.name))
    }

    async fn check_alterable(&self, plan: &TablePlan) -> Result<()> {
        ddl::check_alterable(plan)
    }

    async fn check_creatable(&self) -> Result<()> {
        self.check_file().await
    }

    async fn prepare(&self, plan: &SchemaPlan, fence: &Fence) -> Result<()> {
        let (plan, fence) = (plan.clone(), fence.clone());
        self.shared.run_alone(move |connection| ddl::prepare(connection, &plan, &fence)).await
    }

    async fn build_keys(&self, plan: &SchemaPlan, fence: &Fence) -> Result<()> {
        // Primary keys are part of the tables; other keys are unique indexes.
        let (plan, fence) = (plan.clone(), fence.clone());
        self.shared.run_alone(move |connection| ddl::build_indexes(connection, &plan, &fence, true, &|_| {})).await
    }

    async fn begin(&self, fence: &Fence) -> Result<Box<dyn SinkTransaction>> {
        Ok(Box::new(SqliteTransaction::begin(self.shared.clone(), fence.clone()).await?))
    }

    async fn finish(&self, plan: &SchemaPlan, fence: &Fence, progress: &OnStep<'_>) -> Result<()> {
        let (plan, fence) = (plan.clone(), fence.clone());
        let (steps, mut heard) = tokio::sync::mpsc::unbounded_channel::<String>();
        let work = self.shared.run_alone(move |connection| {
            // Nobody to tell means that the caller has gone away.
            ddl::finish(connection, &plan, &fence, &|step| drop(steps.send(step.to_owned())))
        });
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                Some(step) = heard.recv() => progress(&step),
                result = &mut work => {
                    while let Ok(step) = heard.try_recv() {
                        progress(&step);
                    }
                    return result;
                }
            }
        }
    }

    fn state(&self) -> Arc<dyn TargetState> {
        Arc::new(SqliteState::new(self.shared.clone()))
    }

    fn as_source(&self) -> Arc<dyn Source> {
        Arc::new(SqliteSource::new(self.shared.config.clone()))
    }

    async fn rehearse(&self) -> Result<Box<dyn Rehearsal>> {
        Ok(Box::new(SqliteRehearsal::open(&self.shared.config).await?))
    }
}

impl SqliteSink {
    /// Checks that the file, or a missing one's folder, can be written, and writes nothing that stays.
    async fn check_file(&self) -> Result<()> {
        let path = &self.shared.config.path;
        let denied = |what: &str| Err(Error::new(ErrorKind::Permission, what.to_owned()).with("file", path.display()));
        if self.shared.config.access == Some(Access::Read) {
            return denied("the url of the target says mode=ro");
        }
        if path.exists() {
            let read_only = self.shared.run(|c| c.is_readonly("main").during("looking at the database")).await?;
            if read_only {
                return denied("the SQLite database file cannot be written");
            }
        } else if self.shared.config.access == Some(Access::Write) {
            return Err(Error::new(ErrorKind::Connection, "there is no such SQLite database file").with("file", path.display()));
        }
        // SQLite writes its journal beside the file.
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let probe = folder.join(format!(".migrate-probe-{}", std::process::id()));
        match std::fs::OpenOptions::new().write(true).create_new(true).open(&probe) {
            Ok(_) => {
                std::fs::remove_file(&probe).map_err(|e| Error::new(ErrorKind::Io, "a probe file cannot be removed").caused_by(e))
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::new(ErrorKind::Connection, "the folder of the SQLite database file does not exist")
                    .with("file", path.display()))
            }
            Err(error) => Err(Error::new(ErrorKind::Permission, "the folder of the SQLite database cannot be written")
                .with("folder", folder.display())
                .caused_by(error)),
        }
    }
}
