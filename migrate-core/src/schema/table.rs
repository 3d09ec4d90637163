//! Tables and whole databases.

use super::{Check, ColumnSchema, ForeignKey, Index, TableName, Trigger, UniqueKey};
use crate::error::{Error, ErrorKind, Result};
use crate::expression::Expression;
use serde::{Deserialize, Serialize};

/// Everything that an adapter found in a database.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DatabaseSchema {
    /// The engine, such as `postgresql` or `sqlite`.
    pub engine: String,
    /// The engine's version as it prints it.
    pub version: String,
    /// Tables and views, by name.
    pub tables: Vec<TableSchema>,
    /// Types that the user made.
    pub types: Vec<TypeSchema>,
}

impl DatabaseSchema {
    /// Returns a table by name. A name without a schema matches when only one schema has it, or the default schema does.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] with the nearest names, or [`ErrorKind::Schema`] if the name is ambiguous.
    pub fn table(&self, name: &TableName, default_schema: Option<&str>) -> Result<&TableSchema> {
        let mut found: Vec<&TableSchema> = self
            .tables
            .iter()
            .filter(|t| t.name.name == name.name && (name.schema.is_none() || t.name.schema == name.schema))
            .collect();
        if found.len() > 1 {
            if let Some(table) = found.iter().find(|t| t.name.schema.as_deref() == default_schema) {
                return Ok(table);
            }
            let all = found.iter().map(|t| t.name.to_string()).collect::<Vec<_>>().join(", ");
            return Err(Error::new(ErrorKind::Schema, format!("table {name} is ambiguous: {all}")));
        }
        found.pop().ok_or_else(|| {
            let hint = crate::hint::nearest(&name.name, self.tables.iter().map(|t| t.name.name.as_str()));
            Error::new(ErrorKind::NotFound, format!("there is no table {name}{hint}"))
        })
    }
}

/// What kind of relation a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableKind {
    /// An ordinary table.
    Table,
    /// The parent of partitions; its rows are read and written through it.
    Partitioned,
    /// A partition; moves with its parent.
    Partition,
    /// A view; a source only.
    View,
    /// A materialised view; a source only.
    MaterializedView,
    /// A table of another server.
    Foreign,
    /// SQLite's virtual tables; their shadow tables are not listed.
    Virtual,
}

/// A table or view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableSchema {
    /// The name.
    pub name: TableName,
    /// What it is.
    pub kind: TableKind,
    /// The columns in order.
    pub columns: Vec<ColumnSchema>,
    /// The primary key.
    pub primary_key: Option<UniqueKey>,
    /// Unique constraints other than the primary key.
    pub unique_keys: Vec<UniqueKey>,
    /// References to other tables.
    pub foreign_keys: Vec<ForeignKey>,
    /// Check constraints.
    pub checks: Vec<Check>,
    /// Indexes that are not a constraint's own.
    pub indexes: Vec<Index>,
    /// Triggers that a user made.
    pub triggers: Vec<Trigger>,
    /// The comment.
    pub comment: Option<String>,
    /// The engine's guess at the number of rows.
    pub row_estimate: Option<u64>,
    /// The table's size on disk in bytes, indexes included, where the engine tells.
    pub size_bytes: Option<u64>,
    /// What else a `CREATE TABLE` on the same engine must say: `WITHOUT ROWID`, `STRICT`, `PARTITION BY …`, `INHERITS (…)`.
    pub options: Vec<String>,
    /// Tables that this one inherits from, or is a partition of.
    pub parents: Vec<TableName>,
    /// Whether rules, row-level security or the like stand in the way of bulk writes; says which.
    pub write_obstacles: Vec<String>,
    /// What its definition says beyond this description, and no table that is made from it will have; in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_described: Vec<String>,
    /// Columns that it has not, and that the source makes for the job: they are read as the others are, and are nothing else.
    #[serde(skip)]
    pub computed: Vec<Computed>,
}

/// A column that a source makes of each row of a table, by an expression of the job's.
#[derive(Debug, Clone, PartialEq)]
pub struct Computed {
    /// What its values are; under a name that no column of the table has.
    pub column: ColumnSchema,
    /// The column that the job makes of it, which may be called as one of the table's.
    pub made: String,
    /// What they are made by.
    pub expression: Expression,
    /// Whether the job says that the expression gives the same value for as long as the row says the same.
    pub pure: bool,
}

impl TableSchema {
    /// Creates a plain table without columns.
    pub fn new(name: TableName) -> Self {
        TableSchema {
            name,
            kind: TableKind::Table,
            columns: Vec::new(),
            primary_key: None,
            unique_keys: Vec::new(),
            foreign_keys: Vec::new(),
            checks: Vec::new(),
            indexes: Vec::new(),
            triggers: Vec::new(),
            comment: None,
            row_estimate: None,
            size_bytes: None,
            options: Vec::new(),
            parents: Vec::new(),
            write_obstacles: Vec::new(),
            not_described: Vec::new(),
            computed: Vec::new(),
        }
    }

    /// Returns a column by name.
    pub fn column(&self, name: &str) -> Option<&ColumnSchema> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// Returns a column that can be read, by name: the table's own, or one that the source makes.
    pub fn read_column(&self, name: &str) -> Option<&ColumnSchema> {
        self.column(name).or_else(|| self.computed(name).map(|computed| &computed.column))
    }

    /// Returns what a column is made by, if the source makes it.
    pub fn computed(&self, name: &str) -> Option<&Computed> {
        self.computed.iter().find(|computed| computed.column.name == name)
    }

    /// Returns the columns that identify a row: the primary key, else a unique key whose columns all refuse NULL.
    pub fn natural_key(&self) -> Option<Vec<String>> {
        if let Some(key) = &self.primary_key {
            return Some(key.columns.clone());
        }
        let not_null = |columns: &[String]| columns.iter().all(|c| self.column(c).is_some_and(|c| !c.nullable));
        if let Some(key) = self.unique_keys.iter().find(|k| not_null(&k.columns)) {
            return Some(key.columns.clone());
        }
        self.indexes.iter().filter(|i| i.unique && i.predicate.is_none()).find_map(|i| {
            let columns: Vec<String> = i.parts.iter().map(|p| p.column.clone()).collect::<Option<_>>()?;
            not_null(&columns).then_some(columns)
        })
    }

    /// Returns whether a unique index covers exactly these columns, in any order.
    pub fn is_unique(&self, columns: &[String]) -> bool {
        let same = |other: &[String]| other.len() == columns.len() && columns.iter().all(|c| other.contains(c));
        self.primary_key.as_ref().is_some_and(|k| same(&k.columns))
            || self.unique_keys.iter().any(|k| same(&k.columns))
            || self
                .indexes
                .iter()
                .filter(|i| i.unique && i.predicate.is_none())
                .any(|i| i.parts.iter().map(|p| p.column.clone()).collect::<Option<Vec<_>>>().is_some_and(|c| same(&c)))
    }
}

/// A type that a user made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TypeSchema {
    /// The name.
    pub name: TableName,
    /// What it is.
    pub kind: TypeKind,
    /// The statement that makes it, in this engine's SQL.
    pub definition: String,
}

/// What kind of type a user made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TypeKind {
    /// An enumeration with its labels in order.
    Enum {
        /// The labels.
        labels: Vec<String>,
    },
    /// A domain over another type.
    Domain {
        /// The base type as the engine spells it.
        base: String,
    },
    /// A composite type.
    Composite,
    /// A range type.
    Range,
    /// A type or function set of an extension, which must be installed by its owner.
    Extension {
        /// The extension's name.
        extension: String,
    },
}
