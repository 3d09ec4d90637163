//! Rows of the target that a plan would take away, or move to another parent.

use crate::schema::TableName;
use crate::value::Key;
use std::collections::{HashMap, HashSet};

/// Rows that would not be found any more where they are, by their tables and keys.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Rows that would be deleted.
    pub(super) deleted: Keys,
    /// Rows that would refer to another parent.
    pub(super) moved: Keys,
}

pub(super) type Keys = HashMap<TableName, (Vec<String>, HashSet<Key>)>;

impl Touched {
    pub(super) fn add(&mut self, other: Touched) {
        for (own, other) in [(&mut self.deleted, other.deleted), (&mut self.moved, other.moved)] {
            for (table, (columns, keys)) in other {
                own.entry(table).or_insert_with(|| (columns, HashSet::new())).1.extend(keys);
            }
        }
    }

    /// The columns by which the rows of a table are known.
    pub(super) fn columns(&self, table: &TableName) -> Option<&[String]> {
        self.deleted.get(table).or_else(|| self.moved.get(table)).map(|(columns, _)| &columns[..])
    }

    /// Whether a row is not found any more, where another column than its key is asked for if `elsewhere`.
    pub(super) fn hides(&self, table: &TableName, key: &Key, elsewhere: bool) -> bool {
        let has = |keys: &Keys| keys.get(table).is_some_and(|(_, keys)| keys.contains(key));
        has(&self.deleted) || (elsewhere && has(&self.moved))
    }
}
