//! Rows that the transaction at hand has loaded into a table, read back without a key: its indexes may still be missing.

use crate::copy_out::{Packing, hand_over};
use crate::error::from_sqlx;
use crate::facts::Facts;
use crate::select::{columns_of, page_columns, select_list};
use migrate_core::Result;
use migrate_core::sink::OnPage;
use migrate_core::source::PageRequest;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

/// The transaction at hand, as each row has it; it has written already, so that it has a number.
pub(crate) const OWN: &str = "SELECT pg_catalog.pg_current_xact_id()::pg_catalog.xid::pg_catalog.text";

/// Hands over the rows of a table that this transaction has written; `own` asks for its number. Each row of a heap says which transaction that was; `blocks` is how
/// many blocks the table had before, and `rows` how many were loaded.
///
/// Loaded rows are mostly appended, so the table's end is read first; where some have found room before it, so is the rest.
pub(crate) async fn read_loaded(
    connection: &mut PgConnection,
    (facts, own): (&Facts, &str),
    (blocks, rows): (i64, u64),
    request: &PageRequest<'_>,
    take: &mut OnPage<'_>,
) -> Result<()> {
    let columns = columns_of(request.table, request.columns)?;
    let packing =
        || Packing { columns: page_columns(&columns), key: Vec::new(), max_rows: request.max_rows, max_bytes: request.max_bytes };
    // A constant, so that the plan may rest on it.
    let query = sqlx::query_as(AssertSqlSafe(own)).persistent(false);
    let (own,): (String,) = query.fetch_one(&mut *connection).await.map_err(from_sqlx)?;
    let list = select_list(&columns);
    let sql = |place: &str| {
        format!(
            "COPY (SELECT {list} FROM {}{} t WHERE t.xmin = '{own}'::pg_catalog.xid{place}) TO STDOUT (FORMAT BINARY)",
            facts.only, facts.qualified
        )
    };
    // The last block that was there may have had room.
    let start = (blocks - 1).max(0);
    let found = hand_over(connection, &sql(&format!(" AND t.ctid >= '({start},0)'::pg_catalog.tid")), packing(), take).await?;
    if start > 0 && found < rows {
        hand_over(connection, &sql(&format!(" AND t.ctid < '({start},0)'::pg_catalog.tid")), packing(), take).await?;
    }
    Ok(())
}
