//! Writing rows to one table, on the thread of the connection.

mod aside;
mod cells;
mod choose;
mod delete;
mod load;
mod page_table;
mod read;
mod statement;
mod upsert;

pub(crate) use aside::{Aside, clear_aside, insert_aside};
pub(crate) use choose::{delete_numbered, read_numbered};
pub(crate) use delete::{clear, delete, delete_at_once};
pub(crate) use read::{existing, highest_number, read};

use crate::error::SqliteContext;
use crate::sql;
use cells::Cells;
use migrate_core::schema::{ForeignKey, TableSchema};
use migrate_core::sink::{Outcome, WriteMode, WriteRequest};
use migrate_core::value::conform::conform;
use migrate_core::value::{Key, Page, Value};
use migrate_core::{Error, ErrorKind, Result};
use rusqlite::Connection;

/// What writing needs to know of a table, free of the caller's borrow.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) name: String,
    /// The columns that identify a row, with how each is compared.
    key: Vec<KeyColumn>,
    /// Columns that the engine computes.
    generated: Vec<String>,
    foreign_keys: Vec<ForeignKey>,
    /// Columns whose texts are not compared byte by byte, with their collations.
    collations: Vec<(String, String)>,
    /// Triggers that fire on what is written here.
    triggers: Vec<String>,
}

#[derive(Debug, Clone)]
struct KeyColumn {
    name: String,
    data_type: migrate_core::value::DataType,
    nullable: bool,
    /// Whether an index on the number's shortest text finds it whatever its zeros.
    by_number: bool,
}

impl Target {
    /// Takes what is needed of a table.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if the table lacks a key column.
    pub(crate) fn new(table: &TableSchema, key: &[String]) -> Result<Self> {
        let key = key.iter().map(|name| {
            let column = table.column(name).ok_or_else(|| {
                Error::new(ErrorKind::Schema, "the table has no such key column").with("column", name).with("table", &table.name)
            })?;
            let expression = crate::ddl::number_expression(name);
            let by_number = table.indexes.iter().any(|i| i.definition.contains(&expression));
            Ok(KeyColumn { name: name.clone(), data_type: column.data_type.clone(), nullable: column.nullable, by_number })
        });
        Ok(Target {
            name: table.name.name.clone(),
            key: key.collect::<Result<_>>()?,
            generated: table.columns.iter().filter(|c| c.generated.is_some()).map(|c| c.name.clone()).collect(),
            foreign_keys: table.foreign_keys.clone(),
            collations: table.columns.iter().filter_map(|c| Some((c.name.clone(), c.collation.clone()?))).collect(),
            triggers: table.triggers.iter().filter(|t| t.fires_on_write).map(|t| t.name.clone()).collect(),
        })
    }

    /// Whether an insert can break a reference.
    pub(crate) fn refers(&self) -> bool {
        !self.foreign_keys.is_empty()
    }

    /// The condition that finds a row by its key; `places` are the numbers of the parameters.
    fn key_condition(&self, places: impl IntoIterator<Item = usize>) -> String {
        self.key_condition_of(places.into_iter().map(|place| format!("?{place}")))
    }

    /// The condition that finds a row by its key, which these expressions give.
    fn key_condition_of(&self, given: impl IntoIterator<Item = String>) -> String {
        let parts = self.key.iter().zip(given).map(|(column, given)| {
            let name = sql::column(&self.name, &column.name);
            if column.by_number {
                let (own, given) = (crate::ddl::number_expression(&column.name), crate::ddl::number_of(&given));
                format!("{own} = {given}")
            } else {
                let operator = if column.nullable { "IS" } else { "=" };
                format!("{name} {operator} {given}")
            }
        });
        parts.collect::<Vec<_>>().join(" AND ")
    }

    /// The collation of a column.
    fn collation(&self, name: &str) -> &str {
        let own = self.collations.iter().find(|(column, _)| column.eq_ignore_ascii_case(name));
        own.map_or("BINARY", |(_, collation)| collation)
    }
}

