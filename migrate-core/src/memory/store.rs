//! All tables of a database at one moment, and the changes that transactions make to them.

use super::table::{MemoryTable, StoredRow, key_of, same};
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{ForeignKey, TableName};
use crate::sink::{Outcome, WriteMode};
use crate::value::{Key, Row};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// The tables by name. A clone is a snapshot: it shares every table until one of the two changes it.
#[derive(Debug, Clone, Default)]
pub(super) struct Tables(BTreeMap<TableName, Arc<MemoryTable>>);

/// A change that a transaction makes, kept so that the commit can make it again on what is there then.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Write {
        table: TableName,
        key: Vec<String>,
        columns: Vec<String>,
        rows: Vec<Row>,
        mode: WriteMode,
    },
    Delete {
        table: TableName,
        key: Vec<String>,
        keys: Vec<Key>,
    },
    /// Rows by their numbers, with what they held when they were chosen.
    DeleteChosen {
        table: TableName,
        rows: Vec<(u64, StoredRow)>,
    },
    Clear {
        table: TableName,
    },
}

/// What a change did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// What became of each row, and the numbers that new ones were given.
    Rows(Vec<Outcome>, Vec<i64>),
    Count(u64),
}

impl Tables {
    pub(super) fn iter(&self) -> impl Iterator<Item = &MemoryTable> {
        self.0.values().map(|t| &**t)
    }

    pub(super) fn get(&self, name: &TableName) -> Result<&Arc<MemoryTable>> {
        self.0.get(name).ok_or_else(|| {
            let hint = crate::hint::nearest(&name.name, self.0.keys().map(|n| n.name.as_str()));
            Error::new(ErrorKind::Schema, format!("there is no table {name}{hint}"))
        })
    }

    pub(super) fn get_mut(&mut self, name: &TableName) -> Result<&mut MemoryTable> {
        self.get(name)?;
        // It is there: looked up above, to have one place for the message.
        self.0.get_mut(name).map(Arc::make_mut).ok_or_else(|| Error::new(ErrorKind::Internal, "a table vanished"))
    }

    pub(super) fn contains(&self, name: &TableName) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn add(&mut self, table: MemoryTable) {
        self.0.insert(table.schema().name.clone(), Arc::new(table));
    }

    pub(super) fn remove(&mut self, name: &TableName) -> Result<()> {
        self.get(name)?;
        self.0.remove(name);
        Ok(())
    }

    /// Makes one change. What was changed before an error stays: the caller works on a copy that it throws away.
    pub(super) fn apply(&mut self, change: &Change) -> Result<Effect> {
        match change {
            Change::Write { table, key, columns, rows, mode } => {
                let mut numbers = Vec::new();
                let outcomes = self.write(table, key, columns, rows, *mode, &mut numbers)?;
                Ok(Effect::Rows(outcomes, numbers))
            }
            Change::Delete { table, key, keys } => {
                let stored = self.get_mut(table)?;
                let found = stored.find(key, keys)?;
                let count = found.values().filter(|id| stored.remove(**id)).count() as u64;
                self.check_children(table)?;
                Ok(Effect::Count(count))
            }
            Change::DeleteChosen { table, rows } => {
                let stored = self.get_mut(table)?;
                for (id, row) in rows {
                    if !stored.row(*id).is_some_and(|there| there.iter().zip(row.iter()).all(|(a, b)| same(a, b))) {
                        return Err(
                            Error::new(ErrorKind::Conflict, "a row that was chosen is another one by now").with("table", table)
                        );
                    }
                    stored.remove(*id);
                }
                self.check_children(table)?;
                Ok(Effect::Count(rows.len() as u64))
            }
            Change::Clear { table } => {
                let count = self.get_mut(table)?.clear();
                self.check_children(table)?;
                Ok(Effect::Count(count))
            }
        }
    }

