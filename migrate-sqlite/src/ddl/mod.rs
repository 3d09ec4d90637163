//! Turns a source's table into one that SQLite can create, and prints the statements that create it.

mod build;
mod condition;
mod default;
mod foreign;
mod native;
mod render;
mod tokens;

pub(crate) use build::{build_indexes, check_alterable, finish, prepare};
pub(crate) use render::{add_column, create_index, create_table};

use crate::sink::ENGINE;
use migrate_core::schema::{TableKind, TableName, TableSchema};
use migrate_core::sink::{CreateRequest, TablePlan};
use migrate_core::{Error, ErrorKind, Result};
use std::collections::HashSet;

/// The column that stands in a table whose source has none, since SQLite wants at least one.
pub(crate) const PLACEHOLDER_COLUMN: &str = "_no_columns";

/// The prefix of this library's own tables.
pub(crate) const STATE_PREFIX: &str = "_migrate_";

/// SQLite's limit for tables and for results, unless it was built otherwise.
pub(crate) const MAX_COLUMNS: usize = 2000;

/// Plans the table that a request asks for; see [`migrate_core::Sink::plan_table`].
///
/// # Errors
/// [`ErrorKind::Schema`] if SQLite cannot have a table of that name or with those columns.
pub(crate) fn plan_table(request: &CreateRequest<'_>) -> Result<TablePlan> {
    let name = own_name(request.name);
    check_name(&name)?;
    check_columns(request.table, &name)?;
    let mut notes = Vec::new();
    let table = if request.engine == ENGINE {
        native::adopt(request, name, &mut notes)
    } else {
        foreign::translate(request, name, &mut notes)?
    };
    match request.table.kind {
        TableKind::View | TableKind::MaterializedView => {
            notes.insert(0, "the source is a view; the target is a plain table".to_owned())
        }
        TableKind::Virtual => notes.insert(0, "the source is a virtual table; the target is a plain table".to_owned()),
        TableKind::Partitioned => {
            notes.insert(0, "the source is partitioned; SQLite has no partitions, the target is one table".to_owned())
        }
        TableKind::Foreign => notes.insert(0, "the source is a foreign table; the target is a plain table".to_owned()),
        TableKind::Table | TableKind::Partition => {}
    }
    for trigger in &request.table.triggers {
        notes.push(format!("trigger {} is not carried over", trigger.name));
    }
    Ok(TablePlan { table, create: true, added: Vec::new(), notes })
}

/// The name under which a table of any engine is found in a SQLite file, which has no schemas.
pub(crate) fn own_name(name: &TableName) -> TableName {
    match name.schema.as_deref() {
        None | Some("main" | "public") => TableName::new(None, name.name.clone()),
        Some(schema) => TableName::new(None, format!("{schema}.{}", name.name)),
    }
}

fn check_name(name: &TableName) -> Result<()> {
    let lower = name.name.to_ascii_lowercase();
    let reason = if lower.starts_with("sqlite_") {
        "names beginning with sqlite_ belong to SQLite itself"
    } else if lower.starts_with(STATE_PREFIX) {
        "names beginning with _migrate_ belong to this library"
    } else if name.name.contains('\0') {
        "a name cannot hold a NUL character"
    } else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::Schema,
        format!("the table cannot be created under this name: {reason}; give the entity another target name"),
    )
    .with("table", name))
}

fn check_columns(table: &TableSchema, name: &TableName) -> Result<()> {
    let mut seen = HashSet::new();
    for column in &table.columns {
        // SQLite folds the case of ASCII letters only.
        if !seen.insert(column.name.to_ascii_lowercase()) {
            return Err(Error::new(
                ErrorKind::Schema,
                "two columns differ by case only, which SQLite takes for one; rename one of them",
            )
            .with("column", &column.name)
            .with("table", name));
        }
        if column.name.contains('\0') {
            return Err(Error::new(ErrorKind::Schema, "a column's name cannot hold a NUL character").with("table", name));
        }
    }
    if table.columns.len() > MAX_COLUMNS {
        return Err(Error::new(
            ErrorKind::Schema,
            format!("the table has more than {MAX_COLUMNS} columns, which SQLite cannot have"),
        )
        .with("table", name));
    }
    Ok(())
}

/// Returns whether a table has all of these columns; else notes what is lost and why.
fn has_columns<'c>(
    table: &TableSchema,
    columns: impl IntoIterator<Item = &'c String>,
    what: &str,
    notes: &mut Vec<String>,
) -> bool {
    for column in columns {
        if table.column(column).is_none() {
            notes.push(format!("{what} is not carried over: the target has no column {column}"));
            return false;
        }
    }
    true
}

/// The shortest text of a number that is stored as text: one text for 1, 1.0 and 1.00, which PostgreSQL takes for one key.
///
/// Tables whose key is a decimal without a fixed scale have a unique index on it.
pub(crate) fn number_of(sql: &str) -> String {
    format!("CASE WHEN instr({sql}, '.') THEN rtrim(rtrim({sql}, '0'), '.') ELSE {sql} END")
}

/// [`number_of`] a column, as indexes spell it.
pub(crate) fn number_expression(column: &str) -> String {
    number_of(&crate::sql::ident(column))
}

/// Prints `(a, b)` for messages.
fn listed(columns: &[String]) -> String {
    format!("({})", columns.join(", "))
}

#[cfg(test)]
mod tests;
