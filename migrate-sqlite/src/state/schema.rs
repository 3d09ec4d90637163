//! The state tables and their version.

use super::in_transaction;
use crate::error::SqliteContext;
use migrate_core::{Error, ErrorKind, Result};
use rusqlite::{Connection, OptionalExtension};

/// The version of the tables; a file of a higher one is refused.
const VERSION: i64 = 2 + UPGRADES.len() as i64;

const TABLES: [&str; 6] = [
    "CREATE TABLE IF NOT EXISTS _migrate_version (
  version INTEGER NOT NULL
)",
    "CREATE TABLE IF NOT EXISTS _migrate_fence (
  job TEXT NOT NULL PRIMARY KEY,
  epoch INTEGER NOT NULL,
  execution TEXT,
  host TEXT,
  process INTEGER,
  process_started INTEGER,
  acquired_at TEXT
)",
    "CREATE TABLE IF NOT EXISTS _migrate_checkpoint (
  job TEXT NOT NULL,
  entity TEXT NOT NULL,
  part INTEGER NOT NULL,
  checkpoint TEXT NOT NULL,
  PRIMARY KEY (job, entity, part)
)",
    "CREATE TABLE IF NOT EXISTS _migrate_ledger (
  job TEXT NOT NULL,
  entity TEXT NOT NULL,
  part INTEGER NOT NULL,
  ordinal INTEGER NOT NULL,
  format INTEGER NOT NULL,
  row_count INTEGER NOT NULL,
  last_key BLOB NOT NULL,
  keys BLOB NOT NULL,
  checksums BLOB NOT NULL,
  keys_digest BLOB NOT NULL,
  rows_digest BLOB NOT NULL,
  position TEXT NOT NULL,
  execution TEXT NOT NULL,
  outcomes BLOB NOT NULL,
  source_digest BLOB,
  PRIMARY KEY (job, entity, part, ordinal)
)",
    "CREATE TABLE IF NOT EXISTS _migrate_quarantine (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  execution TEXT NOT NULL,
  job TEXT NOT NULL,
  entity TEXT NOT NULL,
  part INTEGER NOT NULL,
  key BLOB NOT NULL,
  column_name TEXT,
  reason TEXT NOT NULL,
  source_row BLOB NOT NULL,
  source_columns TEXT NOT NULL
)",
    "CREATE TABLE IF NOT EXISTS _migrate_unfinished (
  job TEXT NOT NULL,
  table_name TEXT NOT NULL,
  plan TEXT NOT NULL,
  PRIMARY KEY (job, table_name)
)",
];

const INDEXES: [&str; 1] = ["CREATE INDEX IF NOT EXISTS _migrate_quarantine_key ON _migrate_quarantine (job, entity, part, key)"];

/// What version 2 and each one after it adds to the one before. Each step can be repeated.
const UPGRADES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS _migrate_gone (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  job TEXT NOT NULL,
  entity TEXT NOT NULL,
  part INTEGER NOT NULL,
  key BLOB NOT NULL,
  own INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS _migrate_gone_scope ON _migrate_gone (job, entity, part, id)",
    "CREATE TABLE IF NOT EXISTS _migrate_key_map (
  job TEXT NOT NULL,
  entity TEXT NOT NULL,
  source_key BLOB NOT NULL,
  target_key BLOB NOT NULL,
  PRIMARY KEY (job, entity, source_key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS _migrate_key_map_target ON _migrate_key_map (job, entity, target_key)",
];

/// Whether the ledger is there with, or without, the column that version 3 adds to it.
const LEDGER_COLUMN: &str = "SELECT MAX(name = 'source_digest') FROM pragma_table_info('_migrate_ledger')";

/// Prints the statements that make the tables, or add what an older version lacks but for the ledger's column: SQLite has no way to say
/// that only where it is missing.
pub(super) fn statements() -> String {
    let mut sql = TABLES.iter().chain(&INDEXES).chain(&UPGRADES).map(|s| format!("{s};\n")).collect::<String>();
    sql.push_str(&format!(
        "INSERT INTO _migrate_version (version) SELECT {VERSION} WHERE NOT EXISTS (SELECT 1 FROM _migrate_version);\n"
    ));
    sql.push_str(&format!("UPDATE _migrate_version SET version = {VERSION} WHERE version < {VERSION} AND ({LEDGER_COLUMN});\n"));
    sql
}

/// Whether the ledger has a place for the source's digests, which it lacks in versions before 3.
pub(super) fn keeps_digests(connection: &Connection) -> Result<bool> {
    Ok(ledger_column(connection)? == Some(true))
}

fn ledger_column(connection: &Connection) -> Result<Option<bool>> {
    connection.query_row(LEDGER_COLUMN, [], |r| r.get(0)).during("reading the state's version")
}

/// Returns whether the state tables exist, perhaps in an older version.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if a newer program made them.
pub(super) fn exists(connection: &Connection) -> Result<bool> {
    Ok(version(connection)?.is_some())
}

/// Returns whether the state tables are of a version that knows key maps; older ones are read by plans alone.
pub(super) fn has_key_map(connection: &Connection) -> Result<bool> {
    Ok(version(connection)?.is_some_and(|version| version >= 3))
}

fn version(connection: &Connection) -> Result<Option<i64>> {
    let doing = "reading the state's version";
    let query = "SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = '_migrate_version'";
    if connection.query_row(query, [], |_| Ok(())).optional().during(doing)?.is_none() {
        return Ok(None);
    }
    let version = connection.query_row("SELECT version FROM main._migrate_version", [], |r| r.get(0)).optional().during(doing)?;
    match version {
        Some(newer) if newer > VERSION => {
            let message = format!("the state tables are of version {newer}; this program knows versions up to {VERSION}");
            Err(Error::new(ErrorKind::Corrupt, message))
        }
        other => Ok(other),
    }
}

/// Creates the state tables, or adds what an older version lacks; writes nothing where they are up to date.
pub(super) fn initialize(connection: &Connection) -> Result<()> {
    if version(connection)? == Some(VERSION) {
        return Ok(());
    }
    in_transaction(connection, |connection| {
        // Somebody may have been quicker.
        if version(connection)? == Some(VERSION) {
            Ok(())
        } else {
            let doing = "creating the state tables";
            if ledger_column(connection)? == Some(false) {
                connection.execute_batch("ALTER TABLE main._migrate_ledger ADD COLUMN source_digest BLOB").during(doing)?;
            }
            connection.execute_batch(&statements()).during(doing)
        }
    })
}
