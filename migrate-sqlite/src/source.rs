//! A SQLite database as a source.

use crate::config::SqliteConfig;
use crate::error::SqliteContext;
use crate::expressions;
use crate::introspect::read_schema;
use crate::refine;
use crate::snapshot::SqliteSnapshot;
use crate::sql;
use crate::thread::Worker;
use async_trait::async_trait;
use migrate_core::error::{Error, ErrorKind, Result};
use migrate_core::expression::Expression;
use migrate_core::schema::{ColumnSchema, DatabaseSchema, TableSchema};
use migrate_core::source::{Snapshot, Source, SourceCapabilities};
use rusqlite::Connection;

/// A SQLite database file that rows are read from.
///
/// The file is never written to, except that a transaction that was cut off is rolled back as any reader would, unless the url
/// says `mode=ro`. How one consistent view is kept is said at [`crate::SnapshotPolicy`].
#[derive(Debug, Clone)]
pub struct SqliteSource {
    config: SqliteConfig,
}

impl SqliteSource {
    /// Creates a source; the file is opened when it is first asked for something.
    pub fn new(config: SqliteConfig) -> Self {
        SqliteSource { config }
    }

    /// Returns how the file is opened.
    pub fn config(&self) -> &SqliteConfig {
        &self.config
    }

    /// Runs a closure over a connection of its own.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Connection) -> Result<T> + Send + 'static) -> Result<T> {
        let config = self.config.clone();
        let worker = Worker::start(move || config.open_reader().map(|(connection, _)| connection)).await?;
        let result = worker.run(|connection| work(connection)).await;
        result.map_err(|error| error.with("file", self.config.path.display()))
    }
}

#[async_trait]
impl Source for SqliteSource {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::with_readers(1).with_expressions()
    }

    async fn identity(&self) -> Result<String> {
        let path = self.config.path.canonicalize().map_err(|error| {
            let kind = if error.kind() == std::io::ErrorKind::NotFound { ErrorKind::Connection } else { ErrorKind::Io };
            Error::new(kind, "the SQLite database file cannot be found").with("file", self.config.path.display()).caused_by(error)
        })?;
        Ok(format!("sqlite:{}", path.display()))
    }

    async fn schema(&self) -> Result<DatabaseSchema> {
        self.run(read_schema).await
    }

    async fn refine(&self, tables: &mut [TableSchema]) -> Result<()> {
        let mut copies = tables.to_vec();
        let refined = self.run(move |connection| {
            refine::refine(connection, &mut copies)?;
            Ok(copies)
        });
        tables.clone_from_slice(&refined.await?);
        Ok(())
    }

    async fn describe(&self, table: &TableSchema, expressions: &[(String, Expression)]) -> Result<Vec<ColumnSchema>> {
        let (table, expressions) = (table.clone(), expressions.to_vec());
        self.run(move |connection| expressions::describe(connection, &table, &expressions)).await
    }

    async fn open_snapshot(&self) -> Result<Box<dyn Snapshot>> {
        let snapshot = SqliteSnapshot::open(self.config.clone()).await;
        let snapshot = snapshot.map_err(|error| match error.context().iter().any(|(name, _)| *name == "file") {
            true => error,
            false => error.with("file", self.config.path.display()),
        })?;
        Ok(Box::new(snapshot))
    }

    async fn check_readable(&self, table: &TableSchema) -> Result<()> {
        let name = table.name.name.clone();
        let columns = table.columns.iter().map(|c| sql::column(&name, &c.name)).collect::<Vec<_>>().join(", ");
        let sql = format!("SELECT {} FROM {} LIMIT 1", if columns.is_empty() { "NULL" } else { &columns }, sql::table(&name));
        let read = self.run(move |connection| {
            let mut statement = sql::prepare(connection, &sql, &name, "checking a table")?;
            let mut rows = statement.query([]).during("checking a table")?;
            rows.next().during("checking a table").map(|_| ())
        });
        read.await.map_err(|error| error.with("table", &table.name))
    }
}
