//! Tables that come from another engine: types in a storage that keeps every value, and of the rest what means the same.

use super::{PLACEHOLDER_COLUMN, condition, default, has_columns, listed, own_name};
use crate::declared_type;
use crate::sql::{ident, literal};
use migrate_core::Result;
use migrate_core::schema::{Check, ColumnSchema, ForeignKey, Identity, Index, IndexPart, TableName, TableSchema, UniqueKey};
use migrate_core::sink::CreateRequest;
use migrate_core::value::{Affinity, DataType};

/// Translates a table.
pub(super) fn translate(request: &CreateRequest<'_>, name: TableName, notes: &mut Vec<String>) -> Result<TableSchema> {
    let source = request.table;
    let mut table = TableSchema::new(name);
    table.columns = source.columns.iter().map(|c| column(c, source, notes)).collect();
    if table.columns.is_empty() {
        table.columns.push(placeholder());
        notes.push(format!("the source has no column; the target gets the empty column {PLACEHOLDER_COLUMN}"));
    }
    if let Some(key) = &source.primary_key
        && has_columns(&table, &key.columns, "the primary key", notes)
    {
        primary_key(&mut table, source, key, notes);
    }
    for key in &source.unique_keys {
        unique_key(&mut table, source, key, notes);
    }
    for reference in &source.foreign_keys {
        let what = format!("the foreign key on {}", listed(&reference.columns));
        if has_columns(&table, &reference.columns, &what, notes) {
            if reference.match_full && reference.columns.len() > 1 {
                notes.push(format!("{what} is MATCH FULL; SQLite lets a row pass that is NULL in some of its columns"));
            }
            table.foreign_keys.push(ForeignKey { parent: own_name(&reference.parent), match_full: false, ..reference.clone() });
        }
    }
    for check in &source.checks {
        let label = check.name.as_deref().unwrap_or("without a name");
        match condition::translate(&check.expression, source) {
            Some(_) if !check.validated => {
                notes.push(format!(
                    "check {label} is not carried over: older rows may break it, and SQLite's checks hold for all"
                ));
            }
            Some(expression) => table.checks.push(Check::new(check.name.clone(), expression)),
            None => notes.push(format!("check {label} is not carried over: its condition may mean something else in SQLite")),
        }
    }
    for column in &source.columns {
        if let DataType::Enum { labels, .. } = &column.data_type {
            table.checks.push(enum_check(&column.name, labels));
        }
    }
    for index in &source.indexes {
        if let Some(index) = carry_index(index, &table, source, notes) {
            table.indexes.push(index);
        }
    }
    let comments = source.columns.iter().filter(|c| c.comment.is_some()).count() + usize::from(source.comment.is_some());
    if comments > 0 {
        notes.push(format!("{comments} comment(s) are not carried over: SQLite has none"));
    }
    for obstacle in &source.options {
        notes.push(format!("table option {obstacle} is not carried over"));
    }
    Ok(table)
}

/// The one column of a table that would have none.
pub(super) fn placeholder() -> ColumnSchema {
    let data_type = DataType::Dynamic { affinity: Affinity::Blob };
    ColumnSchema {
        name: PLACEHOLDER_COLUMN.to_owned(),
        portable_type: data_type.clone(),
        data_type,
        native_type: String::new(),
        nullable: true,
        default: None,
        generated: None,
        identity: None,
        numbering: None,
        collation: None,
        comment: None,
    }
}

