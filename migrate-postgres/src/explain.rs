//! Says which rows stand in the way of a constraint: how many, and the keys of a few.

use crate::error::from_sqlx;
use crate::finish::aliased;
use crate::sql::quote_table;
use migrate_core::schema::{ForeignKey, TableName, TableSchema};
use migrate_core::{Error, ErrorKind, Result};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

/// Keys that are named.
const EXAMPLES: usize = 5;

/// Returns the error for a unique constraint that rows break.
pub(crate) async fn duplicates(
    connection: &mut PgConnection,
    table: &TableName,
    columns: &[String],
    constraint: &str,
) -> Result<Error> {
    let own = aliased("t", columns);
    let groups = format!(
        "SELECT {list}, pg_catalog.count(*) AS n FROM {} t GROUP BY {list} HAVING pg_catalog.count(*) > 1",
        quote_table(table),
        list = own.join(", ")
    );
    let places: Vec<String> = columns.iter().map(|c| format!("g.{}::pg_catalog.text", crate::sql::quote_ident(c))).collect();
    let sql = format!(
        "SELECT pg_catalog.format('%s', pg_catalog.concat_ws(', ', {})), (pg_catalog.sum(g.n) OVER ())::pg_catalog.int8 FROM ({groups}) g LIMIT {EXAMPLES}",
        places.join(", ")
    );
    let (count, examples) = counted(connection, sql).await?;
    Ok(refused(format!("{count} rows share their key with another"), constraint, columns, &examples))
}

/// Returns the error for a foreign key that rows break.
pub(crate) async fn orphans(
    connection: &mut PgConnection,
    table: &TableSchema,
    reference: &ForeignKey,
    constraint: &str,
) -> Result<Error> {
    let key = table.natural_key().unwrap_or_else(|| reference.columns.clone());
    let child = aliased("c", &reference.columns);
    let parent_columns = match reference.parent_columns.as_slice() {
        [] => primary_key(connection, &reference.parent).await?,
        columns => columns.to_vec(),
    };
    let set: Vec<String> = child.iter().map(|c| format!("{c} IS NOT NULL")).collect();
    let set = set.join(if reference.match_full { " OR " } else { " AND " });
    let same: Vec<String> = aliased("p", &parent_columns).iter().zip(&child).map(|(p, c)| format!("{p} = {c}")).collect();
    let places: Vec<String> = aliased("c", &key).iter().map(|c| format!("{c}::pg_catalog.text")).collect();
    let sql = format!(
        "SELECT pg_catalog.concat_ws(', ', {}), pg_catalog.count(*) OVER () FROM {} c WHERE ({set}) \
         AND NOT EXISTS (SELECT FROM {} p WHERE {}) LIMIT {EXAMPLES}",
        places.join(", "),
        quote_table(&table.name),
        quote_table(&reference.parent),
        same.join(" AND ")
    );
    let (count, examples) = counted(connection, sql).await?;
    let error = refused(format!("{count} rows refer to a parent that does not exist"), constraint, &key, &examples);
    Ok(error.with("parent", &reference.parent))
}

async fn primary_key(connection: &mut PgConnection, table: &TableName) -> Result<Vec<String>> {
    let names: Vec<(String,)> = sqlx::query_as(
        "SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_constraint k \
         JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace, \
         LATERAL pg_catalog.unnest(k.conkey) WITH ORDINALITY AS x(attnum, place) \
         JOIN pg_catalog.pg_attribute a ON a.attnum = x.attnum \
         WHERE k.contype = 'p' AND a.attrelid = c.oid AND n.nspname = $1 AND c.relname = $2 ORDER BY x.place",
    )
    .bind(table.schema.as_deref().unwrap_or("public"))
    .bind(&table.name)
    .fetch_all(connection)
    .await
    .map_err(from_sqlx)?;
    Ok(names.into_iter().map(|(name,)| name).collect())
}

async fn counted(connection: &mut PgConnection, sql: String) -> Result<(i64, Vec<String>)> {
    let rows: Vec<(Option<String>, i64)> =
        sqlx::query_as(AssertSqlSafe(sql)).persistent(false).fetch_all(connection).await.map_err(from_sqlx)?;
    let count = rows.first().map_or(0, |(_, count)| *count);
    Ok((count, rows.into_iter().map(|(key, _)| key.unwrap_or_default()).collect()))
}

fn refused(message: String, constraint: &str, key: &[String], examples: &[String]) -> Error {
    let examples: Vec<String> = examples.iter().map(|e| format!("({})", clipped(e))).collect();
    Error::new(ErrorKind::Constraint, message)
        .with("constraint", constraint)
        .with("key", format!("({})", key.join(", ")))
        .with("examples", examples.join(" "))
}

fn clipped(key: &str) -> String {
    match key.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &key[..at]),
        None => key.to_owned(),
    }
}
