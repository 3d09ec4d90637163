//! Digests of ranges, computed inside the server: nothing but a line for each range travels.
//!
//! ```text
//! digest = 1: u8, then the decimal digits of the sum, over the rows of the range, of
//!   hash_record_extended(ROW(column, …), seed)     seed = the key, where it is an integer, else the 64-bit hash of the key
//! ```
//!
//! What is hashed is what would be sent. A server's hash takes values for equal that are not spelled alike (1.0 and 1.00, 0 and -0, 1 month
//! and 30 days, what differs in blanks at the end), knows labels by numbers, and folds integers of 64 bits, and moments, to 32: of all these
//! the bytes are hashed that their types send. A row's hash is a weighted sum of its columns' hashes, and the digest one of the rows': with
//! one seed for all rows, values that change places between two of them would leave it as it was.

use crate::copy_out::of_reading;
use crate::select::{Selected, columns_of, from_item, key_literals, select_expression};
use crate::sql::{compare_row, quote_ident};
use crate::view::View;
use migrate_core::Result;
use migrate_core::schema::{ColumnSchema, TableKind};
use migrate_core::source::{PageRequest, RangeDigest};
use migrate_core::value::{DataType, Key};
use sqlx::{AssertSqlSafe, Row};

/// The version of the formula above.
const FORMULA: u8 = 1;
/// Ranges of one statement.
const RANGES: usize = 128;

/// Counts and digests the rows of ranges that end at these keys; `None` where the table has no index to find them by.
pub(crate) async fn compute(view: &View, request: &PageRequest<'_>, ends: &[Key]) -> Result<Option<Vec<RangeDigest>>> {
    let indexed = match request.table.kind {
        TableKind::Table | TableKind::Partitioned | TableKind::Partition | TableKind::MaterializedView => {
            request.table.is_unique(request.key)
        }
        TableKind::View | TableKind::Foreign | TableKind::Virtual => false,
    };
    if !indexed || request.key.is_empty() {
        return Ok(None);
    }
    let mut found = Vec::with_capacity(ends.len());
    for (at, some) in ends.chunks(2 * RANGES).enumerate() {
        let before = at.checked_sub(1).and_then(|at| ends.get((at + 1) * 2 * RANGES - 1)).or(request.range.after.as_ref());
        // Two sessions share the work, as two processes of the server do.
        let (first, second) = some.split_at(some.len().div_ceil(2));
        let (first, second) =
            tokio::try_join!(of_ranges(view, request, before, first), of_ranges(view, request, first.last(), second))?;
        found.extend(first.into_iter().chain(second));
    }
    Ok(Some(found))
}

async fn of_ranges(view: &View, request: &PageRequest<'_>, after: Option<&Key>, ends: &[Key]) -> Result<Vec<RangeDigest>> {
    if ends.is_empty() {
        return Ok(Vec::new());
    }
    let (columns, key) = (columns_of(request.table, request.columns)?, columns_of(request.table, request.key)?);
    let from = from_item(request.table);
    let mut session = view.session(request.table, request.filter, &key).await?;
    let condition = session.render_filter(&from, request.filter).await?;
    let columns = session.selected(request.table, &columns).await?;
    let names: Vec<String> = key.iter().map(|c| quote_ident(&c.name)).collect();
    // No sane table or column has such a name; an odd one makes this an error, not a wrong digest.
    let bound = |side: &str| (0..key.len()).map(|n| format!("\"migrate: bounds\".\"migrate: {side}{n}\"")).collect::<Vec<_>>();
    let inside = |after: &[String], up_to: &[String]| {
        let mut all = Vec::new();
        if !after.is_empty() {
            all.push(compare_row(&names, ">", after));
        }
        all.push(compare_row(&names, "<=", up_to));
        // The line break ends a comment that the filter may end with.
        all.extend(condition.0.as_ref().map(|filter| format!("({filter}\n)")));
        let sum = format!("pg_catalog.sum({})", row_hash(&columns, &key));
        format!("SELECT pg_catalog.count(*) AS c, {sum}::pg_catalog.text AS s FROM {from} WHERE {}", all.join(" AND "))
    };
    let mut queries = Vec::new();
    let mut rows = Vec::with_capacity(ends.len());
    let mut before = after.map(|key_| key_literals(key_, &key, request.table)).transpose()?;
    for (number, end) in ends.iter().enumerate() {
        let end = key_literals(end, &key, request.table)?;
        match before {
            Some(before) => rows.push(format!("({number}, {}, {})", before.join(", "), end.join(", "))),
            None => queries.push(format!("SELECT {number} AS n, x.c, x.s FROM ({}) x", inside(&[], &end))),
        }
        before = Some(end);
    }
    if !rows.is_empty() {
        let sides: Vec<String> =
            ["after", "end"].iter().flat_map(|side| (0..key.len()).map(move |n| format!("\"migrate: {side}{n}\""))).collect();
        queries.push(format!(
            "SELECT \"migrate: bounds\".n, x.c, x.s FROM (VALUES {}) AS \"migrate: bounds\" (n, {}) CROSS JOIN LATERAL ({}) x",
            rows.join(", "),
            sides.join(", "),
            inside(&bound("after"), &bound("end"))
        ));
    }
    // The server knows neither how small the ranges are nor that each is asked for once: without this it may read all for each.
    let sql = format!("SET enable_seqscan = off; {} ORDER BY 1; RESET enable_seqscan", queries.join(" UNION ALL "));
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut session.connection).await.map_err(of_reading)?;
    view.give_back(session);
    rows.iter()
        .map(|row| {
            let count: i64 = row.try_get(1).map_err(of_reading)?;
            let sum: Option<String> = row.try_get(2).map_err(of_reading)?;
            let digest = [&[FORMULA][..], sum.unwrap_or_default().as_bytes()].concat();
            Ok(RangeDigest { rows: count.unsigned_abs(), digest })
        })
        .collect()
}

