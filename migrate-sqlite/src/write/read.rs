//! Reading rows by their keys, inside the transaction that writes.

use super::Target;
use crate::codec;
use crate::error::SqliteContext;
use crate::sql;
use migrate_core::value::{Key, Page, PageBuilder, PageColumn};
use migrate_core::{Error, ErrorKind, Result};
use rusqlite::Connection;
use std::collections::HashSet;
use std::sync::Arc;

/// Reads the rows that have these keys, as the table's own index compares them or spelled to the letter.
pub(crate) fn read(
    connection: &Connection,
    target: &Target,
    columns: Arc<[PageColumn]>,
    keys: &[Key],
    to_the_letter: bool,
) -> Result<Page> {
    let context = |e: Error| e.with("table", &target.name);
    if target.key.is_empty() {
        return Err(context(Error::new(ErrorKind::Unsupported, "rows of a table without a key cannot be asked for by key")));
    }
    let doing = "reading rows by their keys";
    let list: Vec<String> = columns.iter().map(|c| sql::column(&target.name, &c.name)).collect();
    let mut query = format!("SELECT {} FROM {} WHERE {}", list.join(", "), sql::table(&target.name), target.key_condition(1..));
    if to_the_letter {
        query.push_str(&format!(" AND {}", target.key_spelling(1..)));
    }
    let mut statement = connection.prepare(&query).during(doing).map_err(context)?;
    let width = columns.len();
    let mut page = PageBuilder::new(columns, codec::ENCODING);
    for key in keys {
        let values = target.key_values(key)?;
        let mut rows =
            statement.query(rusqlite::params_from_iter(values.iter().map(codec::bind))).during(doing).map_err(context)?;
        while let Some(row) = rows.next().during(doing).map_err(context)? {
            page.begin_row();
            for i in 0..width {
                codec::push(&mut page, row.get_ref(i).during(doing)?)?;
            }
            page.end_row();
        }
    }
    Ok(page.finish(None))
}

/// Returns the highest row number that a table has, or has ever had where it never gives one twice; 0 if there is none.
pub(crate) fn highest_number(connection: &Connection, target: &Target, autoincrement: bool) -> Result<i64> {
    let doing = "looking for the highest row number";
    let of_rows = format!("SELECT max(rowid) FROM {}", sql::table(&target.name));
    let of_rows: Option<i64> = connection.query_row(&of_rows, [], |row| row.get(0)).during(doing)?;
    let given: Option<i64> = if autoincrement {
        let query = "SELECT max(seq) FROM main.sqlite_sequence WHERE name = ?1 COLLATE NOCASE";
        connection.query_row(query, [&target.name], |row| row.get(0)).during(doing)?
    } else {
        None
    };
    Ok(of_rows.into_iter().chain(given).max().unwrap_or(0).max(0))
}

/// Returns which of these keys some row has.
pub(crate) fn existing(connection: &Connection, target: &Target, keys: Vec<Key>) -> Result<HashSet<Key>> {
    let context = |e: Error| e.with("table", &target.name);
    let doing = "looking for rows by their keys";
    let query = format!("SELECT EXISTS (SELECT 1 FROM {} WHERE {})", sql::table(&target.name), target.key_condition(1..));
    let mut statement = connection.prepare(&query).during(doing).map_err(context)?;
    let mut found = HashSet::new();
    for key in keys {
        let values = target.key_values(&key)?;
        let bound = rusqlite::params_from_iter(values.iter().map(codec::bind));
        if statement.query_row(bound, |row| row.get(0)).during(doing).map_err(context)? {
            drop(values);
            found.insert(key);
        }
    }
    Ok(found)
}
