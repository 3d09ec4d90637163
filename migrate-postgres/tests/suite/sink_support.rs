//! What the sink's tests share: a database of their own, and rows for its tables.

use migrate_core::Result;
use migrate_core::schema::{DatabaseSchema, TableName, TableSchema};
use migrate_core::sink::{Outcome, Sink, SinkTransaction, WriteMode, WriteRequest};
use migrate_core::source::{PageRequest, SnapshotExt};
use migrate_core::state::{Fence, FenceOwner, StateChanges};
use migrate_core::value::{Encoding, Page, PageBuilder, PageColumn, Value};
use migrate_postgres::{PostgresConfig, PostgresSink};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The tests' own sessions mean the same on every server; the sink's have to see to that themselves.
const PLAIN: &str =
    "SET client_min_messages = error; SET timezone = 'UTC'; SET datestyle = 'ISO, MDY'; SET intervalstyle = 'postgres';
    SET extra_float_digits = 1; SET bytea_output = 'hex'; SET search_path = public; SET array_nulls = on;
    SET standard_conforming_strings = on; SET xmloption = 'content'";

/// A database that goes with its test.
pub(crate) struct Database {
    pub(crate) url: String,
    server: String,
    name: String,
}

impl Database {
    /// Creates an empty database, with the state tables.
    pub(crate) async fn new() -> Self {
        let database = Database::bare().await;
        database.sink().state().initialize().await.unwrap();
        database
    }

    /// Creates an empty database.
    pub(crate) async fn bare() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let server = std::env::var("MIGRATE_TEST_POSTGRES")
            .expect("MIGRATE_TEST_POSTGRES is not set: `eval \"$(tests/postgres.sh start)\"` before cargo test");
        let name = format!("sink_{}_{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        execute(&server, &format!("CREATE DATABASE {name} TEMPLATE template0")).await;
        let (host, _) = server.rsplit_once('/').expect("the server's url names a database");
        Database { url: format!("{host}/{name}"), server, name }
    }

    /// The database's own name, which no other test's has.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The url with another role.
    pub(crate) fn url_as(&self, role: &str) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap();
        let (_, host) = rest.split_once('@').unwrap();
        format!("{scheme}://{role}@{host}")
    }

    /// Another sink of this database.
    pub(crate) fn sink(&self) -> Arc<dyn Sink> {
        sink(&self.url)
    }

    /// Runs SQL beside the sink.
    pub(crate) async fn run(&self, sql: &str) {
        execute(&self.url, sql).await;
    }

    /// Runs a query beside the sink; each row's columns joined by `|`, NULL as `∅`.
    pub(crate) async fn query(&self, sql: &str) -> Vec<String> {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        connection.execute(PLAIN).await.unwrap();
        let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.unwrap();
        rows.iter()
            .map(|row| {
                let cells: Vec<String> = (0..row.len())
                    .map(|i| {
                        let cell = row.try_get_raw(i).unwrap();
                        if sqlx::ValueRef::is_null(&cell) { "∅".to_owned() } else { cell.as_str().unwrap().to_owned() }
                    })
                    .collect();
                cells.join("|")
            })
            .collect()
    }

    /// A table as the sink sees it.
    pub(crate) async fn table(&self, name: &str) -> TableSchema {
        find(&self.sink().schema().await.unwrap(), name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut connection = PgConnection::connect(&server).await.expect("the server");
                let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                // A database that stays goes with the server.
                let _ = connection.execute(AssertSqlSafe(sql)).await;
            });
        });
        let _ = dropping.join();
    }
}

pub(crate) fn sink(url: &str) -> Arc<dyn Sink> {
    Arc::new(PostgresSink::new(PostgresConfig::from_url(url).unwrap()))
}

async fn execute(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.execute(PLAIN).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
}

pub(crate) fn find(schema: &DatabaseSchema, name: &str) -> TableSchema {
    schema.table(&TableName::new(None, name), Some("public")).unwrap().clone()
}

pub(crate) fn owner(execution: &str) -> FenceOwner {
    FenceOwner { execution: execution.to_owned(), host: "localhost".to_owned(), process: std::process::id() }
}

pub(crate) async fn fence(sink: &Arc<dyn Sink>) -> Fence {
    sink.state().acquire("job", &owner("first")).await.unwrap()
}

pub(crate) fn text(value: &str) -> Value<'static> {
    Value::Text(Cow::Owned(value.to_owned()))
}

/// A canonical page of all columns of a table that can be written.
pub(crate) fn page(table: &TableSchema, rows: &[Vec<Value<'static>>]) -> Page {
    let names: Vec<&str> = table.columns.iter().filter(|c| c.generated.is_none()).map(|c| c.name.as_str()).collect();
    page_of(table, &names, rows)
}

/// A canonical page of some columns of a table.
pub(crate) fn page_of(table: &TableSchema, names: &[&str], rows: &[Vec<Value<'static>>]) -> Page {
    let columns: Arc<[PageColumn]> = names
        .iter()
        .map(|n| PageColumn { name: (*n).to_owned(), data_type: table.column(n).unwrap().data_type.clone() })
        .collect();
    let mut builder = PageBuilder::new(columns, Encoding::CANONICAL);
    for row in rows {
        builder.begin_row();
        row.iter().for_each(|v| builder.push_value(v).unwrap());
        builder.end_row();
    }
    builder.finish(None)
}

/// The same rows in the canonical encoding.
pub(crate) fn canonical(page: &Page) -> Page {
    let mut builder = PageBuilder::new(page.columns().clone(), Encoding::CANONICAL);
    for row in page.rows() {
        builder.begin_row();
        row.values().unwrap().iter().for_each(|v| builder.push_value(v).unwrap());
        builder.end_row();
    }
    builder.finish(None)
}

/// All pages of a table, as the sink's own source reads them.
pub(crate) async fn read(sink: &Arc<dyn Sink>, table: &TableSchema) -> Vec<Page> {
    let columns: Vec<String> = table.columns.iter().map(|c| c.name.clone()).collect();
    let key = table.natural_key().unwrap_or_default();
    let mut snapshot = sink.as_source().open_snapshot().await.unwrap();
    snapshot.read_all(&PageRequest::new(table, &columns, &key)).await.unwrap()
}

pub(crate) async fn write(
    transaction: &mut dyn SinkTransaction,
    table: &TableSchema,
    key: &[&str],
    page: &Page,
    mode: WriteMode,
) -> Result<Option<Vec<Outcome>>> {
    let key: Vec<String> = key.iter().map(|k| (*k).to_owned()).collect();
    transaction.write(WriteRequest { table, key: &key, page, rows: None, mode }).await
}

/// Writes a page in a transaction of its own.
pub(crate) async fn write_all(
    sink: &Arc<dyn Sink>,
    fence: &Fence,
    table: &TableSchema,
    key: &[&str],
    page: &Page,
    mode: WriteMode,
) -> Result<Option<Vec<Outcome>>> {
    let mut transaction = sink.begin(fence).await?;
    let outcomes = write(&mut *transaction, table, key, page, mode).await?;
    transaction.commit(&StateChanges::default()).await?;
    Ok(outcomes)
}

/// Rows of numbers, each with its name.
pub(crate) fn numbered(numbers: std::ops::Range<i64>) -> Vec<Vec<Value<'static>>> {
    numbers.map(|n| vec![Value::Int(n), text(&format!("row {n}"))]).collect()
}
