//! Rows of a target's table by their keys: reading and deleting them inside the transaction that writes.

use crate::codec::ENCODING;
use crate::copy_out::collect;
use crate::error::from_sqlx;
use crate::facts::Facts;
use crate::select::{columns_of, key_literals, page_columns, select_list};
use migrate_core::schema::TableSchema;
use migrate_core::sink::DeleteRequest;
use migrate_core::source::PageRequest;
use migrate_core::value::conform::conform;
use migrate_core::value::{Key, Page, PageBuilder, text};
use migrate_core::{Error, ErrorKind, Result};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use std::collections::HashSet;
use std::sync::Arc;

/// Keys that one statement names at most.
const KEYS_PER_READ: usize = 1_000;
/// Bytes of keys that are looked for by one statement, and what each one comes to beside its own.
const KEYS_BYTES: usize = 1 << 20;
const KEY_BYTES: usize = 64;

/// Reads the rows of these keys and locks them until the transaction ends, where it does not hold them already.
///
/// An error inside the COPY leaves answers behind: the connection is then not to be used again.
pub(crate) async fn read(connection: &mut PgConnection, facts: &Facts, request: &PageRequest<'_>, keys: &[Key]) -> Result<Page> {
    let columns = columns_of(request.table, request.columns)?;
    let key = columns_of(request.table, request.key)?;
    if key.is_empty() {
        return Err(Error::new(ErrorKind::Unsupported, "rows of a table without a key cannot be asked for by key"));
    }
    let mut conditions = Vec::with_capacity(key.len());
    for (i, name) in request.key.iter().enumerate() {
        conditions.push(facts.equals(name, &format!("s.k{i}"))?);
        if request.to_the_letter {
            conditions.extend(facts.spelled_alike(name, &format!("s.k{i}"))?);
        }
    }
    let names = (0..key.len()).map(|i| format!("k{i}")).collect::<Vec<_>>().join(", ");
    let mut builder = PageBuilder::new(page_columns(&columns), ENCODING);
    for some in keys.chunks(KEYS_PER_READ) {
        let mut rows = Vec::with_capacity(some.len());
        for one in some {
            rows.push(format!("({})", key_literals(one, &key, request.table)?.join(", ")));
        }
        let from = format!(
            "FROM {}{} t WHERE EXISTS (SELECT FROM (VALUES {}) AS s({names}) WHERE {})",
            facts.only_by_key,
            facts.qualified,
            rows.join(", "),
            conditions.join(" AND ")
        );
        if !request.written {
            // A COPY takes no locks; and what it reads after this is what was locked.
            let lock = format!("SELECT pg_catalog.count(*) FROM (SELECT {from} FOR NO KEY UPDATE OF t) l");
            sqlx::query(AssertSqlSafe(lock)).persistent(false).execute(&mut *connection).await.map_err(from_sqlx)?;
        }
        let sql = format!("COPY (SELECT {} {from}) TO STDOUT (FORMAT BINARY)", select_list(&columns));
        collect(connection, &sql, &mut builder, columns.len()).await?;
    }
    Ok(builder.finish(None))
}

/// Deletes the rows of these keys, to the letter, and returns the number that the server reports.
pub(crate) async fn delete(
    connection: &mut PgConnection,
    table: &TableSchema,
    facts: &Facts,
    key: &[String],
    keys: &[Key],
) -> Result<u64> {
    let (cells, _) = cells(table, key, keys)?;
    if cells.first().is_none_or(Vec::is_empty) {
        return Ok(0);
    }
    let (given, mut conditions) = given(facts, key, 0)?;
    for (i, name) in key.iter().enumerate() {
        conditions.extend(facts.spelled_alike(name, &format!("s.c{i}"))?);
    }
    let conditions = conditions.join(" AND ");
    let sql = format!("DELETE FROM {}{} t USING {given} s WHERE {conditions}", facts.only_by_key, facts.qualified);
    let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
    for column in cells {
        query = query.bind(column);
    }
    Ok(query.execute(connection).await.map_err(from_sqlx)?.rows_affected())
}

