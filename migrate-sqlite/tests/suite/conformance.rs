//! SQLite passes the suite that all adapters pass, with a write-ahead log and with a rollback journal.

use async_trait::async_trait;
use migrate_core::conformance::{Feature, Harness, TestDatabase, report};
use migrate_core::schema::{TableName, TableSchema, UniqueKey};
use migrate_core::value::text::{parse, to_text};
use migrate_core::value::{DataType, Row, Value};
use migrate_core::{Error, ErrorKind, Result, Sink, Source};
use migrate_sqlite::{SqliteConfig, SqliteSink, SqliteSource};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ToSql};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

struct Sqlite {
    journal: &'static str,
}

#[async_trait]
impl Harness for Sqlite {
    fn lacks(&self, feature: Feature) -> Option<String> {
        match feature {
            Feature::Forks => Some("entities are read in turn, by one reader".to_owned()),
            Feature::Changes => Some("SQLite does not know which rows have changed".to_owned()),
            Feature::Digests => Some("SQLite hashes nothing: its rows are read in process".to_owned()),
            Feature::ConcurrentWriters => Some("SQLite has one writer at a time".to_owned()),
            _ => None,
        }
    }

    async fn database(&self) -> Result<Box<dyn TestDatabase>> {
        let folder = tempfile::tempdir().map_err(failed)?;
        let database = Database { path: folder.path().join("it's a \"test\" ü.db"), _folder: folder };
        database.open()?.pragma_update(None, "journal_mode", self.journal).map_err(failed)?;
        Ok(Box::new(database))
    }
}

struct Database {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Database {
    fn open(&self) -> Result<Connection> {
        let connection = Connection::open(&self.path).map_err(failed)?;
        connection.busy_timeout(Duration::from_secs(20)).map_err(failed)?;
        Ok(connection)
    }
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

/// Types that are read as what they say, as tables have them that the sink makes.
fn declared(data_type: &DataType) -> String {
    match data_type {
        DataType::Bool => "BOOLEAN_INT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INT4".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "REAL4_BLOB".to_owned(),
        DataType::Float64 => "REAL8_BLOB".to_owned(),
        DataType::Decimal { precision: Some(p), scale } => format!("NUMERIC_TEXT({p},{})", scale.unwrap_or(0)),
        DataType::Decimal { precision: None, .. } => "NUMERIC_TEXT".to_owned(),
        DataType::Text { max_chars: Some(n) } => format!("VARCHAR_TEXT({n})"),
        DataType::Text { max_chars: None } => "TEXT".to_owned(),
        DataType::Char { chars } => format!("CHAR_TEXT({chars})"),
        DataType::Bytes => "BLOB".to_owned(),
        DataType::Date => "DATE_TEXT".to_owned(),
        DataType::Time { .. } => "TIME_TEXT".to_owned(),
        DataType::TimeTz { .. } => "TIMETZ_TEXT".to_owned(),
        DataType::Timestamp { .. } => "TIMESTAMP_TEXT".to_owned(),
        DataType::TimestampTz { .. } => "TIMESTAMPTZ_TEXT".to_owned(),
        DataType::Interval => "I_NTERVAL_TEXT".to_owned(),
        DataType::Uuid => "UUID_TEXT".to_owned(),
        DataType::Json => "JSON_TEXT".to_owned(),
        DataType::Jsonb => "JSONB_TEXT".to_owned(),
        other => panic!("the suite makes no column of type {other}"),
    }
}

fn create_sql(table: &TableSchema) -> String {
    let alone = table.primary_key.as_ref().filter(|k| k.columns.len() == 1).map(|k| &k.columns[0]);
    let mut parts: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            let integer_key = alone == Some(&column.name) && column.data_type == DataType::Int64;
            let declared = if integer_key { "INTEGER".to_owned() } else { declared(&column.data_type) };
            format!("{} {declared}{}", quoted(&column.name), if column.nullable { "" } else { " NOT NULL" })
        })
        .collect();
    let key = |kind: &str, key: &UniqueKey| format!("{kind} ({})", list(&key.columns));
    parts.extend(table.primary_key.iter().map(|k| key("PRIMARY KEY", k)));
    parts.extend(table.unique_keys.iter().map(|k| key("UNIQUE", k)));
    parts.extend(table.foreign_keys.iter().map(|f| {
        format!("FOREIGN KEY ({}) REFERENCES {} ({})", list(&f.columns), quoted(&f.parent.name), list(&f.parent_columns))
    }));
    format!("CREATE TABLE {} ({})", quoted(&table.name.name), parts.join(", "))
}

