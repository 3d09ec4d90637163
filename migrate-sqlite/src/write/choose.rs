//! Rows that are chosen by what they hold, and deleted by their numbers.

use super::Target;
use crate::codec;
use crate::error::SqliteContext;
use crate::sql;
use migrate_core::value::{Page, PageBuilder, PageColumn};
use migrate_core::{Error, Result};
use rusqlite::Connection;
use std::sync::Arc;

/// Reads the rows behind a number, in the order of their numbers, until they weigh so much; empty where there are no more.
pub(crate) fn read_numbered(
    connection: &Connection,
    target: &Target,
    rowid: &str,
    columns: Arc<[PageColumn]>,
    after: Option<i64>,
    (max_rows, max_bytes): (usize, usize),
) -> Result<(Page, Vec<i64>)> {
    let doing = "reading rows by their numbers";
    let context = |e: Error| e.with("table", &target.name);
    let list: String = columns.iter().map(|c| format!(", {}", sql::column(&target.name, &c.name))).collect();
    let table = sql::table(&target.name);
    // The first page begins behind no number: any may be that of a row.
    let behind = if after.is_some() { format!(" WHERE {rowid} > ?1") } else { String::new() };
    let query = format!("SELECT {rowid}{list} FROM {table}{behind} ORDER BY {rowid}");
    let mut statement = connection.prepare(&query).during(doing).map_err(context)?;
    let mut rows = statement.query(rusqlite::params_from_iter(after)).during(doing).map_err(context)?;
    let width = columns.len();
    let (mut page, mut numbers) = (PageBuilder::new(columns, codec::ENCODING), Vec::new());
    while numbers.is_empty() || (numbers.len() < max_rows && page.bytes() < max_bytes) {
        let Some(row) = rows.next().during(doing).map_err(context)? else { break };
        numbers.push(row.get(0).during(doing)?);
        page.begin_row();
        for i in 0..width {
            codec::push(&mut page, row.get_ref(i + 1).during(doing)?)?;
        }
        page.end_row();
    }
    Ok((page.finish(None), numbers))
}

/// Deletes the rows of these numbers, and returns how many there were.
pub(crate) fn delete_numbered(connection: &Connection, target: &Target, rowid: &str, numbers: &[i64]) -> Result<u64> {
    let doing = "deleting rows";
    let context = |e: Error| e.with("table", &target.name);
    let delete = format!("DELETE FROM {} WHERE {rowid} = ?1", sql::table(&target.name));
    let mut statement = connection.prepare(&delete).during(doing).map_err(context)?;
    let mut count = 0;
    for number in numbers {
        count += statement.execute([number]).during(doing).map_err(context)? as u64;
    }
    Ok(count)
}
