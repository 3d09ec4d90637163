//! Writing state, inside the transaction of the rows that it speaks of.

use crate::error::from_sqlx;
use migrate_core::schema::TableName;
use migrate_core::sink::TablePlan;
use migrate_core::state::{Fence, Scope, StateChanges, commit_lost};
use migrate_core::{Error, ErrorKind, Result};
use sqlx::postgres::PgConnection;

/// Writes everything but the rows.
///
/// # Errors
/// [`ErrorKind::Internal`] if there are changes and no scope that they belong to.
pub(crate) async fn write(connection: &mut PgConnection, changes: &StateChanges) -> Result<()> {
    let Some(scope) = &changes.scope else {
        let empty = changes.checkpoint.is_none()
            && changes.blocks.is_empty()
            && changes.removed_blocks.is_empty()
            && changes.source_digests.is_empty()
            && changes.quarantine.is_empty()
            && changes.released.is_empty()
            && changes.gone.is_empty()
            && changes.gone_settled.is_empty()
            && changes.key_map.is_empty()
            && !changes.reset_ledger;
        return if empty { Ok(()) } else { Err(Error::new(ErrorKind::Internal, "state was given without its scope")) };
    };
    if changes.reset_ledger {
        for table in ["checkpoint", "ledger", "quarantine", "gone"] {
            let sql = format!("DELETE FROM migrate.{table} x WHERE x.job = $1 AND x.entity = $2 AND x.partition = $3");
            run(connection, scope, sql).await?;
        }
    }
    if !changes.removed_blocks.is_empty() {
        sqlx::query(
            "DELETE FROM migrate.ledger l WHERE l.job = $1 AND l.entity = $2 AND l.partition = $3 AND l.ordinal = ANY($4)",
        )
        .bind(&scope.job)
        .bind(&scope.entity)
        .bind(i64::from(scope.partition))
        .bind(&changes.removed_blocks)
        .execute(&mut *connection)
        .await
        .map_err(from_sqlx)?;
    }
    write_blocks(connection, scope, changes).await?;
    write_digests(connection, scope, changes).await?;
    write_quarantine(connection, scope, changes).await?;
    write_gone(connection, scope, changes).await?;
    if !changes.key_map.is_empty() {
        super::key_map::write(connection, scope, &changes.key_map).await?;
    }
    if let Some(checkpoint) = &changes.checkpoint {
        let content = serde_json::to_string(checkpoint)
            .map_err(|e| Error::new(ErrorKind::Internal, "a checkpoint cannot be written").caused_by(e))?;
        let upsert = "INSERT INTO migrate.checkpoint AS c (job, entity, partition, content) VALUES ($1, $2, $3, $4) \
                      ON CONFLICT (job, entity, partition) DO UPDATE SET content = EXCLUDED.content";
        let update = "UPDATE migrate.checkpoint AS c SET content = $4 WHERE c.job = $1 AND c.entity = $2 AND c.partition = $3 \
                      AND (c.content::json->>'sequence')::bigint >= $5";
        let query = sqlx::query(if changes.follows.is_some() { update } else { upsert });
        let mut query = query.bind(&scope.job).bind(&scope.entity).bind(i64::from(scope.partition)).bind(content);
        if let Some(least) = changes.follows {
            query = query.bind(i64::try_from(least).unwrap_or(i64::MAX));
        }
        if query.execute(connection).await.map_err(from_sqlx)?.rows_affected() != 1 {
            return Err(commit_lost(scope));
        }
    } else if let Some(least) = changes.follows {
        let sql = "SELECT 1 FROM migrate.checkpoint AS c WHERE c.job = $1 AND c.entity = $2 AND c.partition = $3 \
                   AND (c.content::json->>'sequence')::bigint >= $4";
        let query = sqlx::query(sql).bind(&scope.job).bind(&scope.entity).bind(i64::from(scope.partition));
        let found = query.bind(i64::try_from(least).unwrap_or(i64::MAX)).fetch_optional(connection).await.map_err(from_sqlx)?;
        return if found.is_some() { Ok(()) } else { Err(commit_lost(scope)) };
    }
    Ok(())
}

