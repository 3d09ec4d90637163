//! One table in memory: rows in the order of their arrival, and the unique indexes that guard them.

use crate::error::{Error, ErrorKind, Result};
use crate::schema::{ColumnSchema, TableSchema};
use crate::value::conform::conform;
use crate::value::{Key, Row, Value, canonical};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A stored row, shared between versions of its table.
pub(super) type StoredRow = Arc<Row>;

#[derive(Debug, Clone)]
pub(super) struct MemoryTable {
    schema: TableSchema,
    rows: BTreeMap<u64, StoredRow>,
    next_id: u64,
    /// Counts what was written; and of each row, when it was.
    clock: u64,
    written: BTreeMap<u64, u64>,
    /// Tells this table from another that takes its place.
    number: u64,
    indexes: Vec<UniqueIndex>,
}

static NUMBERS: AtomicU64 = AtomicU64::new(0);

#[derive(Debug, Clone)]
struct UniqueIndex {
    name: String,
    columns: Vec<usize>,
    nulls_equal: bool,
    rows: HashMap<Key, u64>,
}

impl MemoryTable {
    pub(super) fn new(schema: TableSchema) -> Result<Self> {
        let indexes = indexes_of(&schema)?;
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        Ok(MemoryTable { schema, rows: BTreeMap::new(), next_id: 0, clock: 0, written: BTreeMap::new(), number, indexes })
    }

    pub(super) fn schema(&self) -> &TableSchema {
        &self.schema
    }

    pub(super) fn rows(&self) -> impl ExactSizeIterator<Item = (u64, &StoredRow)> {
        self.rows.iter().map(|(id, row)| (*id, row))
    }

    /// Returns the places of columns by name.
    pub(super) fn places(&self, columns: &[String]) -> Result<Vec<usize>> {
        places(&self.schema, columns)
    }

    /// Returns the places of the columns whose values the table gives by itself.
    pub(super) fn numbered(&self) -> impl Iterator<Item = usize> + '_ {
        self.schema.columns.iter().enumerate().filter(|(_, column)| column.identity.is_some()).map(|(place, _)| place)
    }

    /// Returns the highest number in a column, 0 if there is none.
    pub(super) fn highest(&self, place: usize) -> i64 {
        let numbers = self.rows.values().filter_map(|row| if let Value::Int(number) = row[place] { Some(number) } else { None });
        numbers.max().unwrap_or(0)
    }

    /// Adds a column that holds NULL in every row; nothing happens if there is one of that name.
    pub(super) fn add_column(&mut self, column: ColumnSchema) {
        if self.schema.column(&column.name).is_none() {
            self.schema.columns.push(column);
            self.rows.values_mut().for_each(|row| Arc::make_mut(row).push(Value::Null));
        }
    }

    /// Gives the table other keys, and checks the rows that are there.
    pub(super) fn set_schema(&mut self, schema: TableSchema) -> Result<()> {
        let mut indexes = indexes_of(&schema)?;
        for index in &mut indexes {
            let mut doubles = 0u64;
            for (id, row) in &self.rows {
                if let Some(key) = index.key(row)
                    && index.rows.insert(key, *id).is_some()
                {
                    doubles += 1;
                }
            }
            if doubles > 0 {
                return Err(Error::new(ErrorKind::Constraint, format!("{doubles} rows have the same key as another one"))
                    .with("constraint", &index.name)
                    .with("table", &schema.name));
            }
        }
        // What the rows say may be another thing under other columns.
        self.number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        (self.schema, self.indexes) = (schema, indexes);
        Ok(())
    }

    /// Returns the rows with these keys, by key.
    pub(super) fn find<'k>(&self, key: &[String], wanted: impl IntoIterator<Item = &'k Key>) -> Result<HashMap<&'k Key, u64>> {
        let columns = self.places(key)?;
        if let Some(index) = self.indexes.iter().find(|i| i.columns == columns) {
            return Ok(wanted.into_iter().filter_map(|k| index.rows.get(k).map(|id| (k, *id))).collect());
        }
        let all: HashMap<Key, u64> = self.rows.iter().map(|(id, row)| (key_of(row, &columns), *id)).collect();
        Ok(wanted.into_iter().filter_map(|k| all.get(k).map(|id| (k, *id))).collect())
    }

    pub(super) fn row(&self, id: u64) -> Option<&StoredRow> {
        self.rows.get(&id)
    }

    pub(super) fn insert(&mut self, row: Row) -> Result<u64> {
        self.check(&row)?;
        let id = self.next_id;
        self.enter(id, &row)?;
        self.rows.insert(id, Arc::new(row));
        self.stamp(id);
        self.next_id += 1;
        Ok(id)
    }

    pub(super) fn replace(&mut self, id: u64, row: Row) -> Result<()> {
        self.check(&row)?;
        if let Some(old) = self.rows.get(&id).cloned() {
            self.leave(id, &old);
        }
        self.enter(id, &row)?;
        self.rows.insert(id, Arc::new(row));
        self.stamp(id);
        Ok(())
    }

    fn stamp(&mut self, id: u64) {
        self.written.insert(id, self.clock);
        self.clock += 1;
    }

    /// Where the table stands, for [`MemoryTable::changed_since`].
    pub(super) fn landmark(&self) -> String {
        format!("{}:{}", self.number, self.clock)
    }

    /// Returns, for a landmark of this table, how to tell whether a row was written since.
    pub(super) fn changed_since(&self, landmark: &str) -> Option<impl Fn(u64) -> bool + '_> {
        let (number, clock) = landmark.split_once(':')?;
        let (number, clock): (u64, u64) = (number.parse().ok()?, clock.parse().ok()?);
        (number == self.number && clock <= self.clock)
            .then_some(move |id| self.written.get(&id).is_none_or(|written| *written >= clock))
    }

    pub(super) fn remove(&mut self, id: u64) -> bool {
        match self.rows.remove(&id) {
            Some(row) => {
                self.leave(id, &row);
                true
            }
            None => false,
        }
    }

    pub(super) fn clear(&mut self) -> u64 {
        let count = self.rows.len() as u64;
        self.rows.clear();
        self.indexes.iter_mut().for_each(|i| i.rows.clear());
        count
    }

    /// Refuses a row that the columns cannot hold as it is.
    fn check(&self, row: &Row) -> Result<()> {
        if row.len() != self.schema.columns.len() {
            return Err(Error::new(
                ErrorKind::Schema,
                format!("a row has {} cells where its table has {} columns", row.len(), self.schema.columns.len()),
            )
            .with("table", &self.schema.name));
        }
        for (column, value) in self.schema.columns.iter().zip(row) {
            let refuse = |reason: String| {
                Error::new(ErrorKind::RowRejected, reason).with("column", &column.name).with("table", &self.schema.name)
            };
            if value.is_null() {
                if !column.nullable {
                    return Err(refuse("NULL where the column allows none".to_owned()));
                }
                continue;
            }
            match conform(value.clone(), &column.data_type) {
                Ok(conformed) if same(&conformed, value) => {}
                Ok(_) => return Err(refuse(format!("a {} that is not in the form of {}", value.kind(), column.data_type))),
                Err(_) => return Err(refuse(format!("a {} that {} cannot hold", value.kind(), column.data_type))),
            }
        }
        Ok(())
    }

    fn enter(&mut self, id: u64, row: &Row) -> Result<()> {
        for index in &self.indexes {
            if index.key(row).is_some_and(|key| index.rows.contains_key(&key)) {
                return Err(Error::new(ErrorKind::RowRejected, "another row has the same key")
                    .with("constraint", &index.name)
                    .with("table", &self.schema.name));
            }
        }
        for index in &mut self.indexes {
            if let Some(key) = index.key(row) {
                index.rows.insert(key, id);
            }
        }
        Ok(())
    }

    fn leave(&mut self, id: u64, row: &Row) {
        for index in &mut self.indexes {
            if let Some(key) = index.key(row)
                && index.rows.get(&key) == Some(&id)
            {
                index.rows.remove(&key);
            }
        }
    }
}

