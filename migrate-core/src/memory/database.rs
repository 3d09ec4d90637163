//! The database itself, and what tests and embedders do to it beside the seams.

use super::faults::Faults;
use super::sink::MemorySink;
use super::source::MemorySource;
use super::state::State;
use super::store::Tables;
use super::table::MemoryTable;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{ColumnSchema, TableName, TableSchema, UniqueKey};
use crate::value::{DataType, Row, Value};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A database in memory; clones are handles of the same one.
#[derive(Clone)]
pub struct MemoryDatabase {
    shared: Arc<Shared>,
}

struct Shared {
    number: u64,
    data: Mutex<Data>,
    faults: Faults,
}

/// What the database holds, behind its lock.
#[derive(Debug, Clone, Default)]
pub(super) struct Data {
    pub(super) tables: Tables,
    pub(super) state: State,
    /// Counts the changes of rows; the position of a snapshot.
    pub(super) version: u64,
}

impl MemoryDatabase {
    /// Creates an empty database.
    pub fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        MemoryDatabase { shared: Arc::new(Shared { number, data: Mutex::default(), faults: Faults::default() }) }
    }

    /// Returns the database as a source.
    pub fn source(&self) -> MemorySource {
        MemorySource::new(self.clone())
    }

    /// Returns the database as a sink.
    pub fn sink(&self) -> MemorySink {
        MemorySink::new(self.clone())
    }

    /// Returns the faults planned for this database.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Returns a database that holds the same, and fails at the same calls, but shares no change.
    pub(super) fn copied(&self) -> Self {
        let data = self.lock().clone();
        let (number, faults) = (self.shared.number, self.shared.faults.clone());
        MemoryDatabase { shared: Arc::new(Shared { number, data: Mutex::new(data), faults }) }
    }

    /// Creates a table with its keys and references.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if the table exists or a key names a column that does not.
    pub fn create_table(&self, schema: TableSchema) -> Result<()> {
        let mut data = self.lock();
        if data.tables.contains(&schema.name) {
            return Err(Error::new(ErrorKind::Schema, "there is such a table already").with("table", &schema.name));
        }
        data.tables.add(MemoryTable::new(schema)?);
        data.version += 1;
        Ok(())
    }

    /// Drops a table with its rows.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if there is no such table.
    pub fn drop_table(&self, table: &str) -> Result<()> {
        let name = self.name_of(table)?;
        let mut data = self.lock();
        data.tables.remove(&name)?;
        data.version += 1;
        Ok(())
    }

    /// Adds a row, its cells in the order of the table's columns.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if there is no such table, [`ErrorKind::RowRejected`] if the table does not take the row.
    pub fn insert(&self, table: &str, row: impl IntoIterator<Item = Value<'static>>) -> Result<()> {
        let name = self.name_of(table)?;
        let mut data = self.lock();
        data.tables.get_mut(&name)?.insert(row.into_iter().collect())?;
        data.version += 1;
        Ok(())
    }

    /// Changes the rows that `change` says were changed, and returns how many.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if there is no such table, [`ErrorKind::RowRejected`] if the table does not take a changed row; rows before it stay changed.
    pub fn update(&self, table: &str, mut change: impl FnMut(&mut Row) -> bool) -> Result<u64> {
        let name = self.name_of(table)?;
        let mut data = self.lock();
        let table = data.tables.get_mut(&name)?;
        let rows: Vec<_> = table.rows().map(|(id, row)| (id, row.clone())).collect();
        let mut count = 0;
        for (id, row) in rows {
            let mut row = Row::clone(&row);
            if change(&mut row) {
                table.replace(id, row)?;
                count += 1;
            }
        }
        data.version += 1;
        Ok(count)
    }

    /// Deletes the rows that `which` picks, and returns how many.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if there is no such table.
    pub fn delete(&self, table: &str, mut which: impl FnMut(&Row) -> bool) -> Result<u64> {
        let name = self.name_of(table)?;
        let mut data = self.lock();
        let table = data.tables.get_mut(&name)?;
        let ids: Vec<u64> = table.rows().filter(|(_, row)| which(row)).map(|(id, _)| id).collect();
        let count = ids.into_iter().filter(|id| table.remove(*id)).count() as u64;
        data.version += 1;
        Ok(count)
    }

    /// Returns the rows of a table in the order of their arrival.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if there is no such table.
    pub fn rows(&self, table: &str) -> Result<Vec<Row>> {
        let name = self.name_of(table)?;
        let data = self.lock();
        Ok(data.tables.get(&name)?.rows().map(|(_, row)| Row::clone(row)).collect())
    }

    /// Returns how a table stands: without the keys that are not built yet.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if there is no such table.
    pub fn table(&self, table: &str) -> Result<TableSchema> {
        let name = self.name_of(table)?;
        Ok(self.lock().tables.get(&name)?.schema().clone())
    }

    /// The text that tells this database from all others of this process.
    pub(super) fn identity(&self) -> String {
        format!("memory:{}", self.shared.number)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Data> {
        // Every change is made on a copy or is one step, so a panic of another thread leaves nothing half done.
        self.shared.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The full name of the table that prints like this, or of the only one with this name in any schema.
    fn name_of(&self, table: &str) -> Result<TableName> {
        let data = self.lock();
        let names = || data.tables.iter().map(|t| &t.schema().name);
        let name = names().find(|n| n.to_string() == table).or_else(|| names().find(|n| n.name == table));
        match name {
            Some(name) => Ok(name.clone()),
            None => data.tables.get(&TableName::new(None, table)).map(|t| t.schema().name.clone()),
        }
    }
}

impl Default for MemoryDatabase {
    fn default() -> Self {
        MemoryDatabase::new()
    }
}

impl fmt::Debug for MemoryDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDatabase").field("number", &self.shared.number).finish_non_exhaustive()
    }
}

/// Describes a plain table: columns by name and type, and its primary key (none if empty). Key columns refuse NULL, others allow it.
pub fn table(name: &str, columns: &[(&str, DataType)], key: &[&str]) -> TableSchema {
    let mut schema = TableSchema::new(TableName::new(None, name));
    schema.columns = columns
        .iter()
        .map(|(name, data_type)| ColumnSchema {
            name: (*name).to_owned(),
            data_type: data_type.clone(),
            native_type: data_type.to_string(),
            portable_type: data_type.clone(),
            nullable: !key.contains(name),
            default: None,
            generated: None,
            identity: None,
            numbering: None,
            collation: None,
            comment: None,
        })
        .collect();
    schema.primary_key =
        (!key.is_empty()).then(|| UniqueKey { name: Some(format!("{name}_pkey")), ..UniqueKey::new(key.iter().copied()) });
    schema
}
