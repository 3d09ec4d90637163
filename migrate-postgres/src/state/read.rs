//! Reading state.

use super::{fence, key_map, tables};
use crate::error::from_sqlx;
use crate::pool::Pool;
use async_trait::async_trait;
use migrate_core::schema::TableName;
use migrate_core::sink::TablePlan;
use migrate_core::state::{
    BlockHead, Checkpoint, Feeds, Fence, FenceOwner, GoneRow, QuarantinedRow, Scope, StoredBlock, TargetState, UnfinishedTable,
};
use migrate_core::value::Key;
use migrate_core::{Error, ErrorKind, Result};
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::collections::HashMap;
use std::sync::Arc;

/// The state of a PostgreSQL target.
#[derive(Debug, Clone)]
pub(crate) struct PostgresState {
    pool: Arc<Pool>,
}

impl PostgresState {
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        PostgresState { pool }
    }
}

/// Says of a table that is not there that the state tables are of a version which had none: a plan reads them as they are.
fn of_older(error: Error) -> Error {
    let missing = error.context().iter().any(|(name, code)| *name == "sqlstate" && code == "42P01");
    if missing { error.into_kind(ErrorKind::NotFound) } else { error }
}

#[async_trait]
impl TargetState for PostgresState {
    async fn exists(&self) -> Result<bool> {
        let version = fence::with_session(&self.pool, async |connection| tables::version(connection).await).await?;
        version.map(tables::check_version).transpose().map(|v| v.is_some())
    }

    async fn initialize(&self) -> Result<()> {
        let within = self.pool.lone().is_some();
        fence::with_session(&self.pool, async |connection| tables::create(connection, within).await).await
    }

    fn initialize_sql(&self, writer: Option<&str>) -> String {
        tables::create_sql(writer)
    }

    async fn acquire(&self, job: &str, owner: &FenceOwner) -> Result<Fence> {
        fence::acquire(&self.pool, job, owner).await
    }

    async fn holder(&self, job: &str) -> Result<Option<FenceOwner>> {
        fence::holder(&self.pool, job).await
    }

    async fn release(&self, fence: &Fence) -> Result<()> {
        fence::release(&self.pool, fence).await
    }

    async fn settle(&self, fence: &Fence) -> Result<()> {
        fence::settle(&self.pool, fence).await
    }

    async fn checkpoints(&self, job: &str, entity: &str) -> Result<Vec<(u32, Checkpoint)>> {
        let rows: Vec<(i64, String)> = fence::with_session(&self.pool, async |connection| {
            sqlx::query_as(
                "SELECT c.partition, c.content FROM migrate.checkpoint c WHERE c.job = $1 AND c.entity = $2 ORDER BY c.partition",
            )
            .bind(job)
            .bind(entity)
            .fetch_all(connection)
            .await
            .map_err(from_sqlx)
        })
        .await?;
        rows.into_iter()
            .map(|(part, content)| {
                let damaged = || corrupt("checkpoint").with("job", job).with("entity", entity);
                let checkpoint = serde_json::from_str(&content).map_err(|e| damaged().caused_by(e))?;
                Ok((u32::try_from(part).map_err(|_| damaged())?, checkpoint))
            })
            .collect()
    }

    async fn neighbours(&self, job: &str) -> Result<Vec<(Scope, Feeds)>> {
        let rows: Vec<(String, String, i64, String)> = fence::with_session(&self.pool, async |connection| {
            sqlx::query_as("SELECT c.job, c.entity, c.partition, c.content FROM migrate.checkpoint c WHERE c.job <> $1")
                .bind(job)
                .fetch_all(connection)
                .await
                .map_err(from_sqlx)
        })
        .await?;
        let mut found = Vec::with_capacity(rows.len());
        for (job, entity, part, content) in rows {
            let damaged = || corrupt("checkpoint").with("job", &job).with("entity", &entity);
            let checkpoint: Checkpoint = serde_json::from_str(&content).map_err(|e| damaged().caused_by(e))?;
            let partition = u32::try_from(part).map_err(|_| damaged())?;
            found.extend(checkpoint.feeds.map(|feeds| (Scope { job, entity, partition }, feeds)));
        }
        Ok(found)
    }