fn column(source: &ColumnSchema, table: &TableSchema, notes: &mut Vec<String>) -> ColumnSchema {
    let logical = match &source.data_type {
        DataType::Dynamic { .. } => source.portable_type.clone(),
        other => other.clone(),
    };
    let name = &source.name;
    let (native_type, declared) = declared_type::declare(&logical);
    let mut default = None;
    if source.generated.is_some() {
        notes.push(format!("column {name} is generated at the source; the target holds its values in a plain column"));
    } else if let Some(expression) = &source.default {
        match default::translate(expression, &logical) {
            default::Default::Same(sql) => default = Some(sql),
            default::Default::Near(sql, difference) => {
                notes.push(format!("the default of column {name} differs: {difference}"));
                default = Some(sql);
            }
            default::Default::None => {}
            default::Default::Unknown => {
                notes.push(format!("the default of column {name} is not carried over: SQLite has no such expression"))
            }
        }
    }
    let numbered = source.identity.is_some() && !(integer(&logical) && single_key(table, name));
    if numbered {
        default = None;
        notes.push(format!("column {name} is numbered by the source; SQLite numbers a single integer primary key only"));
    }
    if let Some(numbering) = source.numbering.as_ref().filter(|n| !numbered && !n.is_plain()) {
        notes.push(format!("column {name} is numbered by one in SQLite, not by {}", numbering.rule()));
    }
    if let Some(collation) = source.collation.as_deref().filter(|c| !["C", "POSIX", "default"].contains(c)) {
        notes.push(format!("column {name} is compared by its bytes in SQLite, not by the collation {collation}"));
    }
    if source.native_type.eq_ignore_ascii_case("citext") || source.native_type.ends_with(".citext") {
        notes.push(format!("column {name} is compared to the letter in SQLite, upper and lower case apart"));
    }
    ColumnSchema {
        name: name.clone(),
        data_type: declared.data_type,
        native_type,
        portable_type: declared.portable_type,
        nullable: source.nullable,
        default,
        generated: None,
        identity: None,
        numbering: None,
        collation: None,
        comment: None,
    }
}

fn integer(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int16 | DataType::Int32 | DataType::Int64)
}

fn single_key(table: &TableSchema, column: &str) -> bool {
    table.primary_key.as_ref().is_some_and(|key| key.columns.len() == 1 && key.columns[0] == column)
}

fn primary_key(table: &mut TableSchema, source: &TableSchema, key: &UniqueKey, notes: &mut Vec<String>) {
    for name in &key.columns {
        let Some(column) = table.columns.iter_mut().find(|c| &c.name == name) else { continue };
        column.nullable = false;
        let logical = source.column(name).map(|c| match &c.data_type {
            DataType::Dynamic { .. } => &c.portable_type,
            other => other,
        });
        if key.columns.len() == 1 && logical.is_some_and(integer) {
            column.native_type = "INTEGER".to_owned();
            column.data_type = DataType::Dynamic { affinity: Affinity::Integer };
            column.portable_type = DataType::Int64;
            // Numbers that a sequence has given out are never given again, which SQLite promises with AUTOINCREMENT only.
            let numbering = source.column(name).filter(|c| c.identity.is_some()).and_then(|c| c.numbering.clone());
            let counts_up = numbering.filter(|n| n.increment > 0 && !n.cycle);
            column.identity = Some(Identity::RowId { autoincrement: counts_up.is_some() });
            column.numbering = counts_up;
            // The table numbers the column by itself; a default would never be used.
            column.default = None;
        }
    }
    if key.deferrable {
        notes.push("the primary key is checked at once: SQLite cannot put it off".to_owned());
    }
    table.primary_key = Some(UniqueKey { name: key.name.clone(), ..UniqueKey::new(key.columns.clone()) });
    number_index(table, source, key);
}

/// Adds the index that takes 1.0 and 1.00 for one key, where the key has a decimal that keeps its zeros.
fn number_index(table: &mut TableSchema, source: &TableSchema, key: &UniqueKey) {
    if let Some(parts) = number_parts(&key.columns, source) {
        let name = format!("{}_{}_number", table.name.name, key.columns.join("_"));
        let index = Index {
            name,
            unique: true,
            method: "btree".into(),
            parts,
            predicate: None,
            definition: String::new(),
            extensions: Vec::new(),
        };
        table.indexes.push(finish_index(index, table));
    }
}