impl Target {
    /// The condition, beside [`Target::key_condition`], that text is the same to the letter where an index asks for less.
    fn key_spelling(&self, places: impl IntoIterator<Item = usize>) -> String {
        let parts = self
            .key
            .iter()
            .zip(places)
            .filter(|(column, _)| !column.by_number)
            .map(|(column, place)| format!("{} COLLATE BINARY IS ?{place}", sql::column(&self.name, &column.name)));
        let parts: Vec<String> = parts.collect();
        if parts.is_empty() { "1".to_owned() } else { parts.join(" AND ") }
    }

    /// Returns a key's values as the table's columns hold them: a key spells 1.00 as 1, and the column's type gives it back its zeros.
    fn key_values<'k>(&self, key: &'k Key) -> Result<Vec<Value<'k>>> {
        let values = key.values()?;
        if values.len() != self.key.len() {
            return Err(
                Error::new(ErrorKind::Internal, "a key has another number of columns than the table's").with("table", &self.name)
            );
        }
        let columns = values.into_iter().zip(&self.key);
        Ok(columns.map(|(value, column)| conform(value.clone(), &column.data_type).unwrap_or(value)).collect())
    }
}

/// A write, free of the caller's borrow; the page is shared, not copied.
#[derive(Debug)]
pub(crate) struct WriteJob {
    target: Target,
    page: Page,
    rows: Option<Vec<u32>>,
    mode: WriteMode,
    /// Which columns of the page are written.
    written: Vec<bool>,
    /// The names of the written columns.
    columns: Vec<String>,
    /// The places of the key columns among the written ones.
    key_places: Vec<usize>,
}

impl WriteJob {
    /// Takes a request.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if a key column is not in the page, or a table without a key is to be merged into.
    pub(crate) fn new(request: &WriteRequest<'_>) -> Result<Self> {
        let target = Target::new(request.table, request.key)?;
        let written: Vec<bool> = request.page.columns().iter().map(|c| !target.generated.contains(&c.name)).collect();
        let columns: Vec<String> =
            request.page.columns().iter().zip(&written).filter(|(_, w)| **w).map(|(c, _)| c.name.clone()).collect();
        let find = |key: &KeyColumn| {
            columns.iter().position(|c| *c == key.name).ok_or_else(|| {
                Error::new(ErrorKind::Schema, "the page has no such key column")
                    .with("column", &key.name)
                    .with("table", &target.name)
            })
        };
        let key_places = match request.mode {
            // A load looks for no row, except to read back what a trigger left of it.
            WriteMode::Load if target.triggers.is_empty() => Vec::new(),
            WriteMode::Load | WriteMode::Upsert | WriteMode::InsertMissing => {
                target.key.iter().map(find).collect::<Result<_>>()?
            }
        };
        if key_places.is_empty() && request.mode != WriteMode::Load {
            return Err(Error::new(ErrorKind::Schema, "a table without a key can only be loaded").with("table", &target.name));
        }
        let (page, rows) = (request.page.clone(), request.rows.map(<[u32]>::to_vec));
        Ok(WriteJob { target, page, rows, mode: request.mode, written, columns, key_places })
    }

    /// The same request without rows.
    fn empty(&self) -> Self {
        WriteJob {
            target: self.target.clone(),
            page: self.page.clone(),
            rows: Some(Vec::new()),
            mode: self.mode,
            written: self.written.clone(),
            columns: self.columns.clone(),
            key_places: self.key_places.clone(),
        }
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Whether rows are only ever added.
    pub(crate) fn only_inserts(&self) -> bool {
        match self.mode {
            WriteMode::Load | WriteMode::InsertMissing => true,
            WriteMode::Upsert => false,
        }
    }

    /// Writes the rows.
    ///
    /// # Errors
    /// [`ErrorKind::RowRejected`] with the row's place among those asked for.
    pub(crate) fn run(&self, connection: &Connection) -> Result<Option<Vec<Outcome>>> {
        match self.mode {
            WriteMode::Load => load::load(connection, self).map(|()| None),
            WriteMode::Upsert | WriteMode::InsertMissing => upsert::upsert(connection, self).map(Some),
        }
    }

    fn row_indexes(&self) -> impl Iterator<Item = usize> + '_ {
        let all = if self.rows.is_none() { self.page.row_count() } else { 0 };
        (0..all).chain(self.rows.iter().flatten().map(|row| *row as usize))
    }