impl UniqueIndex {
    /// The key of a row, or `None` where a NULL makes it distinct from all others.
    fn key(&self, row: &Row) -> Option<Key> {
        if !self.nulls_equal && self.columns.iter().any(|c| row[*c].is_null()) {
            return None;
        }
        Some(key_of(row, &self.columns))
    }
}

/// Builds the key of a row from the cells at these places.
pub(super) fn key_of(row: &Row, columns: &[usize]) -> Key {
    Key::from_values(columns.iter().map(|c| &row[*c]))
}

/// Returns whether two values are the same to the letter: -0.0 is not 0.0, and NaN is NaN.
pub(super) fn same(a: &Value<'_>, b: &Value<'_>) -> bool {
    let encoded = |value: &Value<'_>| {
        let mut bytes = Vec::new();
        canonical::encode_value(value, &mut bytes);
        bytes
    };
    encoded(a) == encoded(b)
}

/// Returns the places of columns by name.
pub(super) fn places(schema: &TableSchema, columns: &[String]) -> Result<Vec<usize>> {
    columns
        .iter()
        .map(|name| {
            schema.columns.iter().position(|c| &c.name == name).ok_or_else(|| {
                Error::new(ErrorKind::Schema, "there is no such column").with("column", name).with("table", &schema.name)
            })
        })
        .collect()
}

fn indexes_of(schema: &TableSchema) -> Result<Vec<UniqueIndex>> {
    let mut indexes = Vec::new();
    for key in schema.primary_key.iter().chain(&schema.unique_keys) {
        indexes.push(UniqueIndex {
            name: key.name.clone().unwrap_or_else(|| format!("the key ({})", key.columns.join(", "))),
            columns: places(schema, &key.columns)?,
            nulls_equal: key.nulls_not_distinct,
            rows: HashMap::new(),
        });
    }
    for index in schema.indexes.iter().filter(|i| i.unique && i.predicate.is_none()) {
        if let Some(columns) = index.parts.iter().map(|p| p.column.clone()).collect::<Option<Vec<_>>>() {
            let columns = places(schema, &columns)?;
            indexes.push(UniqueIndex { name: index.name.clone(), columns, nulls_equal: false, rows: HashMap::new() });
        }
    }
    Ok(indexes)
}