/// Renders the hash of a row.
fn row_hash(columns: &[Selected<'_>], key: &[&ColumnSchema]) -> String {
    let hashed = |columns: &[Selected<'_>]| columns.iter().map(hashed_expression).collect::<Vec<_>>().join(", ");
    let seed = match key {
        [column] if matches!(column.data_type, DataType::Int16 | DataType::Int32 | DataType::Int64) => {
            format!("{}::pg_catalog.int8", quote_ident(&column.name))
        }
        key => {
            let key: Vec<Selected<'_>> = key.iter().map(|column| Selected::own(column)).collect();
            format!("pg_catalog.hash_record_extended(ROW({}), 0)", hashed(&key))
        }
    };
    format!("pg_catalog.hash_record_extended(ROW({}), {seed})", hashed(columns))
}

/// Renders what is hashed of a column: the value itself only where the server takes none for equal that are not the same to the letter, and
/// loses no bit of it.
fn hashed_expression(selected: &Selected<'_>) -> String {
    let Selected { column, sql: name } = selected;
    let sent = |function: &str| format!("pg_catalog.{function}({name})");
    match &column.data_type {
        DataType::Bool | DataType::Int16 | DataType::Int32 | DataType::Bytes | DataType::Date | DataType::Uuid => name.clone(),
        // A collation may take different texts for equal.
        DataType::Text { .. } if is_plain_text(&column.native_type) => format!("({name} COLLATE pg_catalog.\"C\")"),
        DataType::Int64 => sent("int8send"),
        DataType::Float32 => sent("float4send"),
        DataType::Float64 => sent("float8send"),
        DataType::Decimal { .. } => sent("numeric_send"),
        DataType::Time { .. } => sent("time_send"),
        DataType::TimeTz { .. } => sent("timetz_send"),
        DataType::Timestamp { .. } => sent("timestamp_send"),
        DataType::TimestampTz { .. } => sent("timestamptz_send"),
        DataType::Interval => sent("interval_send"),
        DataType::Json => sent("json_send"),
        DataType::Jsonb => sent("jsonb_send"),
        DataType::Enum { .. } => sent("enum_send"),
        // Whatever it is, its type knows how to send it.
        DataType::Text { .. } | DataType::Char { .. } | DataType::Other { .. } | DataType::Dynamic { .. } => {
            format!("pg_catalog.record_send(ROW({}))", select_expression(selected))
        }
        _ => format!("pg_catalog.record_send(ROW({}))", select_expression(selected)),
    }
}

/// Whether a type holds text whose hash is that of its bytes; others, such as `bpchar` and domains over it, may not.
fn is_plain_text(native_type: &str) -> bool {
    native_type == "text"
        || native_type == "name"
        || native_type.starts_with("character varying")
        || native_type.starts_with("varchar")
}
