//! PostgreSQL passes the suite that all adapters pass. Needs the server that `tests/postgres.sh` starts.

use async_trait::async_trait;
use migrate_core::conformance::{Harness, TestDatabase, report};
use migrate_core::schema::{TableName, TableSchema, UniqueKey};
use migrate_core::value::text::{parse, to_text};
use migrate_core::value::{DataType, Row, Value};
use migrate_core::{Error, ErrorKind, Result, Sink, Source};
use migrate_postgres::{PostgresConfig, PostgresSink, PostgresSource};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row as _, ValueRef as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

struct Postgres;

#[async_trait]
impl Harness for Postgres {
    async fn database(&self) -> Result<Box<dyn TestDatabase>> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let server = std::env::var("MIGRATE_TEST_POSTGRES")
            .expect("MIGRATE_TEST_POSTGRES is not set: `eval \"$(tests/postgres.sh start)\"` before cargo test");
        let name = format!("conformance_{}_{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        run(&server, &format!("CREATE DATABASE {name} TEMPLATE template0")).await?;
        let (host, _) = server.rsplit_once('/').expect("the server's url names a database");
        Ok(Box::new(Database { url: format!("{host}/{name}"), server, name }))
    }
}

struct Database {
    url: String,
    server: String,
    name: String,
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // Within the case's own runtime nothing can be waited for here. A database that stays goes with the server.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let _ = runtime.block_on(run(&server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")));
        });
        let _ = dropping.join();
    }
}

async fn connect(url: &str) -> Result<PgConnection> {
    let mut connection = PgConnection::connect(url).await.map_err(failed)?;
    let settings = "SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres'; SET extra_float_digits = 1; \
                    SET bytea_output = 'hex'; SET standard_conforming_strings = on; SET search_path = public";
    connection.execute(settings).await.map_err(failed)?;
    Ok(connection)
}

async fn run(url: &str, sql: &str) -> Result<()> {
    let mut connection = connect(url).await?;
    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.map_err(failed)?;
    connection.close().await.map_err(failed)
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Internal, "the harness failed").caused_by(error)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn list(names: &[String]) -> String {
    names.iter().map(|n| quoted(n)).collect::<Vec<_>>().join(", ")
}

fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Bool => "boolean".to_owned(),
        DataType::Int16 => "smallint".to_owned(),
        DataType::Int32 => "integer".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double precision".to_owned(),
        DataType::Decimal { precision: Some(p), scale } => format!("numeric({p},{})", scale.unwrap_or(0)),
        DataType::Decimal { precision: None, .. } => "numeric".to_owned(),
        DataType::Text { max_chars: Some(n) } => format!("varchar({n})"),
        DataType::Text { max_chars: None } => "text".to_owned(),
        DataType::Char { chars } => format!("char({chars})"),
        DataType::Bytes => "bytea".to_owned(),
        DataType::Date => "date".to_owned(),
        DataType::Time { .. } => "time".to_owned(),
        DataType::TimeTz { .. } => "timetz".to_owned(),
        DataType::Timestamp { .. } => "timestamp".to_owned(),
        DataType::TimestampTz { .. } => "timestamptz".to_owned(),
        DataType::Interval => "interval".to_owned(),
        DataType::Uuid => "uuid".to_owned(),
        DataType::Json => "json".to_owned(),
        DataType::Jsonb => "jsonb".to_owned(),
        other => panic!("the suite makes no column of type {other}"),
    }
}

fn create_sql(table: &TableSchema) -> String {
    let mut parts: Vec<String> = table
        .columns
        .iter()
        .map(|c| format!("{} {}{}", quoted(&c.name), sql_type(&c.data_type), if c.nullable { "" } else { " NOT NULL" }))
        .collect();
    let key = |kind: &str, key: &UniqueKey| format!("{kind} ({})", list(&key.columns));
    parts.extend(table.primary_key.iter().map(|k| key("PRIMARY KEY", k)));
    parts.extend(table.unique_keys.iter().map(|k| key("UNIQUE", k)));
    parts.extend(table.foreign_keys.iter().map(|f| {
        format!("FOREIGN KEY ({}) REFERENCES {} ({})", list(&f.columns), quoted(&f.parent.name), list(&f.parent_columns))
    }));
    format!("CREATE TABLE {} ({})", quoted(&table.name.name), parts.join(", "))
}

fn literal(value: &Value<'_>) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        other => format!("'{}'", to_text(other).replace('\'', "''")),
    }
}

#[async_trait]
impl TestDatabase for Database {
    async fn source(&self) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(PostgresSource::new(PostgresConfig::from_url(&self.url)?)))
    }

    async fn sink(&self) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(PostgresSink::new(PostgresConfig::from_url(&self.url)?)))
    }

    async fn create_table(&self, table: &TableSchema) -> Result<()> {
        run(&self.url, &create_sql(table)).await
    }

    async fn insert(&self, table: &TableSchema, rows: &[Row]) -> Result<()> {
        let mut statements = String::new();
        for rows in rows.chunks(500) {
            let rows: Vec<String> =
                rows.iter().map(|row| format!("({})", row.iter().map(literal).collect::<Vec<_>>().join(", "))).collect();
            // Literals of unknown type take the column's, which a VALUES list of several rows would not let them.
            for row in rows {
                statements.push_str(&format!("INSERT INTO {} VALUES {row};", quoted(&table.name.name)));
            }
        }
        if statements.is_empty() { Ok(()) } else { run(&self.url, &statements).await }
    }

    async fn delete_all(&self, table: &TableName) -> Result<()> {
        run(&self.url, &format!("DELETE FROM {}", quoted(&table.name))).await
    }

    async fn rows(&self, table: &TableSchema) -> Result<Vec<Row>> {
        let columns: Vec<String> = table.columns.iter().map(|c| c.name.clone()).collect();
        let sql = format!("SELECT {} FROM {}", list(&columns), quoted(&table.name.name));
        let mut connection = connect(&self.url).await?;
        // The simple protocol: every cell arrives as the server prints it.
        let found = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut connection).await.map_err(failed)?;
        let mut rows = Vec::new();
        for row in found {
            let mut cells = Row::new();
            for (n, column) in table.columns.iter().enumerate() {
                let cell = row.try_get_raw(n).map_err(failed)?;
                cells.push(if cell.is_null() {
                    Value::Null
                } else {
                    let text = cell.as_str().map_err(|_| Error::new(ErrorKind::Mismatch, "a cell is not UTF-8"))?;
                    let message = || format!("a cell of column {} does not parse as {}", column.name, column.data_type);
                    parse(text, &column.data_type).ok_or_else(|| Error::new(ErrorKind::Mismatch, message()))?
                });
            }
            rows.push(cells);
        }
        connection.close().await.map_err(failed)?;
        Ok(rows)
    }
}

migrate_core::conformance_tests!(Postgres);

#[test]
fn the_numbers_of_cases_run_and_left_out_are_the_known_ones() {
    let report = report(&Postgres);
    println!("postgresql: {} cases run, {} left out {:?}", report.run.len(), report.left_out.len(), report.left_out);
    assert_eq!((report.run.len(), report.left_out.len()), (102, 0));
}
