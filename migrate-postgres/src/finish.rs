//! Completing a plan after the last row. Every step looks first whether it is done already.

use crate::connection::execute;
use crate::ddl::{
    comments, exclusion_tail, foreign_key_sql, index_name, index_sql, key_constraint_sql, key_index_sql, key_name,
    reference_name, shorten, unvalidated_checks,
};
use crate::error::from_sqlx;
use crate::explain::{duplicates, orphans};
use crate::pool::Pool;
use crate::prepare::in_transaction;
use crate::sequences::advance;
use crate::sql::{quote_ident, quote_table};
use crate::state::forget_unfinished;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use migrate_core::schema::{ForeignKey, Index, TableName, TableSchema, UniqueKey};
use migrate_core::sink::SchemaPlan;
use migrate_core::state::Fence;
use migrate_core::{Error, ErrorKind, Result};
use sqlx::postgres::PgConnection;
use tokio::sync::mpsc::UnboundedSender;

/// Indexes that are built at once. More would outbid one another for the server's memory and disk.
const BUILDERS: usize = 2;

/// Memory for one build: sorting a large index in it saves passes over the disk, and two of them fit any server of use.
const BUILD_MEMORY: &str = "SET LOCAL maintenance_work_mem = '256MB'";

/// The server's code for a row without its parent.
const ORPHAN: &str = "23503";

/// Hears the name of each step before it starts.
#[derive(Debug, Clone)]
pub(crate) struct Progress(pub(crate) Option<UnboundedSender<String>>);

impl Progress {
    fn say(&self, step: String) {
        if let Some(sender) = &self.0 {
            // Nobody listens any more once the caller has gone.
            let _ = sender.send(step);
        }
    }
}

/// Builds keys only, so that rows can be found by them.
pub(crate) async fn build_keys(pool: &Pool, plan: &SchemaPlan, fence: &Fence) -> Result<()> {
    build_indexes(pool, plan, fence, false, &Progress(None)).await?;
    attach_keys(pool, plan, fence).await
}

/// Completes everything: keys, indexes, references, comments, sequences and statistics.
pub(crate) async fn finish(pool: &Pool, plan: &SchemaPlan, fence: &Fence, progress: &Progress) -> Result<()> {
    build_indexes(pool, plan, fence, true, progress).await?;
    attach_keys(pool, plan, fence).await?;
    for table in plan.tables.iter().filter(|t| t.create).map(|t| &t.table) {
        for reference in &table.foreign_keys {
            progress.say(format!("{}: reference {}", table.name, reference_name(&table.name, reference)));
            let left = add_reference(pool, table, reference, fence).await.map_err(|e| e.with("table", &table.name))?;
            left.into_iter().for_each(|message| progress.say(message));
        }
    }
    for table in &plan.tables {
        progress.say(format!("{}: sequences and statistics", table.table.name));
        let name = &table.table.name;
        let left = in_transaction(pool, fence, async |connection| {
            if table.create {
                let names = constraint_names(connection, name).await?;
                for (check, sql) in unvalidated_checks(&table.table) {
                    if !names.iter().any(|known| known == check) {
                        execute(connection, sql).await?;
                    }
                }
                for comment in comments(&table.table) {
                    execute(connection, comment).await?;
                }
            }
            // No rollback moves a sequence back; that of a new table goes with it.
            let left = if table.create || pool.lone().is_none() { advance(connection, table).await? } else { Vec::new() };
            if table.create {
                execute(connection, format!("ANALYZE {}", quote_table(name))).await?;
                forget_unfinished(connection, fence, name).await?;
            }
            Ok(left)
        })
        .await
        .map_err(|e| e.with("table", name))?;
        left.into_iter().for_each(|message| progress.say(message));
    }
    Ok(())
}

/// An index to be built.
enum Build<'a> {
    Key { table: &'a TableSchema, key: &'a UniqueKey, primary: bool },
    Index { table: &'a TableSchema, index: &'a Index },
}

