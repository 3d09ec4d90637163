//! Deleting rows.

use super::Target;
use crate::codec;
use crate::error::SqliteContext;
use crate::sql;
use migrate_core::value::Key;
use migrate_core::{Error, ErrorKind, Result};
use rusqlite::{Connection, Statement};

/// Deletes the rows of these keys that exist, and returns how many did.
pub(crate) fn delete(connection: &Connection, target: &Target, keys: &[Key]) -> Result<u64> {
    let mut delete = ByKey::prepare(connection, target, "DELETE", "deleting rows")?;
    keys.iter().map(|key| delete.run(key)).sum()
}

/// Deletes rows of several tables that may refer to one another, and returns how many of each were there and are not any more: those that
/// have gone with others, ON DELETE CASCADE, are among them, and those that a trigger has kept are not.
///
/// That all references have their parents is checked by the commit, RESTRICT or not. What a deletion changes in rows that refer, it changes at
/// once: a row whose children must not be NULL is refused for ON DELETE SET NULL, and is tried again once others have gone.
pub(crate) fn delete_at_once(connection: &Connection, targets: &[(Target, Vec<Key>)]) -> Result<Vec<u64>> {
    connection.execute_batch("PRAGMA defer_foreign_keys = ON").during("deleting rows that refer to one another")?;
    let count = || targets.iter().map(|(target, keys)| count(connection, target, keys)).collect::<Result<Vec<u64>>>();
    let before = count()?;
    let deletes = targets.iter().map(|(target, _)| ByKey::prepare(connection, target, "DELETE", "deleting rows"));
    let mut deletes: Vec<ByKey<'_>> = deletes.collect::<Result<_>>()?;
    let mut waiting: Vec<(usize, &Key)> =
        targets.iter().enumerate().flat_map(|(place, (_, keys))| keys.iter().map(move |key| (place, key))).collect();
    while !waiting.is_empty() {
        let (tried, mut refusal) = (waiting.len(), None);
        let mut held = Vec::new();
        for (place, key) in waiting {
            match deletes[place].run(key) {
                Ok(_) => {}
                // Where a trigger has ended the transaction, whatever is done next would stay.
                Err(error) if is_refusal(&error) && !connection.is_autocommit() => {
                    held.push((place, key));
                    refusal = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = refusal.filter(|_| held.len() == tried) {
            return Err(error);
        }
        // What waits for the next one in a long chain does so from one end or from the other.
        held.reverse();
        waiting = held;
    }
    Ok(before.into_iter().zip(count()?).map(|(before, left)| before.saturating_sub(left)).collect())
}

fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Constraint | ErrorKind::RowRejected)
}

/// Returns how many of these keys some row has.
fn count(connection: &Connection, target: &Target, keys: &[Key]) -> Result<u64> {
    let mut there = ByKey::prepare(connection, target, "SELECT 1", "looking for rows by their keys")?;
    keys.iter().map(|key| there.finds(key).map(u64::from)).sum()
}

/// A statement for the row of a key, to the letter.
struct ByKey<'c> {
    statement: Statement<'c>,
    target: &'c Target,
    doing: &'static str,
}

impl<'c> ByKey<'c> {
    fn prepare(connection: &'c Connection, target: &'c Target, what: &str, doing: &'static str) -> Result<Self> {
        if target.key.is_empty() {
            let message = "rows of a table without a key cannot be deleted by it";
            return Err(Error::new(ErrorKind::Schema, message).with("table", &target.name));
        }
        let (key, spelling) = (target.key_condition(1..), target.key_spelling(1..));
        let sql = format!("{what} FROM {} WHERE {key} AND {spelling}", sql::table(&target.name));
        let statement = connection.prepare(&sql).during(doing).map_err(|e| e.with("table", &target.name))?;
        Ok(ByKey { statement, target, doing })
    }

    /// Runs the statement, and returns how many rows it has changed itself.
    fn run(&mut self, key: &Key) -> Result<u64> {
        let values = self.target.key_values(key)?;
        let bound = rusqlite::params_from_iter(values.iter().map(codec::bind));
        let changed = self.statement.execute(bound).during(self.doing);
        Ok(changed.map_err(|e| e.with("table", &self.target.name))? as u64)
    }

    /// Returns whether it finds a row.
    fn finds(&mut self, key: &Key) -> Result<bool> {
        let values = self.target.key_values(key)?;
        let bound = rusqlite::params_from_iter(values.iter().map(codec::bind));
        self.statement.exists(bound).during(self.doing).map_err(|e| e.with("table", &self.target.name))
    }
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