async fn run(connection: &mut PgConnection, scope: &Scope, sql: String) -> Result<()> {
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(&scope.job)
        .bind(&scope.entity)
        .bind(i64::from(scope.partition))
        .execute(connection)
        .await
        .map_err(from_sqlx)?;
    Ok(())
}

async fn write_blocks(connection: &mut PgConnection, scope: &Scope, changes: &StateChanges) -> Result<()> {
    let blocks = &changes.blocks;
    if blocks.is_empty() {
        return Ok(());
    }
    fn slices<'a, T>(blocks: &'a [T], get: impl Fn(&'a T) -> &'a [u8]) -> Vec<&'a [u8]> {
        blocks.iter().map(get).collect()
    }
    sqlx::query(
        "INSERT INTO migrate.ledger AS l (job, entity, partition, ordinal, format, row_count, last_key, keys, checksums, \
                                          keys_digest, rows_digest, position, execution, outcomes) \
         SELECT $1, $2, $3, b.* FROM ROWS FROM (pg_catalog.unnest($4::pg_catalog.int8[]), pg_catalog.unnest($5::pg_catalog.int4[]), pg_catalog.unnest($6::pg_catalog.int8[]), \
             pg_catalog.unnest($7::pg_catalog.bytea[]), pg_catalog.unnest($8::pg_catalog.bytea[]), pg_catalog.unnest($9::pg_catalog.bytea[]), \
             pg_catalog.unnest($10::pg_catalog.bytea[]), pg_catalog.unnest($11::pg_catalog.bytea[]), pg_catalog.unnest($12::pg_catalog.text[]), \
             pg_catalog.unnest($13::pg_catalog.text[]), pg_catalog.unnest($14::pg_catalog.bytea[])) AS b \
         ON CONFLICT (job, entity, partition, ordinal) DO UPDATE SET format = EXCLUDED.format, row_count = EXCLUDED.row_count, \
             last_key = EXCLUDED.last_key, keys = EXCLUDED.keys, checksums = EXCLUDED.checksums, \
             keys_digest = EXCLUDED.keys_digest, rows_digest = EXCLUDED.rows_digest, position = EXCLUDED.position, \
             execution = EXCLUDED.execution, outcomes = EXCLUDED.outcomes, source_digest = NULL",
    )
    .bind(&scope.job)
    .bind(&scope.entity)
    .bind(i64::from(scope.partition))
    .bind(blocks.iter().map(|b| b.ordinal).collect::<Vec<_>>())
    .bind(blocks.iter().map(|b| i32::from(b.format)).collect::<Vec<_>>())
    .bind(blocks.iter().map(|b| i64::from(b.row_count)).collect::<Vec<_>>())
    .bind(slices(blocks, |b| &b.last_key))
    .bind(slices(blocks, |b| &b.keys))
    .bind(slices(blocks, |b| &b.checksums))
    .bind(slices(blocks, |b| &b.keys_digest))
    .bind(slices(blocks, |b| &b.rows_digest))
    .bind(blocks.iter().map(|b| b.position.as_str()).collect::<Vec<_>>())
    .bind(blocks.iter().map(|b| b.execution.as_str()).collect::<Vec<_>>())
    .bind(slices(blocks, |b| &b.outcomes))
    .execute(connection)
    .await
    .map_err(from_sqlx)?;
    Ok(())
}

async fn write_digests(connection: &mut PgConnection, scope: &Scope, changes: &StateChanges) -> Result<()> {
    let digests = &changes.source_digests;
    if digests.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE migrate.ledger l SET source_digest = d.digest \
         FROM ROWS FROM (pg_catalog.unnest($4::pg_catalog.int8[]), pg_catalog.unnest($5::pg_catalog.bytea[])) AS d (ordinal, digest) \
         WHERE l.job = $1 AND l.entity = $2 AND l.partition = $3 AND l.ordinal = d.ordinal",
    )
    .bind(&scope.job)
    .bind(&scope.entity)
    .bind(i64::from(scope.partition))
    .bind(digests.iter().map(|(ordinal, _)| *ordinal).collect::<Vec<_>>())
    .bind(digests.iter().map(|(_, digest)| digest.as_slice()).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(from_sqlx)?;
    Ok(())
}