fn keys(table: &TableSchema) -> impl Iterator<Item = (&UniqueKey, bool)> {
    table.primary_key.iter().map(|k| (k, true)).chain(table.unique_keys.iter().map(|k| (k, false)))
}

async fn build_indexes(pool: &Pool, plan: &SchemaPlan, fence: &Fence, all: bool, progress: &Progress) -> Result<()> {
    let created = || plan.tables.iter().filter(|t| t.create).map(|t| &t.table);
    let mut builds: Vec<Build<'_>> =
        created().flat_map(|table| keys(table).map(move |(key, primary)| Build::Key { table, key, primary })).collect();
    if all {
        builds.extend(created().flat_map(|table| table.indexes.iter().map(move |index| Build::Index { table, index })));
    }
    let mut running: Vec<BoxFuture<'_, Result<()>>> = Vec::with_capacity(builds.len());
    for build in builds {
        running.push(match build {
            Build::Key { table, key, primary } => Box::pin(build_key(pool, table, key, primary, fence, progress)),
            Build::Index { table, index } => Box::pin(build_index(pool, table, index, fence, progress)),
        });
    }
    futures::stream::iter(running).buffer_unordered(BUILDERS).try_collect::<()>().await
}

async fn build_key(
    pool: &Pool,
    table: &TableSchema,
    key: &UniqueKey,
    primary: bool,
    fence: &Fence,
    progress: &Progress,
) -> Result<()> {
    let base = key_name(&table.name, key, primary);
    let name = in_transaction(pool, fence, async |connection| {
        let done = key_constraint(connection, &table.name, key, primary).await?
            || key_index(connection, &table.name, key, &base).await?.is_some();
        if done { Ok(None) } else { free_name(connection, &table.name, &base).await.map(Some) }
    })
    .await?;
    let Some(name) = name else { return Ok(()) };
    progress.say(format!("{}: {} {name}", table.name, if primary { "primary key" } else { "unique key" }));
    let built = in_transaction(pool, fence, async |connection| {
        execute(connection, BUILD_MEMORY).await?;
        execute(connection, key_index_sql(&table.name, key, &name)).await.map(drop)
    })
    .await;
    match built {
        Err(error) if error.kind() == ErrorKind::Constraint && sqlstate(&error) == Some("23505") => {
            Err(in_transaction(pool, fence, async |connection| duplicates(connection, &table.name, &key.columns, &name).await)
                .await?)
        }
        other => other,
    }
}

async fn build_index(pool: &Pool, table: &TableSchema, index: &Index, fence: &Fence, progress: &Progress) -> Result<()> {
    let base = index_name(index);
    let name = in_transaction(pool, fence, async |connection| {
        let done = match exclusion_tail(&index.definition) {
            Some(_) => constraint_names(connection, &table.name).await?.iter().any(|name| is_variant(name, &base)),
            None => named_index(connection, &table.name, &base).await?,
        };
        if done { Ok(None) } else { free_name(connection, &table.name, &base).await.map(Some) }
    })
    .await?;
    let Some(name) = name else { return Ok(()) };
    progress.say(format!("{}: index {name}", table.name));
    let built = in_transaction(pool, fence, async |connection| {
        execute(connection, BUILD_MEMORY).await?;
        execute(connection, index_sql(&table.name, index, &name)).await.map(drop)
    })
    .await;
    match built {
        // What is too long for a btree stays findable without it; the data is whole. A unique index would be missed.
        Err(error) if sqlstate(&error) == Some("54000") && !index.unique => {
            tracing::warn!(table = %table.name, index = %name, "index is left out: a value is too long for it");
            progress.say(format!("{}: index {name} is left out: a value is too long for it", table.name));
            Ok(())
        }
        Err(error) if sqlstate(&error) == Some("23505") => {
            let columns: Option<Vec<String>> = index.parts.iter().map(|p| p.column.clone()).collect();
            match columns.filter(|_| index.predicate.is_none()) {
                Some(columns) => Err(in_transaction(pool, fence, async |connection| {
                    duplicates(connection, &table.name, &columns, &name).await
                })
                .await?),
                None => Err(error.with("index", name)),
            }
        }
        Err(error) => Err(error.with("index", name)),
        Ok(()) => Ok(()),
    }
}

