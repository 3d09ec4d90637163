//! Planning a table that comes from another engine: portable types, literal defaults, simple checks and plain indexes.

use super::checks::{self, Named};
use super::defaults::{self, Default};
use super::{Renamed, clipped, column_note, names, types};
use crate::sql::{quote_ident, quote_literal};
use migrate_core::schema::{Check, ColumnSchema, Identity, Index, IndexPart, TableSchema};
use migrate_core::sink::CreateRequest;
use migrate_core::value::DataType;
use std::collections::HashSet;

/// Fills in columns, checks and indexes.
pub(super) fn fill(request: &CreateRequest<'_>, renamed: &Renamed<'_>, table: &mut TableSchema, notes: &mut Vec<String>) {
    for column in &request.table.columns {
        if let Some(name) = renamed.get(&column.name) {
            let own = map_column(column, name, table, notes);
            table.columns.push(own);
        }
    }
    let named: Vec<Named<'_>> = request
        .table
        .columns
        .iter()
        .zip(&table.columns)
        .map(|(from, to)| Named { source: &from.name, target: &to.name, data_type: &to.data_type })
        .collect();
    let mut carried = Vec::new();
    for check in &request.table.checks {
        let label = check.name.clone().unwrap_or_else(|| clipped(&check.expression));
        match checks::translate(&check.expression, &named) {
            Some(expression) => carried.push(Check::new(check.name.as_deref().map(super::shorten), expression)),
            None => notes.push(format!("check {label} is not carried over: it may mean something else in PostgreSQL")),
        }
    }
    table.checks.extend(carried);
    let mut taken = HashSet::new();
    for index in &request.table.indexes {
        match map_index(index, renamed, table, &taken, notes) {
            Ok(index) => {
                taken.insert(index.name.clone());
                table.indexes.push(index);
            }
            Err(why) => notes.push(format!("index {} is not carried over: {why}", index.name)),
        }
    }
}

fn map_column(column: &ColumnSchema, name: &str, table: &mut TableSchema, notes: &mut Vec<String>) -> ColumnSchema {
    let mapped = types::to_postgres(&column.portable_type);
    if let Some(note) = mapped.note {
        notes.push(column_note(name, note));
    }
    if let DataType::Enum { labels, .. } = &column.portable_type {
        let list: Vec<String> = labels.iter().map(|l| quote_literal(l)).collect();
        // Without a label no value is allowed; SQL has no empty list.
        let list = if list.is_empty() { "NULL".to_owned() } else { list.join(", ") };
        table.checks.push(Check::new(None, format!("{} IN ({list})", quote_ident(name))));
    }
    let numbered = column.identity.is_some() && matches!(mapped.data_type, DataType::Int16 | DataType::Int32 | DataType::Int64);
    let identity = match &column.identity {
        Some(Identity::Always) if numbered => Some(Identity::Always),
        Some(_) if numbered => Some(Identity::ByDefault),
        // The job asks for values that the table gives by itself.
        Some(_) if types::given(&mapped.data_type).is_some() => None,
        Some(_) => {
            notes.push(column_note(name, format_args!("is not numbered by PostgreSQL: its type is {}", mapped.native)));
            None
        }
        None => None,
    };
    if column.generated.is_some() {
        notes.push(column_note(name, "is filled with the source's values instead of being generated"));
    }
    let default = match &column.default {
        Some(default) if identity.is_none() && column.generated.is_none() => {
            match defaults::translate(default, &mapped.data_type) {
                Default::Carried(sql) => Some(sql),
                Default::None => None,
                Default::Lost => {
                    notes.push(column_note(name, format_args!("its default {} is not carried over", clipped(default))));
                    None
                }
            }
        }
        _ => None,
    };
    let default = default.or_else(|| column.identity.as_ref().and_then(|_| types::given(&mapped.data_type)));
    if let Some(collation) = column.collation.as_deref().filter(|c| !c.eq_ignore_ascii_case("BINARY")) {
        notes.push(column_note(
            name,
            format_args!("its collation {collation} is not carried over: texts are compared as they are"),
        ));
    }
    let mut own = ColumnSchema {
        name: name.to_owned(),
        portable_type: mapped.data_type.clone(),
        data_type: mapped.data_type,
        native_type: mapped.native,
        nullable: column.nullable && identity.is_none(),
        default,
        generated: None,
        identity,
        numbering: column.numbering.clone(),
        collation: None,
        comment: column.comment.clone(),
    };
    own.numbering = super::numbering(&own);
    own
}

fn map_index(
    index: &Index,
    renamed: &Renamed<'_>,
    table: &TableSchema,
    taken: &HashSet<String>,
    notes: &mut Vec<String>,
) -> Result<Index, String> {
    if index.predicate.is_some() {
        return Err("it is partial, and its condition may mean something else in PostgreSQL".to_owned());
    }
    if index.parts.len() > super::MOST_KEY_COLUMNS {
        return Err(format!("PostgreSQL's indexes have at most {} columns", super::MOST_KEY_COLUMNS));
    }
    let mut parts = Vec::with_capacity(index.parts.len());
    for part in &index.parts {
        let Some(column) = &part.column else {
            return Err("it has an expression, which may mean something else in PostgreSQL".to_owned());
        };
        let name = renamed.get(column).ok_or("a column of it is left out")?;
        let target = table.column(name).ok_or("a column of it is left out")?;
        if !types::is_ordered(&target.data_type, &target.native_type) {
            return Err(format!("PostgreSQL has no order for the type {} of column {name}", target.native_type));
        }
        if let Some(collation) = part.collation.as_deref().filter(|c| !c.eq_ignore_ascii_case("BINARY")) {
            notes.push(format!("index {} is made without the collation {collation}", index.name));
        }
        parts.push(IndexPart { column: Some(name.clone()), expression: None, descending: part.descending, collation: None });
    }
    Ok(Index {
        name: names::usable(&index.name, taken),
        unique: index.unique,
        method: "btree".to_owned(),
        parts,
        predicate: None,
        definition: String::new(),
        extensions: Vec::new(),
    })
}
