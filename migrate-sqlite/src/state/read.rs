//! Reading the state.

use super::from_json;
use crate::error::SqliteContext;
use migrate_core::schema::TableName;
use migrate_core::state::{BlockHead, Checkpoint, Feeds, GoneRow, QuarantinedRow, Scope, StoredBlock, UnfinishedTable};
use migrate_core::{Error, ErrorKind, Result};
use rusqlite::{Connection, Params, Row, params};

const DOING: &str = "reading the state";

fn all<T>(
    connection: &Connection,
    query: &str,
    values: impl Params,
    row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    let mut statement = connection.prepare_cached(query).during(DOING)?;
    statement.query_map(values, row).and_then(Iterator::collect).during(DOING)
}

/// SQLite counts in signed numbers; more rows than that cannot exist.
fn limited(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(super) fn checkpoints(connection: &Connection, job: &str, entity: &str) -> Result<Vec<(u32, Checkpoint)>> {
    let query = "SELECT part, checkpoint FROM main._migrate_checkpoint WHERE job = ?1 AND entity = ?2 ORDER BY part";
    let rows: Vec<(u32, String)> = all(connection, query, params![job, entity], |r| Ok((r.get(0)?, r.get(1)?)))?;
    rows.into_iter().map(|(part, text)| Ok((part, from_json(&text, "checkpoint")?))).collect()
}

pub(super) fn neighbours(connection: &Connection, job: &str) -> Result<Vec<(Scope, Feeds)>> {
    let query = "SELECT job, entity, part, checkpoint FROM main._migrate_checkpoint WHERE job <> ?1";
    let rows: Vec<(Scope, String)> = all(connection, query, params![job], |r| {
        Ok((Scope { job: r.get(0)?, entity: r.get(1)?, partition: r.get(2)? }, r.get(3)?))
    })?;
    let mut found = Vec::with_capacity(rows.len());
    for (scope, text) in rows {
        let checkpoint: Checkpoint = from_json(&text, "checkpoint").map_err(|e| e.with("job", &scope.job))?;
        found.extend(checkpoint.feeds.map(|feeds| (scope, feeds)));
    }
    Ok(found)
}

pub(super) fn ledger_blocks(
    connection: &Connection,
    scope: &Scope,
    after: Option<i64>,
    limit: usize,
) -> Result<Vec<StoredBlock>> {
    let query =
        "SELECT ordinal, format, row_count, last_key, keys, checksums, keys_digest, rows_digest, position, execution, outcomes
                 FROM main._migrate_ledger
                 WHERE job = ?1 AND entity = ?2 AND part = ?3 AND (?4 IS NULL OR ordinal > ?4) ORDER BY ordinal LIMIT ?5";
    // Two queries would be two plans; with `OR` the index still gives the scope in order, but walks it from its start.
    let query = if after.is_some() { query.replace("(?4 IS NULL OR ordinal > ?4)", "ordinal > ?4") } else { query.to_owned() };
    let values = params![scope.job, scope.entity, scope.partition, after, limited(limit)];
    all(connection, &query, values, |r| {
        Ok(StoredBlock {
            ordinal: r.get(0)?,
            format: r.get(1)?,
            row_count: r.get(2)?,
            last_key: r.get(3)?,
            keys: r.get(4)?,
            checksums: r.get(5)?,
            keys_digest: r.get(6)?,
            rows_digest: r.get(7)?,
            position: r.get(8)?,
            execution: r.get(9)?,
            outcomes: r.get(10)?,
        })
    })
}

pub(super) fn ledger_heads(connection: &Connection, scope: &Scope, after: Option<i64>, limit: usize) -> Result<Vec<BlockHead>> {
    if !super::schema::keeps_digests(connection)? {
        return Err(Error::new(ErrorKind::NotFound, "the target's state tables keep no digests"));
    }
    let query = "SELECT ordinal, row_count, last_key, execution, source_digest FROM main._migrate_ledger
                 WHERE job = ?1 AND entity = ?2 AND part = ?3 AND ordinal > ?4 ORDER BY ordinal LIMIT ?5";
    let values = params![scope.job, scope.entity, scope.partition, after.unwrap_or(i64::MIN), limited(limit)];
    all(connection, query, values, |r| {
        Ok(BlockHead {
            ordinal: r.get(0)?,
            row_count: r.get(1)?,
            last_key: r.get(2)?,
            execution: r.get(3)?,
            source_digest: r.get(4)?,
        })
    })
}

pub(super) fn quarantine(connection: &Connection, job: &str, entity: Option<&str>, limit: usize) -> Result<Vec<QuarantinedRow>> {
    let query =
        "SELECT execution, entity, part, key, column_name, reason, source_row, source_columns FROM main._migrate_quarantine
                 WHERE job = ?1 AND (?2 IS NULL OR entity = ?2) ORDER BY id DESC LIMIT ?3";
    let rows = all(connection, query, params![job, entity, limited(limit)], |r| {
        let row = QuarantinedRow {
            execution: r.get(0)?,
            scope: Scope { job: job.to_owned(), entity: r.get(1)?, partition: r.get(2)? },
            key: r.get(3)?,
            column: r.get(4)?,
            reason: r.get(5)?,
            row: r.get(6)?,
            columns: Vec::new(),
        };
        Ok((row, r.get::<_, String>(7)?))
    })?;
    rows.into_iter()
        .map(|(row, columns)| Ok(QuarantinedRow { columns: from_json(&columns, "quarantined row")?, ..row }))
        .collect()
}

pub(super) fn quarantined_keys(connection: &Connection, scope: &Scope, limit: usize) -> Result<Vec<Vec<u8>>> {
    let query = "SELECT key FROM main._migrate_quarantine WHERE job = ?1 AND entity = ?2 AND part = ?3 LIMIT ?4";
    all(connection, query, params![scope.job, scope.entity, scope.partition, limited(limit)], |r| r.get(0))
}

pub(super) fn gone_rows(
    connection: &Connection,
    scope: &Scope,
    before: Option<i64>,
    limit: usize,
) -> Result<Vec<(i64, GoneRow)>> {
    let query = "SELECT id, key, own FROM main._migrate_gone WHERE job = ?1 AND entity = ?2 AND part = ?3 AND id < ?4
                 ORDER BY id DESC LIMIT ?5";
    let values = params![scope.job, scope.entity, scope.partition, before.unwrap_or(i64::MAX), limited(limit)];
    all(connection, query, values, |r| Ok((r.get(0)?, GoneRow { key: r.get(1)?, own: r.get(2)? })))
}

pub(super) fn unfinished_tables(connection: &Connection, job: &str) -> Result<Vec<UnfinishedTable>> {
    let query = "SELECT table_name, plan FROM main._migrate_unfinished WHERE job = ?1 ORDER BY rowid";
    let rows: Vec<(String, String)> = all(connection, query, params![job], |r| Ok((r.get(0)?, r.get(1)?)))?;
    rows.into_iter()
        .map(|(name, plan)| Ok(UnfinishedTable { name: TableName::new(None, name), plan: from_json(&plan, "table plan")? }))
        .collect()
}
