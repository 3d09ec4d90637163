//! The versions of the store's tables.

use crate::connection::execute;
use crate::error::from_sqlx;
use migrate_core::error::{Error, ErrorKind, Result};
use sqlx::postgres::PgConnection;

/// What leads from each version to the next; the first from nothing to 1. Never edited once released: only added to.
const STEPS: [&str; 2] = [include_str!("schema-1.sql"), include_str!("schema-2.sql")];

/// A number of our own among advisory locks.
const LOCK: i64 = 0x6d69_6772_6174_6501;

/// Brings the tables to this library's version within the open transaction; many processes may do so at once.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if a newer version made them, [`ErrorKind::Permission`] if the schema is missing and cannot be created.
pub(super) async fn run(connection: &mut PgConnection) -> Result<()> {
    // Most of the time there is nothing to do, and then no right to create is needed.
    if check(version(connection).await?)? == STEPS.len() {
        return Ok(());
    }
    sqlx::query("SELECT pg_catalog.pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *connection).await.map_err(from_sqlx)?;
    let from = check(version(connection).await?)?;
    if from == 0 {
        // Asked for first: `IF NOT EXISTS` wants the right to create even where the schema is there.
        let (exists,): (bool,) =
            sqlx::query_as("SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'migrate_store')")
                .fetch_one(&mut *connection)
                .await
                .map_err(from_sqlx)?;
        let missing = "CREATE SCHEMA migrate_store; ";
        let table = "CREATE TABLE IF NOT EXISTS migrate_store.migration_schema (version bigint PRIMARY KEY)";
        let sql = format!("{}{table}", if exists { "" } else { missing });
        execute(connection, sql).await.map_err(explain)?;
    }
    for (version, step) in (1_i64..).zip(STEPS).skip(from) {
        execute(connection, step).await.map_err(explain)?;
        sqlx::query("INSERT INTO migrate_store.migration_schema (version) VALUES ($1)")
            .bind(version)
            .execute(&mut *connection)
            .await
            .map_err(from_sqlx)?;
    }
    Ok(())
}

fn explain(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Permission => {
            let message = "the store's tables are missing and this role may not create them; let an owner run any migrate command on \
                           this store once, or run: CREATE SCHEMA migrate_store AUTHORIZATION of this role";
            Error::new(ErrorKind::Permission, message).caused_by(error)
        }
        _ => error,
    }
}

async fn version(connection: &mut PgConnection) -> Result<i64> {
    // Not `to_regclass`: within one transaction it repeats what it once saw, also after the lock was waited for.
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                              WHERE n.nspname = 'migrate_store' AND c.relname = 'migration_schema')";
    let (exists,): (bool,) = sqlx::query_as(sql).fetch_one(&mut *connection).await.map_err(from_sqlx)?;
    if !exists {
        return Ok(0);
    }
    let (version,): (i64,) = sqlx::query_as("SELECT coalesce(max(version), 0) FROM migrate_store.migration_schema")
        .fetch_one(connection)
        .await
        .map_err(from_sqlx)?;
    Ok(version)
}

fn check(version: i64) -> Result<usize> {
    usize::try_from(version).ok().filter(|version| *version <= STEPS.len()).ok_or_else(|| {
        let known = STEPS.len();
        let message = format!("the store has version {version}, made by a newer migrate; this one knows versions up to {known}");
        Error::new(ErrorKind::Corrupt, message)
    })
}