/// Deletes rows of several tables by one statement, at the end of which references are checked, and returns how many of each.
pub(crate) async fn delete_at_once(
    connection: &mut PgConnection,
    requests: &[DeleteRequest<'_>],
    facts: &[Arc<Facts>],
) -> Result<Vec<u64>> {
    let (mut deletes, mut counts, mut bound) = (Vec::new(), Vec::new(), Vec::new());
    for (place, (request, facts)) in requests.iter().zip(facts).enumerate() {
        let (cells, _) = cells(request.table, request.key, &request.keys)?;
        let (given, mut conditions) = given(facts, request.key, bound.len())?;
        for (i, name) in request.key.iter().enumerate() {
            conditions.extend(facts.spelled_alike(name, &format!("s.c{i}"))?);
        }
        let (table, conditions) = (format!("{}{}", facts.only_by_key, facts.qualified), conditions.join(" AND "));
        deletes.push(format!("d{place} AS (DELETE FROM {table} t USING {given} s WHERE {conditions} RETURNING 1)"));
        counts.push(format!("SELECT {place}::pg_catalog.int4, pg_catalog.count(*) FROM d{place}"));
        bound.extend(cells);
    }
    let sql = format!("WITH {} {} ORDER BY 1", deletes.join(", "), counts.join(" UNION ALL "));
    let mut query = sqlx::query_as::<_, (i32, i64)>(AssertSqlSafe(sql)).persistent(false);
    for column in bound {
        query = query.bind(column);
    }
    let counts = query.fetch_all(connection).await.map_err(from_sqlx)?;
    Ok(counts.into_iter().map(|(_, count)| count.unsigned_abs()).collect())
}

/// Returns which of these keys some row has.
pub(crate) async fn existing(
    connection: &mut PgConnection,
    table: &TableSchema,
    facts: &Facts,
    key: &[String],
    keys: &[Key],
) -> Result<HashSet<Key>> {
    let mut found = HashSet::new();
    let mut bytes = 0;
    // No row is handed over, so that only the keys themselves count.
    let together = |one: &Key, _: &Key| {
        bytes += one.as_bytes().len() + KEY_BYTES;
        bytes < KEYS_BYTES || std::mem::take(&mut bytes) == 0
    };
    for some in keys.chunk_by(together) {
        let (cells, places) = cells(table, key, some)?;
        let (given, conditions) = given(facts, key, 0)?;
        let there = format!("SELECT FROM {}{} t WHERE {}", facts.only_by_key, facts.qualified, conditions.join(" AND "));
        let sql = format!("SELECT s.o FROM {given} s WHERE EXISTS ({there})");
        let mut query = sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql)).persistent(false);
        for column in cells {
            query = query.bind(column);
        }
        for ordinal in query.fetch_all(&mut *connection).await.map_err(from_sqlx)? {
            let place = usize::try_from(ordinal - 1).ok().and_then(|at| places.get(at));
            found.extend(place.and_then(|place| some.get(*place)).cloned());
        }
    }
    Ok(found)
}

/// Returns a table of the keys that are bound, behind so many other parameters, as arrays of texts, one for each column, with each one's
/// number as `o`; and the conditions that such a key, `s`, is that of a row, `t`.
fn given(facts: &Facts, key: &[String], bound: usize) -> Result<(String, Vec<String>)> {
    let (mut columns, mut conditions) = (Vec::new(), Vec::new());
    for (i, name) in key.iter().enumerate() {
        columns.push(format!("u.c{i}::{} AS c{i}", facts.column(name)?.type_sql));
        conditions.push(facts.equals(name, &format!("s.c{i}"))?);
    }
    let arrays = (bound + 1..=bound + key.len()).map(|i| format!("pg_catalog.unnest(${i}::pg_catalog.text[])"));
    let arrays = arrays.collect::<Vec<_>>().join(", ");
    let names = (0..key.len()).map(|i| format!("c{i}")).collect::<Vec<_>>().join(", ");
    let columns = columns.join(", ");
    Ok((format!("(SELECT u.o, {columns} FROM ROWS FROM ({arrays}) WITH ORDINALITY AS u({names}, o))"), conditions))
}

/// Values as text, column by column.
type TextColumns = Vec<Vec<Option<String>>>;

/// Returns the keys' values as text, column by column, and each one's place among the keys. A key that the table cannot hold is no
/// row's and is left out.
fn cells(table: &TableSchema, key: &[String], keys: &[Key]) -> Result<(TextColumns, Vec<usize>)> {
    let mut places = Vec::with_capacity(keys.len());
    let mut cells: TextColumns = vec![Vec::with_capacity(keys.len()); key.len()];
    for (place, one) in keys.iter().enumerate() {
        let values = one.values()?;
        if values.len() != key.len() {
            return Err(Error::new(ErrorKind::Internal, "a key has another number of columns").with("table", &table.name));
        }
        let mut row = Vec::with_capacity(key.len());
        for (name, value) in key.iter().zip(values) {
            let column = table.column(name).ok_or_else(|| {
                Error::new(ErrorKind::Schema, "the target has no such column").with("table", &table.name).with("column", name)
            })?;
            let Ok(value) = conform(value, &column.data_type) else { break };
            row.push((!value.is_null()).then(|| text::to_text(&value).into_owned()));
        }
        if row.len() == key.len() {
            places.push(place);
            for (cells, cell) in cells.iter_mut().zip(row) {
                cells.push(cell);
            }
        }
    }
    Ok((cells, places))
}
