//! The key map: what the target has given in place of the source's ids.

use crate::error::from_sqlx;
use migrate_core::Result;
use migrate_core::state::{KeyMapChanges, Scope};
use migrate_core::value::Key;
use sqlx::postgres::PgConnection;
use std::collections::{BTreeMap, HashMap};

/// Entries that one statement writes.
const AT_ONCE: usize = 16_384;

// Each key is looked up by itself, which no plan can do but by the index of all three columns. While the table has no statistics, or those of
// a time before it grew, the server takes an index of the first two columns to be as good, and reads all entries of the entity for each batch.
const DELETE_BY_SOURCE: &str = "DELETE FROM migrate.key_map k WHERE k.ctid = ANY (ARRAY(\
    SELECT f.ctid FROM pg_catalog.unnest($3::pg_catalog.bytea[]) AS u (key) CROSS JOIN LATERAL (\
    SELECT e.ctid FROM migrate.key_map e WHERE e.job = $1 AND e.entity = $2 AND e.source_key = u.key OFFSET 0) AS f))";
const DELETE_BY_TARGET: &str = "DELETE FROM migrate.key_map k WHERE k.ctid = ANY (ARRAY(\
    SELECT f.ctid FROM pg_catalog.unnest($3::pg_catalog.bytea[]) AS u (key) CROSS JOIN LATERAL (\
    SELECT e.ctid FROM migrate.key_map e WHERE e.job = $1 AND e.entity = $2 AND e.target_key = u.key OFFSET 0) AS f))";
const BY_SOURCE: &str = "SELECT u.key, f.target_key FROM pg_catalog.unnest($3::pg_catalog.bytea[]) AS u (key) CROSS JOIN LATERAL (\
    SELECT e.target_key FROM migrate.key_map e WHERE e.job = $1 AND e.entity = $2 AND e.source_key = u.key OFFSET 0) AS f";
const BY_TARGET: &str = "SELECT u.key, f.source_key FROM pg_catalog.unnest($3::pg_catalog.bytea[]) AS u (key) CROSS JOIN LATERAL (\
    SELECT e.source_key FROM migrate.key_map e WHERE e.job = $1 AND e.entity = $2 AND e.target_key = u.key OFFSET 0) AS f";

/// Writes changes of an entity's key map.
pub(super) async fn write(connection: &mut PgConnection, scope: &Scope, changes: &KeyMapChanges) -> Result<()> {
    if changes.reset {
        let sql = "DELETE FROM migrate.key_map k WHERE k.job = $1 AND k.entity = $2";
        sqlx::query(sql).bind(&scope.job).bind(&scope.entity).execute(&mut *connection).await.map_err(from_sqlx)?;
    }
    // What an id had is taken out first: an INSERT that must look for conflicts takes twice as long.
    let gone: Vec<&Key> = changes.gone.iter().chain(changes.entries.iter().map(|(source, _)| source)).collect();
    remove(connection, scope, DELETE_BY_SOURCE, &gone).await?;
    // An id of the target that is found to be another row's belongs to that one alone.
    let taken: Vec<&Key> = changes.gone_targets.iter().chain(changes.entries.iter().map(|(_, target)| target)).collect();
    remove(connection, scope, DELETE_BY_TARGET, &taken).await?;
    // In their order, as both indexes take them fastest.
    let last: BTreeMap<&[u8], &[u8]> =
        changes.entries.iter().map(|(source, target)| (source.as_bytes(), target.as_bytes())).collect();
    let last: Vec<(&[u8], &[u8])> = last.into_iter().collect();
    for some in last.chunks(AT_ONCE) {
        let (sources, targets): (Vec<&[u8]>, Vec<&[u8]>) = some.iter().copied().unzip();
        sqlx::query(
            "INSERT INTO migrate.key_map AS k (job, entity, source_key, target_key) \
             SELECT $1, $2, u.* FROM ROWS FROM (pg_catalog.unnest($3::pg_catalog.bytea[]), pg_catalog.unnest($4::pg_catalog.bytea[])) AS u",
        )
        .bind(&scope.job)
        .bind(&scope.entity)
        .bind(sources)
        .bind(targets)
        .execute(&mut *connection)
        .await
        .map_err(from_sqlx)?;
    }
    Ok(())
}

async fn remove(connection: &mut PgConnection, scope: &Scope, sql: &'static str, keys: &[&Key]) -> Result<()> {
    for some in keys.chunks(AT_ONCE) {
        let some: Vec<&[u8]> = some.iter().map(|key| key.as_bytes()).collect();
        sqlx::query(sql).bind(&scope.job).bind(&scope.entity).bind(some).execute(&mut *connection).await.map_err(from_sqlx)?;
    }
    Ok(())
}

/// Reads entries by the ids of the source.
pub(crate) async fn by_source(
    connection: &mut PgConnection,
    job: &str,
    entity: &str,
    sources: &[Key],
) -> Result<HashMap<Key, Key>> {
    read(connection, job, entity, sources, BY_SOURCE).await
}

/// Reads entries by the ids of the target.
pub(super) async fn by_target(
    connection: &mut PgConnection,
    job: &str,
    entity: &str,
    targets: &[Key],
) -> Result<HashMap<Key, Key>> {
    read(connection, job, entity, targets, BY_TARGET).await
}

async fn read(
    connection: &mut PgConnection,
    job: &str,
    entity: &str,
    keys: &[Key],
    sql: &'static str,
) -> Result<HashMap<Key, Key>> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let wanted: Vec<&[u8]> = keys.iter().map(Key::as_bytes).collect();
    let rows: Vec<(Vec<u8>, Vec<u8>)> =
        sqlx::query_as(sql).bind(job).bind(entity).bind(wanted).fetch_all(connection).await.map_err(from_sqlx)?;
    Ok(rows.into_iter().map(|(key, value)| (Key::from_bytes(key), Key::from_bytes(value))).collect())
}
