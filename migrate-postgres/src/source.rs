//! PostgreSQL as a source.

use crate::config::PostgresConfig;
use crate::connection::{SessionRole, close, connect, execute};
use crate::error::from_sqlx;
use crate::expressions;
use crate::introspect;
use crate::snapshot::PgSnapshot;
use crate::view::View;
use async_trait::async_trait;
use migrate_core::expression::Expression;
use migrate_core::schema::{ColumnSchema, DatabaseSchema, TableSchema};
use migrate_core::source::{Position, Snapshot, Source, SourceCapabilities};
use migrate_core::{Error, ErrorKind, Result, ResultExt};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;
use std::sync::Arc;

/// How many sessions read one snapshot at most, besides the one that holds it.
const READERS: usize = 8;

/// A PostgreSQL database that rows are read from.
///
/// It opens sessions as it needs them and holds none between calls; a snapshot holds one until it is dropped.
#[derive(Debug, Clone)]
pub struct PostgresSource {
    config: Arc<PostgresConfig>,
}

impl PostgresSource {
    /// Creates a source that connects when it is first used.
    pub fn new(config: PostgresConfig) -> Self {
        PostgresSource { config: Arc::new(config) }
    }

    /// Creates a source and makes sure that the server can be reached.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`], [`ErrorKind::Authentication`], or [`ErrorKind::Unsupported`] for a server older than version 14.
    pub async fn connect(config: PostgresConfig) -> Result<Self> {
        close(connect(&config, SessionRole::Reader).await?).await;
        Ok(PostgresSource::new(config))
    }

    /// Returns how the server is reached.
    pub fn config(&self) -> &PostgresConfig {
        &self.config
    }
}

/// What tells one cluster from another, and one of its histories from another.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct System {
    /// The cluster's own number, where the role may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) system: Option<String>,
    /// Grows with each promotion of a standby.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeline: Option<i64>,
    pub(crate) database: i64,
}

/// A snapshot's place in history, as it is written into a [`Position`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The version of this form.
    v: u32,
    #[serde(flatten)]
    pub(crate) system: System,
    /// The write-ahead log's place, or on a standby what was replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lsn: Option<String>,
    standby: bool,
    /// `xmin:xmax:transactions in progress`.
    snapshot: String,
    xmin: String,
    xmax: String,
}

impl Place {
    /// Reads what [`Source::open_snapshot`] wrote.
    pub(crate) fn parse(position: &Position) -> Result<Self> {
        serde_json::from_str(&position.0).map_err(|e| Error::new(ErrorKind::Corrupt, "a position cannot be read").caused_by(e))
    }

    /// Returns the oldest transaction in progress.
    pub(crate) fn oldest(&self) -> Result<u64> {
        number(&self.xmin)
    }

    /// Returns the first transaction that had not begun.
    pub(crate) fn next(&self) -> Result<u64> {
        number(&self.xmax)
    }
}

fn number(text: &str) -> Result<u64> {
    text.parse().map_err(|e| Error::new(ErrorKind::Corrupt, "a transaction's number cannot be read").caused_by(e))
}