fn parameter(value: &Value<'_>) -> Box<dyn ToSql> {
    match value {
        Value::Null => Box::new(rusqlite::types::Null),
        Value::Bool(v) => Box::new(*v),
        Value::Int(v) => Box::new(*v),
        // SQLite turns a NaN into NULL.
        Value::Float(v) if v.is_nan() => Box::new("NaN"),
        Value::Float(v) => Box::new(*v),
        Value::Bytes(v) => Box::new(v.to_vec()),
        other => Box::new(to_text(other).into_owned()),
    }
}

fn value(cell: ValueRef<'_>, data_type: &DataType) -> Option<Value<'static>> {
    match (cell, data_type) {
        (ValueRef::Null, _) => Some(Value::Null),
        (ValueRef::Integer(v), DataType::Bool) => (v == 0 || v == 1).then_some(Value::Bool(v == 1)),
        (ValueRef::Integer(v), DataType::Int16 | DataType::Int32 | DataType::Int64) => Some(Value::Int(v)),
        (ValueRef::Real(v), DataType::Float32 | DataType::Float64) => Some(Value::Float(v)),
        (ValueRef::Blob(v), DataType::Bytes) => Some(Value::Bytes(v.to_vec().into())),
        (ValueRef::Text(v), data_type) => parse(std::str::from_utf8(v).ok()?, data_type),
        _ => None,
    }
}

#[async_trait]
impl TestDatabase for Database {
    async fn source(&self) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(SqliteSource::new(SqliteConfig::new(&self.path))))
    }

    async fn sink(&self) -> Result<Arc<dyn Sink>> {
        // A takeover that cannot be had is told soon: the case that asks for it holds the lock until then.
        Ok(Arc::new(SqliteSink::new(SqliteConfig::new(&self.path).with_busy_timeout(Duration::from_millis(300)))))
    }

    async fn create_table(&self, table: &TableSchema) -> Result<()> {
        self.open()?.execute_batch(&create_sql(table)).map_err(failed)
    }

    async fn insert(&self, table: &TableSchema, rows: &[Row]) -> Result<()> {
        let mut connection = self.open()?;
        let transaction = connection.transaction().map_err(failed)?;
        {
            let places = vec!["?"; table.columns.len()].join(", ");
            let mut insert =
                transaction.prepare(&format!("INSERT INTO {} VALUES ({places})", quoted(&table.name.name))).map_err(failed)?;
            for row in rows {
                insert.execute(rusqlite::params_from_iter(row.iter().map(parameter))).map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)
    }

    async fn delete_all(&self, table: &TableName) -> Result<()> {
        self.open()?.execute(&format!("DELETE FROM {}", quoted(&table.name)), []).map_err(failed).map(|_| ())
    }

    async fn rows(&self, table: &TableSchema) -> Result<Vec<Row>> {
        let connection = self.open()?;
        let columns: Vec<String> = table.columns.iter().map(|c| c.name.clone()).collect();
        let mut select =
            connection.prepare(&format!("SELECT {} FROM {}", list(&columns), quoted(&table.name.name))).map_err(failed)?;
        let mut found = select.query([]).map_err(failed)?;
        let mut rows = Vec::new();
        while let Some(row) = found.next().map_err(failed)? {
            let mut cells = Row::new();
            for (n, column) in table.columns.iter().enumerate() {
                let cell = row.get_ref(n).map_err(failed)?;
                let message = || format!("a cell of column {} is stored as {:?}", column.name, cell.data_type());
                cells.push(value(cell, &column.data_type).ok_or_else(|| Error::new(ErrorKind::Mismatch, message()))?);
            }
            rows.push(cells);
        }
        Ok(rows)
    }
}

mod with_a_write_ahead_log {
    migrate_core::conformance_tests!(super::Sqlite { journal: "WAL" });
}

mod with_a_rollback_journal {
    migrate_core::conformance_tests!(super::Sqlite { journal: "DELETE" });
}

#[test]
fn the_numbers_of_cases_run_and_left_out_are_the_known_ones() {
    let report = report(&Sqlite { journal: "WAL" });
    println!("sqlite: {} cases run, {} left out {:?}", report.run.len(), report.left_out.len(), report.left_out);
    assert_eq!((report.run.len(), report.left_out.len()), (105, 5));
}