    /// The statement that inserts rows. What is to happen in a conflict overrides what the table's own constraints say: one declared
    /// `ON CONFLICT REPLACE` would delete rows in silence.
    fn insert_sql(&self, in_conflict: &str, rows: &str) -> String {
        let table = sql::table(&self.target.name);
        let names = sql::idents(self.columns.iter().map(String::as_str));
        format!("INSERT OR {in_conflict} INTO {table} ({names}) {rows}")
    }

    /// The statement that inserts one row.
    fn insert_row_sql(&self) -> String {
        if self.columns.is_empty() {
            return format!("INSERT OR ABORT INTO {} DEFAULT VALUES", sql::table(&self.target.name));
        }
        let places = (1..=self.columns.len()).map(|i| format!("?{i}")).collect::<Vec<_>>().join(", ");
        self.insert_sql("ABORT", &format!("VALUES ({places})"))
    }

    /// Reads the cells of a row.
    #[inline]
    fn read<'p>(&'p self, cells: &mut Cells<'p>, row: usize) -> Result<()> {
        if row >= self.page.row_count() {
            return Err(Error::new(ErrorKind::Internal, "a row was asked for that the page does not have"));
        }
        cells.load(self.page.row(row), self.page.columns(), &self.written, self.page.encoding())
    }

    /// Gives a refused row its place, and names the reference that it breaks, which SQLite does not.
    #[cold]
    fn refuse(&self, connection: &Connection, cells: &Cells<'_>, place: usize, error: Error) -> Error {
        let error = match error.kind() {
            ErrorKind::RowRejected => error.with_row(place as u64),
            ErrorKind::Constraint => match self.broken_reference(connection, cells) {
                Some(reference) => Error::new(ErrorKind::RowRejected, "the row refers to a parent that does not exist")
                    .with("constraint", format!("FOREIGN KEY ({})", reference.columns.join(", ")))
                    .with("parent", &reference.parent)
                    .with_row(place as u64),
                None => error.into_kind(ErrorKind::RowRejected).with_row(place as u64),
            },
            _ => error,
        };
        error.with("table", &self.target.name)
    }

    fn broken_reference(&self, connection: &Connection, cells: &Cells<'_>) -> Option<&ForeignKey> {
        self.target.foreign_keys.iter().find(|reference| {
            let places: Option<Vec<usize>> =
                reference.columns.iter().map(|name| self.columns.iter().position(|c| c == name)).collect();
            let Some(places) = places else { return false };
            let values = || places.iter().map(|place| cells.parameter(*place));
            if places.iter().any(|p| cells.get(*p) == rusqlite::types::ValueRef::Null) {
                return false;
            }
            let parent = &reference.parent.name;
            let conditions = (1..).zip(&reference.parent_columns).map(|(i, c)| format!("{} = ?{i}", sql::column(parent, c)));
            let conditions = conditions.collect::<Vec<_>>().join(" AND ");
            let query = format!("SELECT NOT EXISTS (SELECT 1 FROM {} WHERE {conditions})", sql::table(parent));
            // Only the message depends on the answer.
            connection.query_row(&query, rusqlite::params_from_iter(values()), |row| row.get(0)).unwrap_or(false)
        })
    }

    /// The error of a row that a trigger did not let stay.
    fn ignored_by_trigger(&self, place: usize) -> Error {
        Error::new(ErrorKind::RowRejected, "a trigger of the table left the row out or took it away")
            .with("triggers", self.target.triggers.join(", "))
            .with("table", &self.target.name)
            .with_row(place as u64)
    }

    /// Whether the row is there, by its key; the key's cells are bound as parameters 1, 2, ….
    fn is_there(&self, connection: &Connection, cells: &Cells<'_>) -> Result<bool> {
        let condition = self.target.key_condition(1..);
        let query = format!("SELECT EXISTS (SELECT 1 FROM {} WHERE {condition})", sql::table(&self.target.name));
        let mut statement = connection.prepare_cached(&query).during("reading back a row")?;
        let key = self.key_places.iter().map(|place| cells.parameter(*place));
        statement.query_row(rusqlite::params_from_iter(key), |row| row.get(0)).during("reading back a row")
    }
}
