//! Tables that come from SQLite: everything is taken over to the letter.

use super::tokens::tokenize;
use super::{PLACEHOLDER_COLUMN, has_columns, listed, own_name};
use crate::declared_type;
use migrate_core::schema::{ColumnSchema, Identity, TableKind, TableName, TableSchema};
use migrate_core::sink::CreateRequest;
use migrate_core::value::DataType;

/// Takes over a table; what mentions a column that the target lacks is noted and left out.
pub(super) fn adopt(request: &CreateRequest<'_>, name: TableName, notes: &mut Vec<String>) -> TableSchema {
    let source = request.table;
    let lost = lost_columns(request);
    // SQL text that was written for the source's names; a renamed column is gone under its old one.
    let mut speaks_of_lost = |sql: &str, what: &str| {
        let Some(column) = mentioned(sql, &lost) else { return false };
        notes.push(format!("{what} is not carried over: it mentions {column}, which the target does not have under this name"));
        true
    };
    let mut table = TableSchema::new(name);
    table.options.clone_from(&source.options);
    for column in &source.columns {
        let mut column = column.clone();
        if column.native_type.is_empty() && !matches!(column.data_type, DataType::Dynamic { .. }) {
            // A column that the job adds has no type of this engine yet; a STRICT table knows few.
            let strict = source.options.iter().any(|option| option == "STRICT");
            let (native_type, declared) = match strict {
                true => ("ANY".to_owned(), declared_type::parse("ANY", true)),
                false => declared_type::declare(&column.data_type),
            };
            column.native_type = native_type;
            (column.data_type, column.portable_type) = (declared.data_type, declared.portable_type);
        }
        if column
            .generated
            .as_ref()
            .is_some_and(|g| speaks_of_lost(&g.expression, &format!("the expression of column {}", column.name)))
        {
            column.generated = None;
        }
        table.columns.push(column);
    }
    for check in &source.checks {
        if !speaks_of_lost(&check.expression, &format!("check {}", check.name.as_deref().unwrap_or(&check.expression))) {
            table.checks.push(check.clone());
        }
    }
    for index in &source.indexes {
        let texts = index.parts.iter().filter_map(|p| p.expression.as_deref()).chain(index.predicate.as_deref());
        if texts.into_iter().any(|sql| speaks_of_lost(sql, &format!("index {}", index.name))) {
            continue;
        }
        table.indexes.push(index.clone());
    }
    let columns = table.clone();
    table.indexes.retain(|index| {
        has_columns(&columns, index.parts.iter().filter_map(|p| p.column.as_ref()), &format!("index {}", index.name), notes)
    });
    if let Some(key) = &source.primary_key
        && has_columns(&columns, &key.columns, "the primary key", notes)
    {
        table.primary_key = Some(key.clone());
    }
    table.unique_keys = source
        .unique_keys
        .iter()
        .filter(|key| has_columns(&columns, &key.columns, &format!("the unique constraint on {}", listed(&key.columns)), notes))
        .cloned()
        .collect();
    for reference in &source.foreign_keys {
        if has_columns(&columns, &reference.columns, &format!("the foreign key on {}", listed(&reference.columns)), notes) {
            let mut reference = reference.clone();
            reference.parent = own_name(&reference.parent);
            table.foreign_keys.push(reference);
        }
    }
    number(&mut table, notes);
    if table.primary_key.is_none() {
        for column in &mut table.columns {
            column.identity = None;
        }
        let clustered = |option: &String| option.eq_ignore_ascii_case("WITHOUT ROWID");
        if table.options.iter().any(clustered) {
            table.options.retain(|o| !clustered(o));
            notes.push("WITHOUT ROWID is not carried over: the target has no primary key".to_owned());
        }
    }
    match source.kind {
        TableKind::View | TableKind::MaterializedView | TableKind::Virtual => table.columns.iter_mut().for_each(plain),
        TableKind::Table | TableKind::Partitioned | TableKind::Partition | TableKind::Foreign => {}
    }
    if table.columns.iter().all(|c| c.generated.is_some()) {
        table.columns.push(super::foreign::placeholder());
        notes.push(format!("the source has no column of its own; the target gets the empty column {PLACEHOLDER_COLUMN}"));
    }
    table
}

/// Makes a column that the job wants to be numbered the table's row number, where it can be; else nothing gives its values.
fn number(table: &mut TableSchema, notes: &mut Vec<String>) {
    let asked_for = |column: &ColumnSchema| column.identity.as_ref().is_some_and(|own| !matches!(own, Identity::RowId { .. }));
    let Some(place) = table.columns.iter().position(asked_for) else { return };
    let key = [table.columns[place].name.clone()];
    let alone = table.primary_key.as_ref().is_some_and(|primary| primary.columns == key);
    let strict = table.options.iter().any(|option| option == "STRICT");
    let column = &mut table.columns[place];
    (column.identity, column.default) = (None, None);
    if !alone || column.portable_type != DataType::Int64 {
        return;
    }
    let declared = declared_type::parse("INTEGER", strict);
    (column.data_type, column.portable_type) = (declared.data_type, declared.portable_type);
    (column.native_type, column.identity) = ("INTEGER".to_owned(), Some(Identity::RowId { autoincrement: false }));
    let clustered = |option: &String| option.eq_ignore_ascii_case("WITHOUT ROWID");
    if table.options.iter().any(clustered) {
        table.options.retain(|option| !clustered(option));
        notes.push(format!("WITHOUT ROWID is not carried over: the table numbers its rows by {}", key[0]));
    }
}

/// A column of a view: its values are there, what made them is not.
fn plain(column: &mut ColumnSchema) {
    column.generated = None;
    column.identity = None;
    column.default = None;
}

/// The source's columns that the target does not have under their name.
fn lost_columns(request: &CreateRequest<'_>) -> Vec<String> {
    let original = request.database.tables.iter().find(|t| t.name == request.table.name);
    let has = |name: &str| request.table.columns.iter().any(|c| c.name.eq_ignore_ascii_case(name));
    original.map_or_else(Vec::new, |table| table.columns.iter().map(|c| c.name.clone()).filter(|c| !has(c)).collect())
}

/// Returns the first of these columns that an expression mentions.
fn mentioned<'c>(sql: &str, columns: &'c [String]) -> Option<&'c String> {
    if columns.is_empty() {
        return None;
    }
    // What cannot be read may mention anything.
    let Some(tokens) = tokenize(sql) else { return columns.first() };
    columns.iter().find(|column| tokens.iter().filter_map(|t| t.name()).any(|name| name.eq_ignore_ascii_case(column)))
}
