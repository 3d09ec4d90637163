//! Writing the state that a commit carries.

use super::{key_map, to_json};
use crate::error::SqliteContext;
use migrate_core::Result;
use migrate_core::state::{QuarantinedRow, Scope, StateChanges, StoredBlock, commit_lost};
use rusqlite::{Connection, params};

const DOING: &str = "writing the state";

/// Writes state changes in the transaction that is open.
pub(crate) fn apply(connection: &Connection, changes: &StateChanges) -> Result<()> {
    let Some(scope) = &changes.scope else { return Ok(()) };
    if changes.reset_ledger {
        for table in ["_migrate_checkpoint", "_migrate_ledger", "_migrate_quarantine", "_migrate_gone"] {
            let delete = format!("DELETE FROM main.{table} WHERE job = ?1 AND entity = ?2 AND part = ?3");
            connection.execute(&delete, params![scope.job, scope.entity, scope.partition]).during(DOING)?;
        }
    }
    for ordinal in &changes.removed_blocks {
        let delete = "DELETE FROM main._migrate_ledger WHERE job = ?1 AND entity = ?2 AND part = ?3 AND ordinal = ?4";
        let mut statement = connection.prepare_cached(delete).during(DOING)?;
        statement.execute(params![scope.job, scope.entity, scope.partition, ordinal]).during(DOING)?;
    }
    for block in &changes.blocks {
        write_block(connection, scope, block)?;
    }
    for (ordinal, digest) in &changes.source_digests {
        let update =
            "UPDATE main._migrate_ledger SET source_digest = ?5 WHERE job = ?1 AND entity = ?2 AND part = ?3 AND ordinal = ?4";
        let mut statement = connection.prepare_cached(update).during(DOING)?;
        statement.execute(params![scope.job, scope.entity, scope.partition, ordinal, digest]).during(DOING)?;
    }
    for key in &changes.released {
        release(connection, scope, key)?;
    }
    for row in &changes.quarantine {
        // Rows of a table without a key have none to tell them apart by: each stays.
        if !row.key.is_empty() {
            release(connection, &row.scope, &row.key)?;
        }
        quarantine(connection, row)?;
    }
    for id in &changes.gone_settled {
        let delete = "DELETE FROM main._migrate_gone WHERE id = ?1";
        connection.prepare_cached(delete).during(DOING)?.execute([id]).during(DOING)?;
    }
    for row in &changes.gone {
        let insert = "INSERT INTO main._migrate_gone(job, entity, part, key, own) VALUES (?1, ?2, ?3, ?4, ?5)";
        let values = params![scope.job, scope.entity, scope.partition, row.key, row.own];
        connection.prepare_cached(insert).during(DOING)?.execute(values).during(DOING)?;
    }
    if !changes.key_map.is_empty() {
        key_map::apply(connection, scope, &changes.key_map)?;
    }
    if let Some(least) = changes.follows {
        let held = "SELECT 1 FROM main._migrate_checkpoint
                    WHERE job = ?1 AND entity = ?2 AND part = ?3 AND json_extract(checkpoint, '$.sequence') >= ?4";
        let values = params![scope.job, scope.entity, scope.partition, i64::try_from(least).unwrap_or(i64::MAX)];
        if !connection.prepare_cached(held).during(DOING)?.exists(values).during(DOING)? {
            return Err(commit_lost(scope));
        }
    }
    if let Some(checkpoint) = &changes.checkpoint {
        let upsert = "INSERT INTO main._migrate_checkpoint(job, entity, part, checkpoint) VALUES (?1, ?2, ?3, ?4)
                      ON CONFLICT (job, entity, part) DO UPDATE SET checkpoint = excluded.checkpoint";
        let mut statement = connection.prepare_cached(upsert).during(DOING)?;
        statement.execute(params![scope.job, scope.entity, scope.partition, to_json(checkpoint)?]).during(DOING)?;
    }
    Ok(())
}

fn write_block(connection: &Connection, scope: &Scope, block: &StoredBlock) -> Result<()> {
    let replace = "INSERT OR REPLACE INTO main._migrate_ledger(job, entity, part, ordinal, format, row_count, last_key, keys,
                   checksums, keys_digest, rows_digest, position, execution, outcomes)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
    let row = params![
        scope.job,
        scope.entity,
        scope.partition,
        block.ordinal,
        block.format,
        block.row_count,
        block.last_key,
        block.keys,
        block.checksums,
        block.keys_digest,
        block.rows_digest,
        block.position,
        block.execution,
        block.outcomes,
    ];
    connection.prepare_cached(replace).during(DOING)?.execute(row).during(DOING).map(|_| ())
}

fn release(connection: &Connection, scope: &Scope, key: &[u8]) -> Result<()> {
    let delete = "DELETE FROM main._migrate_quarantine WHERE job = ?1 AND entity = ?2 AND part = ?3 AND key = ?4";
    let row = params![scope.job, scope.entity, scope.partition, key];
    connection.prepare_cached(delete).during(DOING)?.execute(row).during(DOING).map(|_| ())
}

fn quarantine(connection: &Connection, row: &QuarantinedRow) -> Result<()> {
    let insert =
        "INSERT INTO main._migrate_quarantine(execution, job, entity, part, key, column_name, reason, source_row, source_columns)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let values = params![
        row.execution,
        row.scope.job,
        row.scope.entity,
        row.scope.partition,
        row.key,
        row.column,
        row.reason,
        row.row,
        to_json(&row.columns)?,
    ];
    connection.prepare_cached(insert).during(DOING)?.execute(values).during(DOING).map(|_| ())
}
