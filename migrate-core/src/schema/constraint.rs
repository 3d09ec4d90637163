//! Keys, references, checks, indexes and triggers.

use super::TableName;
use serde::{Deserialize, Serialize};

/// A primary key or unique constraint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UniqueKey {
    /// The constraint's name, where it has one.
    pub name: Option<String>,
    /// The columns in order.
    pub columns: Vec<String>,
    /// Whether the check may be put off to the end of the transaction.
    pub deferrable: bool,
    /// Whether it is put off unless told otherwise.
    pub initially_deferred: bool,
    /// Whether two NULLs count as equal (`NULLS NOT DISTINCT`).
    pub nulls_not_distinct: bool,
}

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForeignKey {
    /// The constraint's name, where it has one.
    pub name: Option<String>,
    /// The referring columns.
    pub columns: Vec<String>,
    /// The table referred to.
    pub parent: TableName,
    /// The columns referred to, in the order of `columns`.
    pub parent_columns: Vec<String>,
    /// What happens when the parent goes.
    pub on_delete: ForeignKeyAction,
    /// What happens when the parent's key changes.
    pub on_update: ForeignKeyAction,
    /// Whether `MATCH FULL` is declared.
    pub match_full: bool,
    /// Whether the check may be put off to the end of the transaction.
    pub deferrable: bool,
    /// Whether it is put off unless told otherwise.
    pub initially_deferred: bool,
    /// Whether existing rows are known to obey it.
    pub validated: bool,
}

impl UniqueKey {
    /// Creates a key without a name, which is checked at once and takes NULLs for different.
    pub fn new(columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        UniqueKey {
            name: None,
            columns: columns.into_iter().map(Into::into).collect(),
            deferrable: false,
            initially_deferred: false,
            nulls_not_distinct: false,
        }
    }
}

impl ForeignKey {
    /// Creates a reference without a name, which is checked at once, holds for all rows and refuses that its parents go.
    pub fn new(
        columns: impl IntoIterator<Item = impl Into<String>>,
        parent: TableName,
        parent_columns: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        ForeignKey {
            name: None,
            columns: columns.into_iter().map(Into::into).collect(),
            parent,
            parent_columns: parent_columns.into_iter().map(Into::into).collect(),
            on_delete: ForeignKeyAction::NoAction,
            on_update: ForeignKeyAction::NoAction,
            match_full: false,
            deferrable: false,
            initially_deferred: false,
            validated: true,
        }
    }

    /// Returns whether an error that names this constraint means this key: by its name, or by its columns where the engine knows no names.
    pub fn is_called(&self, constraint: &str) -> bool {
        self.name.as_deref() == Some(constraint) || constraint == format!("FOREIGN KEY ({})", self.columns.join(", "))
    }
}

/// What a foreign key does when its parent changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForeignKeyAction {
    /// Refuses, at the end of the statement or transaction.
    NoAction,
    /// Refuses at once.
    Restrict,
    /// Does the same to the child.
    Cascade,
    /// Sets the child's columns to NULL.
    SetNull,
    /// Sets the child's columns to their defaults.
    SetDefault,
}

impl ForeignKeyAction {
    /// Returns the SQL spelling, the same on both engines.
    pub fn as_sql(self) -> &'static str {
        match self {
            ForeignKeyAction::NoAction => "NO ACTION",
            ForeignKeyAction::Restrict => "RESTRICT",
            ForeignKeyAction::Cascade => "CASCADE",
            ForeignKeyAction::SetNull => "SET NULL",
            ForeignKeyAction::SetDefault => "SET DEFAULT",
        }
    }
}

/// A check constraint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The constraint's name, where it has one.
    pub name: Option<String>,
    /// The condition, in this engine's SQL, without the word CHECK.
    pub expression: String,
    /// Whether all rows meet it; else those that were there before it may not (`NOT VALID`).
    #[serde(default = "yes")]
    pub validated: bool,
}

const fn yes() -> bool {
    true
}

impl Check {
    /// Creates a check that all rows meet.
    pub fn new(name: Option<String>, expression: impl Into<String>) -> Self {
        Check { name, expression: expression.into(), validated: true }
    }
}

/// An index that is not a constraint's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// The name.
    pub name: String,
    /// Whether it forbids duplicates.
    pub unique: bool,
    /// The access method, such as `btree` or `gin`.
    pub method: String,
    /// What it is made of, in order.
    pub parts: Vec<IndexPart>,
    /// The condition of a partial index, in this engine's SQL.
    pub predicate: Option<String>,
    /// The whole statement that makes it, in this engine's SQL.
    pub definition: String,
    /// Extensions of the server whose operator classes or access method it uses, which the definition need not mention.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
}

/// One column or expression of an index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexPart {
    /// The column, or `None` for an expression.
    pub column: Option<String>,
    /// The expression, in this engine's SQL, where it is no plain column.
    pub expression: Option<String>,
    /// Whether the order is descending.
    pub descending: bool,
    /// A collation other than the column's own.
    pub collation: Option<String>,
}

/// A trigger that a user made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    /// The name.
    pub name: String,
    /// The whole statement that makes it, in this engine's SQL.
    pub definition: String,
    /// Whether it fires on the inserts or updates that a run makes.
    pub fires_on_write: bool,
}