fn number_parts(columns: &[String], source: &TableSchema) -> Option<Vec<IndexPart>> {
    let keeps_zeros =
        |name: &String| source.column(name).is_some_and(|c| matches!(c.data_type, DataType::Decimal { scale: None, .. }));
    if !columns.iter().any(keeps_zeros) {
        return None;
    }
    let part = |name: &String| {
        if keeps_zeros(name) {
            IndexPart { column: None, expression: Some(super::number_expression(name)), descending: false, collation: None }
        } else {
            plain_part(name, false)
        }
    };
    Some(columns.iter().map(part).collect())
}

/// Makes a unique constraint a unique index, which means the same to SQLite and can be built after the load.
fn unique_key(table: &mut TableSchema, source: &TableSchema, key: &UniqueKey, notes: &mut Vec<String>) {
    let name = key.name.clone().unwrap_or_else(|| format!("{}_{}_key", table.name.name, key.columns.join("_")));
    let what = format!("unique constraint {name}");
    if !has_columns(table, &key.columns, &what, notes) {
        return;
    }
    if key.deferrable {
        notes.push(format!("{what} is checked at once: SQLite cannot put it off"));
    }
    if key.nulls_not_distinct {
        notes.push(format!("{what} takes NULLs for different in SQLite"));
    }
    number_index(table, source, key);
    let parts = key.columns.iter().map(|c| plain_part(c, false)).collect();
    table.indexes.push(finish_index(
        Index {
            name,
            unique: true,
            method: "btree".into(),
            parts,
            predicate: None,
            definition: String::new(),
            extensions: Vec::new(),
        },
        table,
    ));
}

fn plain_part(column: &str, descending: bool) -> IndexPart {
    IndexPart { column: Some(column.to_owned()), expression: None, descending, collation: None }
}

fn finish_index(mut index: Index, table: &TableSchema) -> Index {
    index.definition = super::create_index(&index, &index.name, &table.name);
    index
}

fn carry_index(index: &Index, table: &TableSchema, source: &TableSchema, notes: &mut Vec<String>) -> Option<Index> {
    let what = format!("{}index {}", if index.unique { "unique " } else { "" }, index.name);
    if !["btree", "hash"].contains(&index.method.as_str()) {
        notes.push(format!("{what} is not carried over: SQLite has no {} indexes", index.method));
        return None;
    }
    if index.parts.iter().any(|p| p.column.is_none()) {
        notes.push(format!("{what} is not carried over: its expression may mean something else in SQLite"));
        return None;
    }
    if !has_columns(table, index.parts.iter().filter_map(|p| p.column.as_ref()), &what, notes) {
        return None;
    }
    let predicate = match &index.predicate {
        None => None,
        Some(predicate) => {
            let Some(translated) = condition::translate(predicate, source) else {
                notes.push(format!("{what} is not carried over: its condition may mean something else in SQLite"));
                return None;
            };
            Some(translated)
        }
    };
    if index.unique && index.definition.to_ascii_uppercase().contains("NULLS NOT DISTINCT") {
        notes.push(format!("{what} takes NULLs for different in SQLite"));
    }
    let parts = index.parts.iter().map(|p| plain_part(p.column.as_deref().unwrap_or_default(), p.descending)).collect();
    Some(finish_index(
        Index {
            name: index.name.clone(),
            unique: index.unique,
            method: "btree".into(),
            parts,
            predicate,
            definition: String::new(),
            extensions: Vec::new(),
        },
        table,
    ))
}

/// The check that keeps a column to the labels of its enumeration.
fn enum_check(column: &str, labels: &[String]) -> Check {
    let labels = labels.iter().map(|l| literal(l)).collect::<Vec<_>>().join(", ");
    let quoted = ident(column);
    let expression = if labels.is_empty() { format!("{quoted} IS NULL") } else { format!("{quoted} IN ({labels})") };
    Check::new(None, expression)
}
