//! Rows that are chosen by what they hold, and deleted by their places in the table.

use crate::connection::execute;
use crate::copy_out::{Packing, hand_over};
use crate::error::from_sqlx;
use crate::facts::Facts;
use crate::select::{columns_of, page_columns, select_list};
use migrate_core::sink::Choose;
use migrate_core::source::PageRequest;
use migrate_core::value::{DataType, Page, PageBuilder, PageColumn, Value};
use migrate_core::{Error, ErrorKind, Result};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Places that one statement names at most; where it names many, the server may rather look through the whole table for each statement.
const PLACES_PER_DELETE: usize = 50_000;

/// The places of chosen rows, by the partition that holds them: its block above the place in that. As text they would weigh six times as
/// much.
type Places = BTreeMap<i64, Vec<u64>>;

/// Hands over all rows of a table, deletes those that are chosen, and returns the number that the server reports.
///
/// An error inside the COPY leaves answers behind: the connection is then not to be used again.
pub(crate) async fn delete_chosen(
    connection: &mut PgConnection,
    facts: &Facts,
    request: &PageRequest<'_>,
    choose: &mut Choose<'_>,
) -> Result<u64> {
    let from = format!("{}{}", facts.only, facts.qualified);
    // What was read must still be in its place when it is deleted, and nothing else.
    execute(connection, format!("LOCK TABLE {from} IN SHARE ROW EXCLUSIVE MODE")).await?;
    let columns = columns_of(request.table, request.columns)?;
    let shown = page_columns(&columns);
    let address = |name: &str, data_type| PageColumn { name: name.to_owned(), data_type };
    let read = shown.iter().cloned().chain([address("partition", DataType::Int64), address("place", DataType::TEXT)]);
    let packing = Packing { columns: read.collect(), key: Vec::new(), max_rows: request.max_rows, max_bytes: request.max_bytes };
    let mut list = select_list(&columns);
    if !list.is_empty() {
        list.push_str(", ");
    }
    let sql = format!(
        "COPY (SELECT {list}t.tableoid::pg_catalog.int8, t.ctid::pg_catalog.text FROM {from} t) TO STDOUT (FORMAT BINARY)"
    );
    let mut places = Places::new();
    let mut take = |page: Page| -> Result<()> {
        for place in choose(&without_places(&page, &shown)?)? {
            let row = page.row(place as usize);
            let (partition, place) = (row.value(shown.len())?, row.value(shown.len() + 1)?);
            let (Value::Int(partition), Some(place)) = (partition, packed(&place)) else {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "rows of the table, or of a partition, have no place of their own",
                ));
            };
            places.entry(partition).or_default().push(place);
        }
        Ok(())
    };
    hand_over(connection, &sql, packing, &mut take).await?;
    let sql = format!(
        "DELETE FROM {from} t WHERE t.tableoid::pg_catalog.int8 = $1 AND t.ctid = ANY ($2::pg_catalog.text[]::pg_catalog.tid[])"
    );
    let mut deleted = 0;
    for (partition, places) in &places {
        for some in places.chunks(PLACES_PER_DELETE) {
            let some: Vec<String> = some.iter().map(|place| format!("({},{})", place >> 16, place & 0xffff)).collect();
            let query = sqlx::query(AssertSqlSafe(sql.clone())).persistent(false).bind(partition).bind(some);
            deleted += query.execute(&mut *connection).await.map_err(from_sqlx)?.rows_affected();
        }
    }
    Ok(deleted)
}

/// Packs a place such as `(12,3)`.
fn packed(place: &Value<'_>) -> Option<u64> {
    let Value::Text(text) = place else { return None };
    let (block, row) = text.strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
    let (block, row): (u32, u16) = (block.parse().ok()?, row.parse().ok()?);
    Some(u64::from(block) << 16 | u64::from(row))
}

/// The same rows without the two cells that say where they are.
fn without_places(page: &Page, columns: &Arc<[PageColumn]>) -> Result<Page> {
    let count = u16::try_from(columns.len()).map_err(|_| Error::new(ErrorKind::Internal, "a row has too many columns"))?;
    let mut builder = PageBuilder::new(columns.clone(), page.encoding()).with_capacity(page.data().len());
    let mut bytes = Vec::new();
    for row in page.rows() {
        let end = 2 + row.cells().take(columns.len()).map(|cell| 4 + cell.map_or(0, <[u8]>::len)).sum::<usize>();
        bytes.clear();
        bytes.extend_from_slice(&count.to_be_bytes());
        bytes.extend_from_slice(&row.data()[2..end]);
        builder.push_row(&bytes);
    }
    Ok(builder.finish(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_packed_and_what_is_none_is_told() {
        assert_eq!(packed(&Value::Text("(0,1)".into())), Some(1));
        assert_eq!(packed(&Value::Text("(4294967294,65535)".into())), Some(4_294_967_294 << 16 | 65_535));
        for none in [Value::Null, Value::Text("(1,2".into()), Value::Text("(1,70000)".into()), Value::Int(1)] {
            assert_eq!(packed(&none), None);
        }
    }
}
