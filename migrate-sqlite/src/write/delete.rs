//! Deleting rows.

use super::Target;
use crate::codec;
use crate::error::SqliteContext;
use crate::sql;
use migrate_core::value::Key;
use migrate_core::{Error, ErrorKind, Result};
use rusqlite::Connection;

/// Deletes the rows of these keys that exist, and returns how many did.
pub(crate) fn delete(connection: &Connection, target: &Target, keys: &[Key]) -> Result<u64> {
    if target.key.is_empty() {
        return Err(
            Error::new(ErrorKind::Schema, "rows of a table without a key cannot be deleted by it").with("table", &target.name)
        );
    }
    let doing = "deleting rows";
    let delete =
        format!("DELETE FROM {} WHERE {} AND {}", sql::table(&target.name), target.key_condition(1..), target.key_spelling(1..));
    let mut statement = connection.prepare(&delete).during(doing).map_err(|e| e.with("table", &target.name))?;
    let mut count = 0;
    for key in keys {
        let values = target.key_values(key)?;
        let bound = rusqlite::params_from_iter(values.iter().map(codec::bind));
        count += statement.execute(bound).during(doing).map_err(|e| e.with("table", &target.name))? as u64;
    }
    Ok(count)
}

/// Deletes all rows, and returns how many there were.
pub(crate) fn clear(connection: &Connection, target: &Target) -> Result<u64> {
    let doing = "emptying a table";
    let table = sql::table(&target.name);
    let context = |e: Error| e.with("table", &target.name);
    let before: i64 =
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0)).during(doing).map_err(context)?;
    connection.execute(&format!("DELETE FROM {table}"), []).during(doing).map_err(context)?;
    let left: bool = connection.query_row(&format!("SELECT EXISTS (SELECT 1 FROM {table})"), [], |r| r.get(0)).during(doing)?;
    if left {
        return Err(context(Error::new(
            ErrorKind::Mismatch,
            "the table is not empty after all its rows were deleted: a trigger kept some",
        )));
    }
    Ok(u64::try_from(before).unwrap_or_default())
}
