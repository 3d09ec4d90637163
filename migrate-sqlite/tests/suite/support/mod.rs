//! What the tests share: databases with rows, and what is in them.

pub(crate) mod target;

use migrate_core::schema::{ColumnSchema, DatabaseSchema, TableName, TableSchema};
use migrate_core::source::{PageRequest, Snapshot, SnapshotExt, Source};
use migrate_core::value::{Page, Row, Value};
use migrate_sqlite::{SqliteConfig, SqliteSource};
use rusqlite::Connection;
use std::path::PathBuf;
use std::time::Duration;

/// A database file in a folder of its own.
pub(crate) struct Database {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

impl Database {
    /// Makes a file by a script.
    pub(crate) fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("test.sqlite");
        let database = Database { folder, path };
        database.connect().execute_batch(script).expect("the script runs");
        database
    }

    /// Opens a connection that does not go through the adapter and does not wait for locks.
    pub(crate) fn connect(&self) -> Connection {
        let connection = Connection::open(&self.path).expect("the file opens");
        connection.busy_timeout(Duration::ZERO).expect("no timeout");
        connection
    }

    pub(crate) fn config(&self) -> SqliteConfig {
        SqliteConfig::new(&self.path)
    }

    pub(crate) fn source(&self) -> SqliteSource {
        SqliteSource::new(self.config())
    }
}

/// Returns a table of a source.
pub(crate) async fn table(source: &SqliteSource, name: &str) -> TableSchema {
    find(&source.schema().await.expect("the schema is readable"), name).clone()
}

pub(crate) fn find<'s>(schema: &'s DatabaseSchema, name: &str) -> &'s TableSchema {
    schema.table(&TableName::new(None, name), None).expect("the table is listed")
}

pub(crate) fn column<'t>(table: &'t TableSchema, name: &str) -> &'t ColumnSchema {
    table.column(name).unwrap_or_else(|| panic!("there is no column {name}"))
}

pub(crate) fn names(table: &TableSchema) -> Vec<String> {
    table.columns.iter().map(|c| c.name.clone()).collect()
}

/// Reads all rows in the order of the key.
pub(crate) async fn read(snapshot: &mut dyn Snapshot, table: &TableSchema, key: &[String]) -> Vec<Row> {
    let columns = names(table);
    let request = PageRequest::new(table, &columns, key).with_limits(1 << 16, 7);
    let pages = snapshot.read_all(&request).await.expect("the rows are readable");
    pages.iter().flat_map(rows).collect()
}

/// Decodes the rows of a page.
pub(crate) fn rows(page: &Page) -> Vec<Row> {
    page.rows().map(|row| row.values().expect("cells decode").into_iter().map(Value::into_owned).collect()).collect()
}

pub(crate) fn key(columns: &[&str]) -> Vec<String> {
    columns.iter().map(|c| (*c).to_owned()).collect()
}

pub(crate) fn ints(rows: &[Row], column: usize) -> Vec<i64> {
    rows.iter().map(|row| if let Value::Int(v) = row[column] { v } else { panic!("not an integer") }).collect()
}

/// A file among the real databases of the project.
pub(crate) fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Unpacks a file among the real databases of the project into a folder of its own.
pub(crate) fn unpacked(path: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let target = folder.path().join("unpacked.sqlite");
    let output = std::process::Command::new("gzip").arg("-dc").arg(fixture(path)).output().expect("gzip runs");
    assert!(output.status.success(), "gzip unpacks {path}");
    std::fs::write(&target, output.stdout).expect("written");
    (folder, target)
}