    async fn ledger_blocks(&self, scope: &Scope, after: Option<i64>, limit: usize) -> Result<Vec<StoredBlock>> {
        let rows = fence::with_session(&self.pool, async |connection| {
            sqlx::query(
                "SELECT l.ordinal, l.format, l.row_count, l.last_key, l.keys, l.checksums, l.keys_digest, l.rows_digest, l.position, \
                        l.execution, l.outcomes \
                 FROM migrate.ledger l WHERE l.job = $1 AND l.entity = $2 AND l.partition = $3 \
                   AND ($4::pg_catalog.int8 IS NULL OR l.ordinal > $4) ORDER BY l.ordinal LIMIT $5",
            )
            .bind(&scope.job)
            .bind(&scope.entity)
            .bind(i64::from(scope.partition))
            .bind(after)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(connection)
            .await
            .map_err(from_sqlx)
        })
        .await?;
        rows.iter().map(block).collect()
    }

    async fn ledger_heads(&self, scope: &Scope, after: Option<i64>, limit: usize) -> Result<Vec<BlockHead>> {
        let rows: Vec<(i64, i64, Vec<u8>, String, Option<Vec<u8>>)> = fence::with_session(&self.pool, async |connection| {
            if tables::version(connection).await?.is_none_or(|version| version < tables::WITH_DIGESTS) {
                return Err(Error::new(ErrorKind::NotFound, "the target's state tables keep no digests"));
            }
            sqlx::query_as(
                "SELECT l.ordinal, l.row_count, l.last_key, l.execution, l.source_digest \
                 FROM migrate.ledger l WHERE l.job = $1 AND l.entity = $2 AND l.partition = $3 \
                   AND ($4::pg_catalog.int8 IS NULL OR l.ordinal > $4) ORDER BY l.ordinal LIMIT $5",
            )
            .bind(&scope.job)
            .bind(&scope.entity)
            .bind(i64::from(scope.partition))
            .bind(after)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(connection)
            .await
            .map_err(from_sqlx)
        })
        .await?;
        rows.into_iter()
            .map(|(ordinal, row_count, last_key, execution, source_digest)| {
                let row_count = u32::try_from(row_count).map_err(|_| corrupt("ledger block"))?;
                Ok(BlockHead { ordinal, row_count, last_key, execution, source_digest })
            })
            .collect()
    }

    async fn quarantine(&self, job: &str, entity: Option<&str>, limit: usize) -> Result<Vec<QuarantinedRow>> {
        let rows = fence::with_session(&self.pool, async |connection| {
            sqlx::query(
                "SELECT q.entity, q.partition, q.execution, q.key, q.column_name, q.reason, q.row_values, q.columns \
                 FROM migrate.quarantine q WHERE q.job = $1 AND ($2::pg_catalog.text IS NULL OR q.entity = $2) \
                 ORDER BY q.id DESC LIMIT $3",
            )
            .bind(job)
            .bind(entity)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(connection)
            .await
            .map_err(from_sqlx)
        })
        .await?;
        rows.iter().map(|row| quarantined(job, row)).collect()
    }

    async fn quarantined_keys(&self, scope: &Scope, limit: usize) -> Result<Vec<Vec<u8>>> {
        let keys: Vec<(Vec<u8>,)> = fence::with_session(&self.pool, async |connection| {
            sqlx::query_as(
                "SELECT q.key FROM migrate.quarantine q WHERE q.job = $1 AND q.entity = $2 AND q.partition = $3 LIMIT $4",
            )
            .bind(&scope.job)
            .bind(&scope.entity)
            .bind(i64::from(scope.partition))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(connection)
            .await
            .map_err(from_sqlx)
        })
        .await?;
        Ok(keys.into_iter().map(|(key,)| key).collect())
    }