/// Turns finished indexes into constraints: an instant each, under a lock that the builds would fight over.
async fn attach_keys(pool: &Pool, plan: &SchemaPlan, fence: &Fence) -> Result<()> {
    for table in plan.tables.iter().filter(|t| t.create).map(|t| &t.table) {
        for (key, primary) in keys(table) {
            let base = key_name(&table.name, key, primary);
            in_transaction(pool, fence, async |connection| {
                if key_constraint(connection, &table.name, key, primary).await? {
                    return Ok(());
                }
                let Some(name) = key_index(connection, &table.name, key, &base).await? else {
                    return Err(Error::new(ErrorKind::Internal, "a key's index is missing").with("key", &base));
                };
                execute(connection, key_constraint_sql(&table.name, key, &name, primary)).await.map(drop)
            })
            .await
            .map_err(|e| e.with("table", &table.name))?;
        }
    }
    Ok(())
}

/// Adds a reference and checks the rows that are there. Where the source never checked its own, rows without a parent are no error:
/// the reference then holds for new rows only, which the returned text says.
async fn add_reference(pool: &Pool, table: &TableSchema, reference: &ForeignKey, fence: &Fence) -> Result<Option<String>> {
    let base = reference_name(&table.name, reference);
    let added = in_transaction(pool, fence, async |connection| {
        let names = constraint_names(connection, &table.name).await?;
        if has_reference(connection, &table.name, reference).await? {
            return Ok(None);
        }
        let name = unlike(&base, &names);
        execute(connection, BUILD_MEMORY).await?;
        execute(connection, foreign_key_sql(&table.name, reference, &name)).await.map_err(|e| e.with("constraint", &name))?;
        if reference.validated { Ok(None) } else { validate(connection, table, reference, &name).await }
    })
    .await;
    match added {
        Err(error) if sqlstate(&error) == Some(ORPHAN) => {
            Err(in_transaction(pool, fence, async |connection| orphans(connection, table, reference, &base).await).await?)
        }
        other => other,
    }
}

async fn validate(
    connection: &mut PgConnection,
    table: &TableSchema,
    reference: &ForeignKey,
    name: &str,
) -> Result<Option<String>> {
    execute(connection, "SAVEPOINT added").await?;
    let sql = format!("ALTER TABLE {} VALIDATE CONSTRAINT {}", quote_table(&table.name), quote_ident(name));
    match execute(connection, sql).await {
        Ok(_) => Ok(None),
        Err(error) if sqlstate(&error) == Some(ORPHAN) => {
            execute(connection, "ROLLBACK TO SAVEPOINT added").await?;
            let why = orphans(connection, table, reference, name).await?;
            Ok(Some(format!("{}: reference {name} holds for new rows only: {}", table.name, why.message())))
        }
        Err(error) => Err(error.with("constraint", name)),
    }
}

/// The server's code for an error, where it has one.
fn sqlstate(error: &Error) -> Option<&str> {
    error.context().iter().find(|(name, _)| *name == "sqlstate").map(|(_, code)| code.as_str())
}

const RELATION: &str = "(SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                         WHERE n.nspname = $1 AND c.relname = $2)";

async fn key_constraint(connection: &mut PgConnection, table: &TableName, key: &UniqueKey, primary: bool) -> Result<bool> {
    let sql = format!(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = {RELATION} AND k.contype = $3::pg_catalog.\"char\" \
         AND (SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY x.place) \
              FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY AS x(attnum, place) \
              JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x.attnum) = $4)"
    );
    exists(connection, sql, table, if primary { "p" } else { "u" }, &key.columns).await
}

