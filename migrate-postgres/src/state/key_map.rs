//! The key map: what the target has given in place of the source's ids.

use crate::error::from_sqlx;
use migrate_core::Result;
use migrate_core::state::{KeyMapChanges, Scope};
use migrate_core::value::Key;
use sqlx::postgres::PgConnection;
use std::collections::HashMap;

/// Entries that one statement writes.
const AT_ONCE: usize = 16_384;

/// Writes changes of an entity's key map.
pub(super) async fn write(connection: &mut PgConnection, scope: &Scope, changes: &KeyMapChanges) -> Result<()> {
    if changes.reset {
        let sql = "DELETE FROM migrate.key_map k WHERE k.job = $1 AND k.entity = $2";
        sqlx::query(sql).bind(&scope.job).bind(&scope.entity).execute(&mut *connection).await.map_err(from_sqlx)?;
    }
    let gone: Vec<&Key> = changes.gone.iter().collect();
    let by_source = "DELETE FROM migrate.key_map k WHERE k.job = $1 AND k.entity = $2 AND k.source_key = ANY ($3)";
    remove(connection, scope, by_source, &gone).await?;
    // An id of the target that is found to be another row's belongs to that one alone.
    let taken: Vec<&Key> = changes.gone_targets.iter().chain(changes.entries.iter().map(|(_, target)| target)).collect();
    let by_target = "DELETE FROM migrate.key_map k WHERE k.job = $1 AND k.entity = $2 AND k.target_key = ANY ($3)";
    remove(connection, scope, by_target, &taken).await?;
    for some in changes.entries.chunks(AT_ONCE) {
        let mut last: HashMap<&Key, &Key> = HashMap::with_capacity(some.len());
        some.iter().for_each(|(source, target)| {
            last.insert(source, target);
        });
        let (sources, targets): (Vec<&[u8]>, Vec<&[u8]>) =
            last.into_iter().map(|(source, target)| (source.as_bytes(), target.as_bytes())).unzip();
        sqlx::query(
            "INSERT INTO migrate.key_map AS k (job, entity, source_key, target_key) \
             SELECT $1, $2, u.* FROM ROWS FROM (pg_catalog.unnest($3::pg_catalog.bytea[]), pg_catalog.unnest($4::pg_catalog.bytea[])) AS u \
             ON CONFLICT (job, entity, source_key) DO UPDATE SET target_key = EXCLUDED.target_key",
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
    let sql =
        "SELECT k.source_key, k.target_key FROM migrate.key_map k WHERE k.job = $1 AND k.entity = $2 AND k.source_key = ANY ($3)";
    read(connection, job, entity, sources, sql).await
}

/// Reads entries by the ids of the target.
pub(super) async fn by_target(
    connection: &mut PgConnection,
    job: &str,
    entity: &str,
    targets: &[Key],
) -> Result<HashMap<Key, Key>> {
    let sql =
        "SELECT k.target_key, k.source_key FROM migrate.key_map k WHERE k.job = $1 AND k.entity = $2 AND k.target_key = ANY ($3)";
    read(connection, job, entity, targets, sql).await
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
