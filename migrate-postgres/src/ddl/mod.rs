//! Plans tables for PostgreSQL and writes their SQL. Nothing here talks to a server.

mod checks;
mod defaults;
mod names;
mod other_engine;
mod render;
mod same_engine;
mod tokens;
mod types;

pub(crate) use names::shorten;
pub(crate) use render::{
    add_columns, comments, create_table, exclusion_tail, foreign_key_sql, index_name, index_sql, key_constraint_sql,
    key_index_sql, key_name, reference_name, unvalidated_checks,
};

use crate::sql::quote_ident;
use migrate_core::schema::{ColumnSchema, ForeignKey, Numbering, TableKind, TableName, TableSchema};
use migrate_core::sink::{CreateRequest, TablePlan};
use migrate_core::value::DataType;
use migrate_core::{Error, ErrorKind, Result};
use std::collections::{HashMap, HashSet};

/// The name that sources and sinks of this crate go by.
pub(crate) const ENGINE: &str = "postgresql";

/// The most columns that an index can have.
const MOST_KEY_COLUMNS: usize = 32;

/// The most columns that a table can have.
const MOST_COLUMNS: usize = 1600;

/// Translates a source's table into one that PostgreSQL can create; see [`migrate_core::Sink::plan_table`].
///
/// The planned columns stand in the order of the request's, one for one, so that they can be paired by place where a name had
/// to be changed.
pub(crate) fn plan_table(request: &CreateRequest<'_>) -> Result<TablePlan> {
    if request.table.columns.len() > MOST_COLUMNS {
        let columns = request.table.columns.len();
        let message = format!(
            "the table has {columns} columns, and PostgreSQL's have {MOST_COLUMNS} at most; leave some out with columns.exclude"
        );
        return Err(Error::new(ErrorKind::Schema, message).with("table", request.name));
    }
    let mut notes = Vec::new();
    let same = request.engine == ENGINE;
    let renamed = rename_columns(request.table, &mut notes);
    let mut table = TableSchema::new(target_name(request, &mut notes));
    table.comment.clone_from(&request.table.comment);
    note_kind(request.table, &mut notes);
    if same {
        same_engine::fill(request, &renamed, &mut table, &mut notes);
    } else {
        other_engine::fill(request, &renamed, &mut table, &mut notes);
    }
    fill_keys(request, &renamed, &mut table, &mut notes);
    for trigger in &request.table.triggers {
        notes.push(format!("trigger {} is not carried over", trigger.name));
    }
    for obstacle in &request.table.write_obstacles {
        notes.push(format!("not carried over: {obstacle}"));
    }
    Ok(TablePlan { table, create: true, added: Vec::new(), notes })
}

/// The columns' names at the target, by their names in the request.
struct Renamed<'a> {
    names: HashMap<&'a str, String>,
}

impl Renamed<'_> {
    fn get(&self, name: &str) -> Option<&String> {
        self.names.get(name)
    }

    fn all(&self, names: &[String]) -> Option<Vec<String>> {
        names.iter().map(|n| self.get(n).cloned()).collect()
    }
}

fn rename_columns<'a>(table: &'a TableSchema, notes: &mut Vec<String>) -> Renamed<'a> {
    let given: HashSet<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
    let mut taken = HashSet::new();
    let mut names = HashMap::new();
    for (position, column) in table.columns.iter().enumerate() {
        // Names that can stay are taken first, so that a shortened one never pushes one of them aside.
        let mut others: HashSet<String> = taken.clone();
        others.extend(given.iter().filter(|n| **n != column.name).map(|n| (*n).to_owned()));
        let name = names::usable_column(&column.name, position, &others);
        if name != column.name {
            notes.push(format!("column {:?} is named {name:?}: PostgreSQL cannot hold the name", column.name));
        }
        taken.insert(name.clone());
        names.insert(column.name.as_str(), name);
    }
    Renamed { names }
}

fn target_name(request: &CreateRequest<'_>, notes: &mut Vec<String>) -> TableName {
    let schema = request.name.schema.as_deref().unwrap_or("public");
    let name = TableName::new(Some(&shorten(schema)), shorten(&request.name.name));
    if name.name != request.name.name {
        notes.push(format!("the table is named {:?}: PostgreSQL cannot hold the name", name.name));
    }
    name
}

fn note_kind(table: &TableSchema, notes: &mut Vec<String>) {
    let what = match table.kind {
        TableKind::Table => None,
        TableKind::Partitioned => Some("the partitioned table becomes one ordinary table with all rows"),
        TableKind::Partition => Some("the partition becomes an ordinary table"),
        TableKind::View => Some("the view becomes an ordinary table with the rows that it shows"),
        TableKind::MaterializedView => Some("the materialised view becomes an ordinary table with the rows that it holds"),
        TableKind::Foreign => Some("the foreign table becomes an ordinary table with the rows that it shows"),
        TableKind::Virtual => Some("the virtual table becomes an ordinary table with the rows that it shows"),
    };
    notes.extend(what.map(str::to_owned));
    if table.kind != TableKind::Partition {
        for parent in &table.parents {
            notes.push(format!("does not inherit from {parent} any more: it stands alone with all its columns"));
        }
    }
    for option in &table.options {
        // Said above in other words, or without meaning here: every PostgreSQL table is strict and none has a rowid.
        let known = option.starts_with("PARTITION BY")
            || option.starts_with("INHERITS")
            || option.eq_ignore_ascii_case("STRICT")
            || option.eq_ignore_ascii_case("WITHOUT ROWID");
        if !known {
            notes.push(format!("not carried over: {option}"));
        }
    }
}