async fn system(connection: &mut PgConnection) -> Result<System> {
    let (database, control, checkpoint): (i64, bool, bool) = sqlx::query_as(
        "SELECT (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())::pg_catalog.int8, \
         COALESCE(pg_catalog.has_function_privilege(pg_catalog.to_regprocedure('pg_catalog.pg_control_system()'), 'EXECUTE'), false), \
         COALESCE(pg_catalog.has_function_privilege(pg_catalog.to_regprocedure('pg_catalog.pg_control_checkpoint()'), 'EXECUTE'), false)",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(from_sqlx)?;
    let mut found = System { system: None, timeline: None, database };
    if control {
        let (system,): (String,) =
            sqlx::query_as("SELECT system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system()")
                .fetch_one(&mut *connection)
                .await
                .map_err(from_sqlx)?;
        found.system = Some(system);
    }
    if checkpoint {
        let (timeline,): (i64,) = sqlx::query_as("SELECT timeline_id::pg_catalog.int8 FROM pg_catalog.pg_control_checkpoint()")
            .fetch_one(&mut *connection)
            .await
            .map_err(from_sqlx)?;
        found.timeline = Some(timeline);
    }
    Ok(found)
}

#[async_trait]
impl Source for PostgresSource {
    fn name(&self) -> &'static str {
        "postgresql"
    }

    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::with_readers(READERS).with_typed_cells().with_expressions()
    }

    async fn identity(&self) -> Result<String> {
        let mut connection = connect(&self.config, SessionRole::Reader).await?;
        let system = system(&mut connection).await?;
        let (name,): (String,) = sqlx::query_as("SELECT pg_catalog.current_database()::pg_catalog.text")
            .fetch_one(&mut connection)
            .await
            .map_err(from_sqlx)?;
        close(connection).await;
        // A server that hides its number is known by its address.
        let server = system.system.unwrap_or_else(|| self.config.server().to_owned());
        Ok(format!("postgresql:{server}/{}/{name}", system.database))
    }

    async fn schema(&self) -> Result<DatabaseSchema> {
        let mut connection = connect(&self.config, SessionRole::Reader).await?;
        let schema = introspect::database_schema(&mut connection).await?;
        close(connection).await;
        Ok(schema)
    }

    async fn describe(&self, table: &TableSchema, expressions: &[(String, Expression)]) -> Result<Vec<ColumnSchema>> {
        expressions::describe(connect(&self.config, SessionRole::Reader).await?, table, expressions).await
    }

    async fn open_snapshot(&self) -> Result<Box<dyn Snapshot>> {
        let mut connection = connect(&self.config, SessionRole::Reader).await?;
        let system = system(&mut connection).await?;
        execute(&mut connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let (snapshot, standby, lsn): (String, bool, Option<String>) = sqlx::query_as(
            "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text, pg_catalog.pg_is_in_recovery(), \
             (CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
             ELSE pg_catalog.pg_current_wal_lsn() END)::pg_catalog.text",
        )
        .fetch_one(&mut connection)
        .await
        .map_err(from_sqlx)?;
        let mut numbers = snapshot.split(':').map(str::to_owned);
        let (xmin, xmax) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        let place = Place { v: 1, system, lsn, standby, snapshot, xmin, xmax };
        let text = serde_json::to_string(&place)
            .map_err(|e| Error::new(ErrorKind::Internal, "a position could not be written").caused_by(e))?;
        let view = View::export(self.config.clone(), connection).await?;
        Ok(Box::new(PgSnapshot::new(view, Position(text))))
    }

    async fn check_readable(&self, table: &TableSchema) -> Result<()> {
        let mut connection = connect(&self.config, SessionRole::Reader).await?;
        readable(&mut connection, table).await.context("table", &table.name)?;
        close(connection).await;
        Ok(())
    }
}

async fn readable(connection: &mut PgConnection, table: &TableSchema) -> Result<()> {
    let columns: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
    let rights: Option<(bool, bool, bool, Option<Vec<String>>)> = sqlx::query_as(
        "SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE'), pg_catalog.has_table_privilege(c.oid, 'SELECT'), \
         pg_catalog.row_security_active(c.oid), \
         (SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY a.attnum) FROM pg_catalog.pg_attribute a \
          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
          AND a.attname::pg_catalog.text = ANY ($3::pg_catalog.text[]) \
          AND NOT pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')) \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname::pg_catalog.text = $1 AND c.relname::pg_catalog.text = $2",
    )
    .bind(table.name.schema.as_deref().unwrap_or("public"))
    .bind(&table.name.name)
    .bind(&columns)
    .fetch_optional(connection)
    .await
    .map_err(from_sqlx)?;
    let Some((schema, whole, hidden, refused)) = rights else {
        return Err(Error::new(ErrorKind::Schema, "the table does not exist"));
    };
    if !schema {
        return Err(Error::new(ErrorKind::Permission, "the role lacks USAGE on the table's schema"));
    }
    if hidden {
        let message = "row-level security would hide rows from this role; read as the table's owner or a role with BYPASSRLS";
        return Err(Error::new(ErrorKind::Permission, message));
    }
    match refused {
        _ if whole => Ok(()),
        // Where there is no column, none can have been granted.
        None if !columns.is_empty() => Ok(()),
        None => Err(Error::new(ErrorKind::Permission, "the role lacks SELECT on the table")),
        Some(names) => {
            Err(Error::new(ErrorKind::Permission, "the role lacks SELECT on columns").with("columns", names.join(", ")))
        }
    }
}