async fn write_quarantine(connection: &mut PgConnection, scope: &Scope, changes: &StateChanges) -> Result<()> {
    let replaced = changes.quarantine.iter().map(|q| q.key.as_slice()).filter(|k| !k.is_empty());
    let gone: Vec<&[u8]> = changes.released.iter().map(Vec::as_slice).chain(replaced).collect();
    if !gone.is_empty() {
        sqlx::query(
            "DELETE FROM migrate.quarantine q USING pg_catalog.unnest($4::pg_catalog.bytea[]) AS k(key) \
             WHERE q.job = $1 AND q.entity = $2 AND q.partition = $3 \
               AND pg_catalog.sha256(q.key) = pg_catalog.sha256(k.key) AND q.key = k.key",
        )
        .bind(&scope.job)
        .bind(&scope.entity)
        .bind(i64::from(scope.partition))
        .bind(&gone)
        .execute(&mut *connection)
        .await
        .map_err(from_sqlx)?;
    }
    for row in &changes.quarantine {
        sqlx::query(
            "INSERT INTO migrate.quarantine (job, entity, partition, execution, key, column_name, reason, row_values, columns) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(&row.scope.job)
        .bind(&row.scope.entity)
        .bind(i64::from(row.scope.partition))
        .bind(&row.execution)
        .bind(&row.key)
        .bind(&row.column)
        .bind(&row.reason)
        .bind(&row.row)
        .bind(&row.columns)
        .execute(&mut *connection)
        .await
        .map_err(from_sqlx)?;
    }
    Ok(())
}

async fn write_gone(connection: &mut PgConnection, scope: &Scope, changes: &StateChanges) -> Result<()> {
    if !changes.gone_settled.is_empty() {
        sqlx::query("DELETE FROM migrate.gone g WHERE g.job = $1 AND g.entity = $2 AND g.partition = $3 AND g.id = ANY($4)")
            .bind(&scope.job)
            .bind(&scope.entity)
            .bind(i64::from(scope.partition))
            .bind(&changes.gone_settled)
            .execute(&mut *connection)
            .await
            .map_err(from_sqlx)?;
    }
    if changes.gone.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO migrate.gone (job, entity, partition, key, own) \
         SELECT $1, $2, $3, u.* FROM ROWS FROM (pg_catalog.unnest($4::pg_catalog.bytea[]), pg_catalog.unnest($5::pg_catalog.bool[])) AS u",
    )
    .bind(&scope.job)
    .bind(&scope.entity)
    .bind(i64::from(scope.partition))
    .bind(changes.gone.iter().map(|g| g.key.as_slice()).collect::<Vec<_>>())
    .bind(changes.gone.iter().map(|g| g.own).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(from_sqlx)?;
    Ok(())
}

/// Remembers that a job has begun to create a table.
pub(crate) async fn record_unfinished(connection: &mut PgConnection, fence: &Fence, plan: &TablePlan) -> Result<()> {
    let content = serde_json::to_string(plan)
        .map_err(|e| Error::new(ErrorKind::Internal, "a table's plan cannot be written").caused_by(e))?;
    sqlx::query(
        "INSERT INTO migrate.unfinished (job, schema_name, table_name, plan) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (job, schema_name, table_name) DO UPDATE SET plan = EXCLUDED.plan",
    )
    .bind(&fence.job)
    .bind(plan.table.name.schema.as_deref().unwrap_or("public"))
    .bind(&plan.table.name.name)
    .bind(content)
    .execute(connection)
    .await
    .map_err(from_sqlx)?;
    Ok(())
}

/// Forgets a table that is complete.
pub(crate) async fn forget_unfinished(connection: &mut PgConnection, fence: &Fence, name: &TableName) -> Result<()> {
    sqlx::query("DELETE FROM migrate.unfinished u WHERE u.job = $1 AND u.schema_name = $2 AND u.table_name = $3")
        .bind(&fence.job)
        .bind(name.schema.as_deref().unwrap_or("public"))
        .bind(&name.name)
        .execute(connection)
        .await
        .map_err(from_sqlx)?;
    Ok(())
}
