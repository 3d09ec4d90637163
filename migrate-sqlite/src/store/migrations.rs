//! The versions of the store's tables.

use crate::error::SqliteContext;
use migrate_core::error::{Error, ErrorKind, Result};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

/// What leads from each version to the next; the first from nothing to 1. Never edited once released: only added to.
const STEPS: [&str; 2] = [include_str!("schema-1.sql"), include_str!("schema-2.sql")];

/// Brings the tables to this library's version; many processes may do so at once.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if a newer version made them.
pub(super) fn run(connection: &mut Connection) -> Result<()> {
    // Most of the time there is nothing to do, and then nobody is locked out.
    if check(version(connection)?)? == STEPS.len() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).during("upgrading the store")?;
    let from = check(version(&transaction)?)?;
    transaction
        .execute_batch("CREATE TABLE IF NOT EXISTS migration_schema (version INTEGER PRIMARY KEY)")
        .during("upgrading the store")?;
    for (version, step) in (1_i64..).zip(STEPS).skip(from) {
        transaction.execute_batch(step).during("upgrading the store")?;
        transaction.execute("INSERT INTO migration_schema (version) VALUES (?1)", [version]).during("upgrading the store")?;
    }
    transaction.commit().during("upgrading the store")
}

fn version(connection: &Connection) -> Result<i64> {
    let exists = connection
        .query_row("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'migration_schema'", [], |_| Ok(()))
        .optional()
        .during("reading the store")?;
    match exists {
        Some(()) => connection
            .query_row("SELECT coalesce(max(version), 0) FROM migration_schema", [], |row| row.get(0))
            .during("reading the store"),
        None => Ok(0),
    }
}

fn check(version: i64) -> Result<usize> {
    usize::try_from(version).ok().filter(|version| *version <= STEPS.len()).ok_or_else(|| {
        let known = STEPS.len();
        let message = format!("the store has version {version}, made by a newer migrate; this one knows versions up to {known}");
        Error::new(ErrorKind::Corrupt, message)
    })
}