/// The index that was built for a key and is no constraint's yet.
async fn key_index(connection: &mut PgConnection, table: &TableName, key: &UniqueKey, base: &str) -> Result<Option<String>> {
    let sql = format!(
        "SELECT ic.relname::pg_catalog.text FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid \
         WHERE i.indrelid = {RELATION} AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL \
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = i.indexrelid) \
           AND (SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY x.place) \
                FROM pg_catalog.unnest(i.indkey) WITH ORDINALITY AS x(attnum, place) \
                JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = x.attnum) = $3 \
         ORDER BY ic.relname"
    );
    let names: Vec<(String,)> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(table.schema.as_deref().unwrap_or("public"))
        .bind(&table.name)
        .bind(&key.columns)
        .fetch_all(connection)
        .await
        .map_err(from_sqlx)?;
    Ok(names.into_iter().map(|(name,)| name).find(|name| is_variant(name, base)))
}

async fn named_index(connection: &mut PgConnection, table: &TableName, base: &str) -> Result<bool> {
    let sql = format!(
        "SELECT ic.relname::pg_catalog.text FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid \
         WHERE i.indrelid = {RELATION} AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = i.indexrelid)"
    );
    let names: Vec<(String,)> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(table.schema.as_deref().unwrap_or("public"))
        .bind(&table.name)
        .fetch_all(connection)
        .await
        .map_err(from_sqlx)?;
    Ok(names.iter().any(|(name,)| is_variant(name, base)))
}

async fn has_reference(connection: &mut PgConnection, table: &TableName, reference: &ForeignKey) -> Result<bool> {
    let sql = format!(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = {RELATION} AND k.contype = 'f' \
         AND k.confrelid = pg_catalog.to_regclass($3)::pg_catalog.oid \
         AND (SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY x.place) \
              FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY AS x(attnum, place) \
              JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x.attnum) = $4)"
    );
    exists(connection, sql, table, &quote_table(&reference.parent), &reference.columns).await
}

async fn exists(connection: &mut PgConnection, sql: String, table: &TableName, third: &str, columns: &[String]) -> Result<bool> {
    let (found,): (bool,) = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(table.schema.as_deref().unwrap_or("public"))
        .bind(&table.name)
        .bind(third)
        .bind(columns)
        .fetch_one(connection)
        .await
        .map_err(from_sqlx)?;
    Ok(found)
}

async fn constraint_names(connection: &mut PgConnection, table: &TableName) -> Result<Vec<String>> {
    let sql = format!("SELECT k.conname::pg_catalog.text FROM pg_catalog.pg_constraint k WHERE k.conrelid = {RELATION}");
    names_of(connection, sql, table).await
}

/// Returns the name, or the first of its variants that no relation of the schema has: indexes share their names with tables.
async fn free_name(connection: &mut PgConnection, table: &TableName, base: &str) -> Result<String> {
    let sql = "SELECT c.relname::pg_catalog.text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = $1 AND $2 IS NOT NULL";
    let taken = names_of(connection, sql.to_owned(), table).await?;
    Ok(unlike(base, &taken))
}

async fn names_of(connection: &mut PgConnection, sql: String, table: &TableName) -> Result<Vec<String>> {
    let names: Vec<(String,)> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(table.schema.as_deref().unwrap_or("public"))
        .bind(&table.name)
        .fetch_all(connection)
        .await
        .map_err(from_sqlx)?;
    Ok(names.into_iter().map(|(name,)| name).collect())
}

fn unlike(base: &str, taken: &[String]) -> String {
    let variants = (0u32..).map(|n| variant(base, n));
    // The names taken are finite, so one of the variants is free.
    variants.into_iter().find(|name| !taken.contains(name)).unwrap_or_default()
}

fn variant(base: &str, number: u32) -> String {
    if number == 0 { shorten(base) } else { shorten(&format!("{base}_{number}")) }
}

fn is_variant(name: &str, base: &str) -> bool {
    (0..100).any(|n| variant(base, n) == name)
}

/// Quotes the columns of a table's alias.
pub(crate) fn aliased(alias: &str, columns: &[String]) -> Vec<String> {
    columns.iter().map(|c| format!("{alias}.{}", quote_ident(c))).collect()
}