    async fn gone_rows(&self, scope: &Scope, before: Option<i64>, limit: usize) -> Result<Vec<(i64, GoneRow)>> {
        let rows: Vec<(i64, Vec<u8>, bool)> = fence::with_session(&self.pool, async |connection| {
            sqlx::query_as(
                "SELECT g.id, g.key, g.own FROM migrate.gone g WHERE g.job = $1 AND g.entity = $2 AND g.partition = $3 \
                   AND ($4::pg_catalog.int8 IS NULL OR g.id < $4) ORDER BY g.id DESC LIMIT $5",
            )
            .bind(&scope.job)
            .bind(&scope.entity)
            .bind(i64::from(scope.partition))
            .bind(before)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(connection)
            .await
            .map_err(from_sqlx)
        })
        .await
        .map_err(of_older)?;
        Ok(rows.into_iter().map(|(id, key, own)| (id, GoneRow { key, own })).collect())
    }

    async fn mapped(&self, job: &str, entity: &str, sources: &[Key]) -> Result<HashMap<Key, Key>> {
        let found = fence::with_session(&self.pool, async |c| key_map::by_source(c, job, entity, sources).await).await;
        found.map_err(of_older)
    }

    async fn mapped_back(&self, job: &str, entity: &str, targets: &[Key]) -> Result<HashMap<Key, Key>> {
        let found = fence::with_session(&self.pool, async |c| key_map::by_target(c, job, entity, targets).await).await;
        found.map_err(of_older)
    }

    async fn unfinished_tables(&self, job: &str) -> Result<Vec<UnfinishedTable>> {
        let rows: Vec<(String, String, String)> = fence::with_session(&self.pool, async |connection| {
            sqlx::query_as(
                "SELECT u.schema_name, u.table_name, u.plan FROM migrate.unfinished u WHERE u.job = $1 ORDER BY u.schema_name, u.table_name",
            )
            .bind(job)
            .fetch_all(connection)
            .await
            .map_err(from_sqlx)
        })
        .await?;
        rows.into_iter()
            .map(|(schema, table, plan)| {
                let name = TableName::new(Some(&schema), table);
                let plan: TablePlan =
                    serde_json::from_str(&plan).map_err(|e| corrupt("unfinished table").with("table", &name).caused_by(e))?;
                Ok(UnfinishedTable { name, plan })
            })
            .collect()
    }
}

fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the target's record of a {what} cannot be read"))
}

fn block(row: &PgRow) -> Result<StoredBlock> {
    let bytes = |i: usize| row.try_get::<Vec<u8>, _>(i).map_err(from_sqlx);
    let format: i32 = row.try_get(1).map_err(from_sqlx)?;
    let row_count: i64 = row.try_get(2).map_err(from_sqlx)?;
    Ok(StoredBlock {
        ordinal: row.try_get(0).map_err(from_sqlx)?,
        format: u16::try_from(format).map_err(|_| corrupt("ledger block"))?,
        row_count: u32::try_from(row_count).map_err(|_| corrupt("ledger block"))?,
        last_key: bytes(3)?,
        keys: bytes(4)?,
        checksums: bytes(5)?,
        keys_digest: bytes(6)?,
        rows_digest: bytes(7)?,
        position: row.try_get(8).map_err(from_sqlx)?,
        execution: row.try_get(9).map_err(from_sqlx)?,
        outcomes: bytes(10)?,
    })
}

fn quarantined(job: &str, row: &PgRow) -> Result<QuarantinedRow> {
    let partition: i64 = row.try_get(1).map_err(from_sqlx)?;
    let scope = Scope {
        job: job.to_owned(),
        entity: row.try_get(0).map_err(from_sqlx)?,
        partition: u32::try_from(partition).map_err(|_| corrupt("quarantined row"))?,
    };
    Ok(QuarantinedRow {
        execution: row.try_get(2).map_err(from_sqlx)?,
        scope,
        key: row.try_get(3).map_err(from_sqlx)?,
        column: row.try_get(4).map_err(from_sqlx)?,
        reason: row.try_get(5).map_err(from_sqlx)?,
        row: row.try_get(6).map_err(from_sqlx)?,
        columns: row.try_get(7).map_err(from_sqlx)?,
    })
}
