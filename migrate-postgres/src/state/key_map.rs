//! The key map: what the target has given in place of the source's ids.

use crate::error::from_sqlx;
use migrate_core::Result;
use migrate_core::state::{KeyMapChanges, Scope};
use migrate_core::value::Key;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use std::collections::{BTreeMap, HashMap};

/// Entries that one statement writes.
const AT_ONCE: usize = 16_384;
/// Entries that one statement removes.
const CLOSE: usize = 1_024;
/// Entries from which on it pays to ask first whether there are any that they could meet.
const MANY: usize = 64;

const INSERT: &str = "INSERT INTO migrate.key_map AS k (job, entity, source_key, target_key) \
     SELECT $1, $2, u.* FROM ROWS FROM (pg_catalog.unnest($3::pg_catalog.bytea[]), pg_catalog.unnest($4::pg_catalog.bytea[])) AS u";
const OR_REPLACE: &str = " ON CONFLICT (source_key, job, entity) DO UPDATE SET target_key = EXCLUDED.target_key";

/// Whose ids are meant.
#[derive(Clone, Copy)]
enum Side {
    Source,
    Target,
}

impl Side {
    fn column(self) -> &'static str {
        match self {
            Side::Source => "source_key",
            Side::Target => "target_key",
        }
    }
}

/// Writes changes of an entity's key map.
pub(super) async fn write(connection: &mut PgConnection, scope: &Scope, changes: &KeyMapChanges) -> Result<()> {
    if changes.reset {
        let sql = "DELETE FROM migrate.key_map k WHERE k.job = $1 AND k.entity = $2";
        sqlx::query(sql).bind(&scope.job).bind(&scope.entity).execute(&mut *connection).await.map_err(from_sqlx)?;
    }
    let gone: Vec<&[u8]> = changes.gone.iter().map(Key::as_bytes).collect();
    remove(connection, scope, Side::Source, &gone).await?;
    // An id of the target that is found to be another row's belongs to that one alone.
    let taken = changes.gone_targets.iter().chain(changes.entries.iter().map(|(_, target)| target));
    let taken: Vec<&[u8]> = taken.map(Key::as_bytes).collect();
    remove(connection, scope, Side::Target, &taken).await?;
    let last: BTreeMap<&[u8], &[u8]> =
        changes.entries.iter().map(|(source, target)| (source.as_bytes(), target.as_bytes())).collect();
    insert(connection, scope, &last.into_iter().collect::<Vec<_>>()).await
}

/// Inserts entries, which are sorted by the ids of the source, or replaces what is there.
async fn insert(connection: &mut PgConnection, scope: &Scope, entries: &[(&[u8], &[u8])]) -> Result<()> {
    let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else { return Ok(()) };
    // A look for conflicts doubles what an entry costs, and a first load has none.
    let new = entries.len() >= MANY && !any_between(connection, scope, Side::Source, first, last).await?;
    let sql = if new { INSERT.to_owned() } else { format!("{INSERT}{OR_REPLACE}") };
    for some in entries.chunks(AT_ONCE) {
        let (sources, targets): (Vec<&[u8]>, Vec<&[u8]>) = some.iter().copied().unzip();
        let query = sqlx::query(AssertSqlSafe(sql.as_str())).bind(&scope.job).bind(&scope.entity);
        query.bind(sources).bind(targets).execute(&mut *connection).await.map_err(from_sqlx)?;
    }
    Ok(())
}

/// Removes the entries of some ids.
async fn remove(connection: &mut PgConnection, scope: &Scope, side: Side, keys: &[&[u8]]) -> Result<()> {
    let sql = format!("DELETE FROM migrate.key_map k WHERE k.job = $1 AND k.entity = $2 AND k.{} = ANY ($3)", side.column());
    // Numbers that were drawn together lie close together, and others who draw at the same time get some in between.
    for some in keys.chunks(CLOSE) {
        let (Some(first), Some(last)) = (some.iter().min(), some.iter().max()) else { continue };
        if some.len() >= MANY && !any_between(connection, scope, side, first, last).await? {
            continue;
        }
        let query = sqlx::query(AssertSqlSafe(sql.as_str())).bind(&scope.job).bind(&scope.entity).bind(some);
        query.execute(&mut *connection).await.map_err(from_sqlx)?;
    }
    Ok(())
}

/// Returns whether there are entries between two ids, both included.
async fn any_between(connection: &mut PgConnection, scope: &Scope, side: Side, first: &[u8], last: &[u8]) -> Result<bool> {
    let column = side.column();
    let sql = format!(
        "SELECT EXISTS (SELECT FROM migrate.key_map k \
         WHERE k.{column} >= $3 AND k.{column} <= $4 AND k.job = $1 AND k.entity = $2)"
    );
    let query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(&scope.job).bind(&scope.entity).bind(first).bind(last);
    query.fetch_one(connection).await.map_err(from_sqlx)
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
