//! The key map: what the target has given in place of the source's ids.

use crate::error::SqliteContext;
use migrate_core::Result;
use migrate_core::state::{KeyMapChanges, Scope};
use migrate_core::value::Key;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;

/// Writes changes of an entity's key map, in the transaction that is open.
pub(super) fn apply(connection: &Connection, scope: &Scope, changes: &KeyMapChanges) -> Result<()> {
    let doing = "writing the key map";
    if changes.reset {
        let delete = "DELETE FROM main._migrate_key_map WHERE job = ?1 AND entity = ?2";
        connection.execute(delete, params![scope.job, scope.entity]).during(doing)?;
    }
    let by_source = "DELETE FROM main._migrate_key_map WHERE job = ?1 AND entity = ?2 AND source_key = ?3";
    let by_target = "DELETE FROM main._migrate_key_map WHERE job = ?1 AND entity = ?2 AND target_key = ?3";
    // An id of the target that is found to be another row's belongs to that one alone.
    let taken = changes.gone_targets.iter().chain(changes.entries.iter().map(|(_, target)| target));
    let removed = changes.gone.iter().map(|key| (by_source, key)).chain(taken.map(|key| (by_target, key)));
    for (delete, key) in removed {
        let mut statement = connection.prepare_cached(delete).during(doing)?;
        statement.execute(params![scope.job, scope.entity, key.as_bytes()]).during(doing)?;
    }
    let upsert = "INSERT OR REPLACE INTO main._migrate_key_map(job, entity, source_key, target_key) VALUES (?1, ?2, ?3, ?4)";
    let mut statement = connection.prepare_cached(upsert).during(doing)?;
    for (source, target) in &changes.entries {
        statement.execute(params![scope.job, scope.entity, source.as_bytes(), target.as_bytes()]).during(doing)?;
    }
    Ok(())
}

/// Reads entries by the ids of the source.
pub(crate) fn by_source(connection: &Connection, job: &str, entity: &str, sources: &[Key]) -> Result<HashMap<Key, Key>> {
    let query = "SELECT target_key FROM main._migrate_key_map WHERE job = ?1 AND entity = ?2 AND source_key = ?3";
    read(connection, job, entity, sources, query)
}

/// Reads entries by the ids of the target.
pub(super) fn by_target(connection: &Connection, job: &str, entity: &str, targets: &[Key]) -> Result<HashMap<Key, Key>> {
    let query = "SELECT source_key FROM main._migrate_key_map WHERE job = ?1 AND entity = ?2 AND target_key = ?3";
    read(connection, job, entity, targets, query)
}

fn read(connection: &Connection, job: &str, entity: &str, keys: &[Key], query: &str) -> Result<HashMap<Key, Key>> {
    let doing = "reading the key map";
    // One statement, stepped for each key inside the process: there is no server to be asked less often.
    let mut statement = connection.prepare_cached(query).during(doing)?;
    let mut found = HashMap::with_capacity(keys.len());
    for key in keys {
        let value: Option<Vec<u8>> =
            statement.query_row(params![job, entity, key.as_bytes()], |row| row.get(0)).optional().during(doing)?;
        found.extend(value.map(|value| (key.clone(), Key::from_bytes(value))));
    }
    Ok(found)
}
