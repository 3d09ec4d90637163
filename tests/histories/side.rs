//! Both databases of a pair, by plain SQL and not through the library under test.

use migrate_core::{Sink, Source};
use migrate_postgres::{PostgresConfig, PostgresSink, PostgresSource};
use migrate_sqlite::{SqliteConfig, SqliteSink, SqliteSource};
use migrate_tests::{Cell, Engine, Postgres, Sqlite};
use sqlx::{Connection, PgConnection, Row, ValueRef};
use std::path::Path;
use std::sync::Arc;

/// Settings under which servers print alike.
const SESSION: &str = "SET datestyle = 'ISO, YMD'; SET timezone = 'UTC'; SET search_path = public; SET client_min_messages = 'error'; \
                       SET standard_conforming_strings = on; SET default_transaction_isolation = 'read committed'";

/// One database, with a session that stays.
#[derive(Debug)]
pub(crate) enum Side {
    Postgres { database: Postgres, session: PgConnection },
    Sqlite(Sqlite),
}

impl Side {
    /// Creates a server's database for many tables.
    pub(crate) async fn postgres(database: Postgres) -> Self {
        let mut session = PgConnection::connect(&database.url()).await.expect("the test server answers");
        let settings = format!("{SESSION}; CREATE EXTENSION IF NOT EXISTS citext SCHEMA public");
        sqlx::raw_sql(sqlx::AssertSqlSafe(settings)).execute(&mut session).await.expect("the session's settings are taken");
        Side::Postgres { database, session }
    }

    /// Names a file for one table.
    pub(crate) fn sqlite(folder: &Path, name: &str) -> Self {
        Side::Sqlite(Sqlite::new(folder.join(name)))
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Side::Postgres { .. })
    }

    /// Runs statements together.
    pub(crate) async fn run(&mut self, statements: &[String]) -> Result<(), String> {
        if statements.is_empty() {
            return Ok(());
        }
        let sql = statements.join(";\n");
        match self {
            Side::Postgres { session, .. } => {
                let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.clone())).execute(session).await;
                done.map(drop).map_err(|error| format!("{sql}\n{error}"))
            }
            Side::Sqlite(file) => {
                let done = file.open().execute_batch(&format!("BEGIN IMMEDIATE;\n{sql};\nCOMMIT"));
                done.map_err(|error| format!("{sql}\n{error}"))
            }
        }
    }

    /// Rewrites the whole table, or file: what it holds stays.
    pub(crate) async fn rewrite(&mut self, table: &str) -> Result<(), String> {
        match self {
            Side::Postgres { .. } => self.run(&[format!("VACUUM FULL {table}")]).await,
            Side::Sqlite(file) => file.open().execute_batch("VACUUM").map_err(|error| error.to_string()),
        }
    }

    /// Returns the result of a query as text.
    pub(crate) async fn rows(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, String> {
        match self {
            Side::Postgres { session, .. } => {
                let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).fetch_all(session).await;
                let rows = rows.map_err(|error| format!("{sql}\n{error}"))?;
                let cell = |row: &sqlx::postgres::PgRow, i: usize| {
                    let value = row.try_get_raw(i).expect("the column exists");
                    if value.is_null() { None } else { Some(value.as_str().expect("the server prints UTF-8").to_owned()) }
                };
                Ok(rows.iter().map(|row| (0..row.len()).map(|i| cell(row, i)).collect()).collect())
            }
            Side::Sqlite(file) => {
                let cell = |cell: Cell| match cell {
                    Cell::Null => None,
                    Cell::Int(number) => Some(number.to_string()),
                    Cell::Text(bytes) => Some(String::from_utf8(bytes).expect("UTF-8")),
                    other @ (Cell::Real(_) | Cell::Blob(_)) => Some(format!("{other:?}")),
                };
                Ok(file.rows(sql).into_iter().map(|row| row.into_iter().map(cell).collect()).collect())
            }
        }
    }

    /// Returns the database as the library's source, as a new process would open it.
    pub(crate) fn source(&self) -> Arc<dyn Source> {
        match self {
            Side::Postgres { database, .. } => Arc::new(PostgresSource::new(config(database))),
            Side::Sqlite(file) => Arc::new(SqliteSource::new(SqliteConfig::new(file.path()))),
        }
    }

    /// Returns the database as the library's sink, as a new process would open it.
    pub(crate) fn sink(&self) -> Arc<dyn Sink> {
        match self {
            Side::Postgres { database, .. } => Arc::new(PostgresSink::new(config(database))),
            Side::Sqlite(file) => Arc::new(SqliteSink::new(SqliteConfig::new(file.path()))),
        }
    }
}

fn config(database: &Postgres) -> PostgresConfig {
    PostgresConfig::from_url(&database.url()).expect("the test's url is sound")
}

/// Returns a name for an engine.
pub(crate) fn engine_name(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres(_) => "PostgreSQL",
        Engine::Sqlite => "SQLite",
    }
}