    fn write(
        &mut self,
        name: &TableName,
        key: &[String],
        columns: &[String],
        rows: &[Row],
        mode: WriteMode,
        numbers: &mut Vec<i64>,
    ) -> Result<Vec<Outcome>> {
        let table = self.get_mut(name)?;
        let (cells, key_cells) = (table.places(columns)?, table.places(key)?);
        if key.is_empty() && mode != WriteMode::Load {
            return Err(Error::new(ErrorKind::Unsupported, "rows without a key can only be loaded").with("table", name));
        }
        let width = table.schema().columns.len();
        let mut outcomes = Vec::with_capacity(rows.len());
        for (i, row) in rows.iter().enumerate() {
            let place = |e: Error| if e.kind() == ErrorKind::RowRejected { e.with_row(i as u64) } else { e };
            // Columns that the page does not have keep what is there, or start as NULL.
            let merged = |base: Option<&Row>| {
                let mut whole = base.cloned().unwrap_or_else(|| vec![crate::value::Value::Null; width]);
                for (cell, value) in cells.iter().zip(row) {
                    whole[*cell] = value.clone();
                }
                whole
            };
            let there = match mode {
                WriteMode::Load => None,
                WriteMode::Upsert | WriteMode::InsertMissing => {
                    let wanted = key_of(&merged(None), &key_cells);
                    table.find(key, [&wanted])?.get(&wanted).copied()
                }
            };
            outcomes.push(match (there, mode) {
                (None, _) => {
                    let mut whole = merged(None);
                    for at in table.numbered().filter(|at| !cells.contains(at)).collect::<Vec<_>>() {
                        let number = table.highest(at) + 1;
                        whole[at] = crate::value::Value::Int(number);
                        numbers.push(number);
                    }
                    table.insert(whole).map_err(place)?;
                    Outcome::Inserted
                }
                (Some(_), WriteMode::InsertMissing | WriteMode::Load) => Outcome::Skipped,
                (Some(id), WriteMode::Upsert) => {
                    let old = table.row(id).cloned().unwrap_or_default();
                    let new = merged(Some(&old));
                    if old.iter().zip(&new).all(|(a, b)| same(a, b)) {
                        Outcome::Unchanged
                    } else {
                        table.replace(id, new).map_err(place)?;
                        Outcome::Updated
                    }
                }
            });
        }
        self.check_parents(name)?;
        if outcomes.contains(&Outcome::Updated) {
            self.check_children(name)?;
        }
        Ok(outcomes)
    }

    /// Checks that every row of a table has the parents that it refers to; references put off to the commit are left out.
    fn check_parents(&self, child: &TableName) -> Result<()> {
        let table = self.get(child)?;
        table.schema().foreign_keys.iter().filter(|f| !f.initially_deferred).try_for_each(|f| self.check_reference(table, f))
    }

    /// Checks the references to a table that lost rows or changed keys.
    fn check_children(&self, parent: &TableName) -> Result<()> {
        for table in self.0.values() {
            for reference in table.schema().foreign_keys.iter().filter(|f| &f.parent == parent && !f.initially_deferred) {
                self.check_reference(table, reference)?;
            }
        }
        Ok(())
    }

    /// Checks the references that were put off to the commit.
    pub(super) fn check_deferred(&self) -> Result<()> {
        for table in self.0.values() {
            for reference in table.schema().foreign_keys.iter().filter(|f| f.initially_deferred) {
                self.check_reference(table, reference)?;
            }
        }
        Ok(())
    }

    /// Checks one reference of all rows of a table.
    ///
    /// # Errors
    /// [`ErrorKind::Constraint`] naming the constraint and the number of rows that break it.
    pub(super) fn check_reference(&self, child: &MemoryTable, reference: &ForeignKey) -> Result<()> {
        let columns = child.places(&reference.columns)?;
        let parent = self.get(&reference.parent)?;
        let parent_columns = parent.places(&reference.parent_columns)?;
        let parents: HashSet<Key> = parent.rows().map(|(_, row)| key_of(row, &parent_columns)).collect();
        let orphans = child
            .rows()
            .filter(|(_, row)| !columns.iter().any(|c| row[*c].is_null()) && !parents.contains(&key_of(row, &columns)))
            .count();
        if orphans == 0 {
            return Ok(());
        }
        let name = reference.name.clone().unwrap_or_else(|| format!("the reference ({})", reference.columns.join(", ")));
        Err(Error::new(
            ErrorKind::Constraint,
            format!("{orphans} rows refer to rows that table {} does not have", reference.parent),
        )
        .with("constraint", name)
        .with("table", &child.schema().name))
    }
}