/// Carries over primary key, unique constraints and foreign keys, which every engine declares alike.
fn fill_keys(request: &CreateRequest<'_>, renamed: &Renamed<'_>, table: &mut TableSchema, notes: &mut Vec<String>) {
    if let Some(mut key) = request.table.primary_key.clone() {
        match key_columns(table, renamed, &key.columns) {
            Ok(columns) => {
                key.name = key.name.map(|n| shorten(&n));
                for name in &columns {
                    if let Some(column) = table.columns.iter_mut().find(|c| &c.name == name)
                        && column.nullable
                    {
                        column.nullable = false;
                        // SQLite lets NULLs into primary keys; rows that have one are refused here.
                        notes.push(format!("column {name} allows no NULL: it is part of the primary key"));
                    }
                }
                key.columns = columns;
                table.primary_key = Some(key);
            }
            Err(why) => notes.push(format!("the primary key is not carried over: {why}")),
        }
    }
    let mut names = HashSet::new();
    for mut key in request.table.unique_keys.iter().cloned() {
        let spelled = key.columns.join(", ");
        match key_columns(table, renamed, &key.columns) {
            Ok(columns) => {
                key.name = key.name.map(|n| names::usable(&n, &names));
                names.extend(key.name.clone());
                key.columns = columns;
                table.unique_keys.push(key);
            }
            Err(why) => notes.push(format!("the unique constraint on ({spelled}) is not carried over: {why}")),
        }
    }
    for reference in &request.table.foreign_keys {
        let spelled = reference.columns.join(", ");
        match foreign_key(request, renamed, table, reference) {
            Ok(mut reference) => {
                reference.name = reference.name.map(|n| names::usable(&n, &names));
                names.extend(reference.name.clone());
                if !reference.validated && request.engine == ENGINE {
                    notes.push(format!(
                        "foreign key ({spelled}) was never checked at the source; rows without a parent will not keep it from being added"
                    ));
                }
                table.foreign_keys.push(reference);
            }
            Err(why) => notes.push(format!("foreign key ({spelled}) is not carried over: {why}")),
        }
    }
}

fn key_columns(table: &TableSchema, renamed: &Renamed<'_>, columns: &[String]) -> std::result::Result<Vec<String>, String> {
    let columns = renamed.all(columns).ok_or("a column of it is left out")?;
    if columns.len() > MOST_KEY_COLUMNS {
        return Err(format!("PostgreSQL's keys have at most {MOST_KEY_COLUMNS} columns"));
    }
    for name in &columns {
        let Some(column) = table.column(name) else { return Err("a column of it is left out".to_owned()) };
        if !types::is_ordered(&column.data_type, &column.native_type) {
            return Err(format!("PostgreSQL has no order for the type {} of column {name}", column.native_type));
        }
    }
    Ok(columns)
}

fn foreign_key(
    request: &CreateRequest<'_>,
    renamed: &Renamed<'_>,
    table: &TableSchema,
    reference: &ForeignKey,
) -> std::result::Result<ForeignKey, String> {
    let mut own = reference.clone();
    own.columns = renamed.all(&reference.columns).ok_or("a column of it is left out")?;
    if own.parent.schema.is_none() {
        own.parent.schema.clone_from(&table.name.schema);
    }
    own.parent.name = shorten(&own.parent.name);
    own.parent_columns = own.parent_columns.iter().map(|c| shorten(c)).collect();
    // The parent may carry another name by now; then the server has the last word, when the key is added.
    let itself = own.parent == table.name;
    let parent = if itself {
        Some(request.table)
    } else {
        request.database.tables.iter().find(|t| t.name == reference.parent).or_else(|| {
            let mut same = request.database.tables.iter().filter(|t| t.name.name == reference.parent.name);
            same.next().filter(|_| same.next().is_none())
        })
    };
    let Some(parent) = parent else { return Ok(own) };
    let parent_columns = match (reference.parent_columns.as_slice(), &parent.primary_key) {
        ([], Some(key)) => key.columns.clone(),
        ([], None) => return Err(format!("{} has no primary key", reference.parent)),
        (columns, _) => columns.to_vec(),
    };
    if parent_columns.len() != own.columns.len() {
        return Err(format!("the key of {} has another number of columns", reference.parent));
    }
    let known: Option<Vec<&ColumnSchema>> = parent_columns.iter().map(|c| parent.column(c)).collect();
    let Some(known) = known else { return Ok(own) };
    if !parent.is_unique(&parent_columns) {
        return Err(format!("({}) is no key of {}", parent_columns.join(", "), reference.parent));
    }
    if request.engine == ENGINE {
        return Ok(own);
    }
    for (name, theirs) in own.columns.iter().zip(known) {
        let theirs = types::to_postgres(&theirs.portable_type);
        if table.column(name).is_some_and(|mine| !types::can_refer(&mine.data_type, &theirs.data_type)) {
            return Err(format!("column {name} and the column it refers to have types that PostgreSQL does not compare"));
        }
    }
    Ok(own)
}

/// How a planned column's identity numbers, as far as its type goes.
fn numbering(column: &ColumnSchema) -> Option<Numbering> {
    let (least, most) = match column.data_type {
        DataType::Int16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        DataType::Int32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    };
    let own = column.numbering.clone().filter(|_| column.identity.is_some())?;
    let (least, most) = (own.least.max(least), own.most.min(most));
    Some(Numbering { start: own.start.clamp(least, most.max(least)), least, most, ..own })
}

/// Clips an expression for a note.
fn clipped(expression: &str) -> String {
    let line: String = expression.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(80) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// Names a column in a note.
fn column_note(name: &str, what: impl std::fmt::Display) -> String {
    format!("column {}: {what}", quote_ident(name))
}
