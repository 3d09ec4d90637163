//! The queries that read a table: what is selected, from where, and which rows.

use crate::sql::{compare_row, quote_ident, quote_literal, quote_table};
use migrate_core::filter::{Filter, Parameter};
use migrate_core::schema::{ColumnSchema, TableKind, TableSchema};
use migrate_core::source::PageRequest;
use migrate_core::value::{DataType, Key, PageColumn, text};
use migrate_core::{Error, ErrorKind, Result};
use std::sync::Arc;

/// A filter with its parameters already turned into SQL expressions; see [`crate::view::Session::render_filter`].
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Condition(pub(crate) Option<String>);

/// Finds columns by name.
pub(crate) fn columns_of<'a>(table: &'a TableSchema, names: &[String]) -> Result<Vec<&'a ColumnSchema>> {
    let find = |name: &String| {
        table.read_column(name).ok_or_else(|| {
            let hint = migrate_core::hint::nearest(name, table.columns.iter().map(|c| c.name.as_str()));
            Error::new(ErrorKind::Schema, format!("there is no column {name}{hint}")).with("table", &table.name)
        })
    };
    names.iter().map(find).collect()
}

/// Returns the page columns of a request.
pub(crate) fn page_columns(columns: &[&ColumnSchema]) -> Arc<[PageColumn]> {
    columns.iter().map(|c| PageColumn { name: c.name.clone(), data_type: c.data_type.clone() }).collect()
}

/// A column to select, and what stands for it in SQL: its name, or the expression that it is made by.
#[derive(Debug, Clone)]
pub(crate) struct Selected<'a> {
    pub(crate) column: &'a ColumnSchema,
    pub(crate) sql: String,
}

impl<'a> Selected<'a> {
    /// Takes a column of the table's own.
    pub(crate) fn own(column: &'a ColumnSchema) -> Self {
        Selected { column, sql: quote_ident(&column.name) }
    }
}

/// Renders what a column is selected as: itself where its binary form is understood, else the text that its type prints.
///
/// A cast to text is not always that text: `inet` adds a network mask and `xml` keeps an encoding that no longer holds, and so
/// may a cast that somebody defined for a type of his own.
pub(crate) fn select_expression(Selected { column, sql: name }: &Selected<'_>) -> String {
    match &column.data_type {
        DataType::Other { name: type_name } if casts_as_it_prints(type_name) => format!("{name}::pg_catalog.text"),
        DataType::Other { .. } => {
            // A row of NULLs `IS NULL`, but is a value; `IS NOT DISTINCT FROM` looks at the datum alone.
            format!("CASE WHEN {name} IS NOT DISTINCT FROM NULL THEN NULL ELSE pg_catalog.format('%s', {name}) END")
        }
        _ => name.clone(),
    }
}

fn casts_as_it_prints(type_name: &str) -> bool {
    // Types outside of pg_catalog are printed with their schema. Arrays have no casts of their own.
    let built_in = !type_name.contains('.') && !type_name.starts_with('"');
    type_name.ends_with("[]") || (built_in && !matches!(type_name, "inet" | "xml"))
}

/// Renders the list of a SELECT of the table's own columns.
pub(crate) fn select_list(columns: &[&ColumnSchema]) -> String {
    select_list_of(&columns.iter().map(|column| Selected::own(column)).collect::<Vec<_>>())
}

/// Renders the list of a SELECT.
pub(crate) fn select_list_of(columns: &[Selected<'_>]) -> String {
    columns.iter().map(select_expression).collect::<Vec<_>>().join(", ")
}

/// Renders the table: `ONLY` where inheriting tables would add their rows, which are entities of their own.
pub(crate) fn from_item(table: &TableSchema) -> String {
    match table.kind {
        TableKind::Table | TableKind::Foreign => format!("ONLY {}", quote_table(&table.name)),
        TableKind::Partitioned | TableKind::Partition | TableKind::View | TableKind::MaterializedView | TableKind::Virtual => {
            quote_table(&table.name)
        }
    }
}

/// Renders the conditions of a request: the range, in the server's own order, and the filter.
pub(crate) fn conditions(request: &PageRequest<'_>, key: &[&ColumnSchema], condition: &Condition) -> Result<String> {
    let names: Vec<String> = key.iter().map(|c| quote_ident(&c.name)).collect();
    let mut all = Vec::new();
    for (bound, operator) in [(&request.range.after, ">"), (&request.range.up_to, "<=")] {
        if let Some(bound) = bound {
            all.push(compare_row(&names, operator, &key_literals(bound, key, request.table)?));
        }
    }
    if let Some(only) = request.only {
        all.push(some_keys(only, key, request.table)?);
    }
    if let Some(filter) = &condition.0 {
        // The line break ends a comment that the filter may end with.
        all.push(format!("({filter}\n)"));
    }
    Ok(if all.is_empty() { String::new() } else { format!(" WHERE {}", all.join(" AND ")) })
}

/// Renders the condition that a row has one of these keys.
pub(crate) fn some_keys(keys: &[Key], columns: &[&ColumnSchema], table: &TableSchema) -> Result<String> {
    let mut rows = Vec::with_capacity(keys.len());
    for one in keys {
        rows.push(key_literals(one, columns, table)?.join(", "));
    }
    let names: Vec<String> = columns.iter().map(|c| quote_ident(&c.name)).collect();
    // A list is looked up in the index value by value; rows may be joined, once for equal ones.
    match (names.as_slice(), rows.is_empty()) {
        ([], _) => Err(Error::new(ErrorKind::Unsupported, "rows of a table without a key cannot be asked for by key")),
        (_, true) => Ok("false".to_owned()),
        ([name], false) => Ok(format!("{name} IN ({})", rows.join(", "))),
        (names, false) => Ok(format!("({}) IN (VALUES ({}))", names.join(", "), rows.join("), ("))),
    }
}

/// Renders `ORDER BY` the key, or nothing for a table without one.
///
/// Qualified by the table's name: a bare name would mean the output column, which may be the text of the key's value.
pub(crate) fn order_by(table: &TableSchema, key: &[&ColumnSchema]) -> String {
    if key.is_empty() {
        return String::new();
    }
    let qualifier = quote_ident(&table.name.name);
    let names: Vec<String> = key.iter().map(|c| format!("{qualifier}.{}", quote_ident(&c.name))).collect();
    format!(" ORDER BY {}", names.join(", "))
}

/// Renders the values of a key, each as a literal of its column's type.
pub(crate) fn key_literals(key: &Key, columns: &[&ColumnSchema], table: &TableSchema) -> Result<Vec<String>> {
    let values = key.values()?;
    if values.len() != columns.len() {
        let message = format!("a key of {} values does not fit a key of {} columns", values.len(), columns.len());
        return Err(Error::new(ErrorKind::Schema, message).with("table", &table.name));
    }
    let mut literals = Vec::with_capacity(values.len());
    for (value, column) in values.iter().zip(columns) {
        if value.is_null() {
            return Err(null_key(table, &column.name));
        }
        literals.push(format!("{}::{}", quote_literal(&text::to_text(value)), comparison_type(column)));
    }
    Ok(literals)
}

/// Says that a key column holds NULL, which identifies no row.
pub(crate) fn null_key(table: &TableSchema, column: &str) -> Error {
    Error::new(ErrorKind::Schema, "a key column holds NULL, which identifies no row")
        .with("column", column)
        .with("table", &table.name)
}

/// Names the type that a key's literal is cast to, without modifiers: a boundary must never be cut to a length.
fn comparison_type(column: &ColumnSchema) -> String {
    let built_in = match &column.data_type {
        DataType::Bool => "bool",
        DataType::Int16 => "int2",
        DataType::Int32 => "int4",
        DataType::Int64 => "int8",
        DataType::Float32 => "float4",
        DataType::Float64 => "float8",
        DataType::Decimal { .. } => "numeric",
        // `name` sorts by bytes whatever the database's collation, and so must a boundary.
        DataType::Text { .. } if column.native_type == "name" => "name",
        DataType::Text { .. } if column.native_type == "bpchar" => "bpchar",
        DataType::Text { .. } => "text",
        DataType::Char { .. } => "bpchar",
        DataType::Bytes => "bytea",
        DataType::Date => "date",
        DataType::Time { .. } => "time",
        DataType::TimeTz { .. } => "timetz",
        DataType::Timestamp { .. } => "timestamp",
        DataType::TimestampTz { .. } => "timestamptz",
        DataType::Interval => "interval",
        DataType::Uuid => "uuid",
        DataType::Json => "json",
        DataType::Jsonb => "jsonb",
        DataType::Enum { name, .. } | DataType::Other { name } => return name.clone(),
        _ => return column.native_type.clone(),
    };
    format!("pg_catalog.{built_in}")
}

/// Returns the schemas, quoted, of key types whose operators live outside of pg_catalog, such as citext's.
pub(crate) fn operator_schemas(key: &[&ColumnSchema]) -> Vec<String> {
    let mut schemas = Vec::new();
    for column in key {
        if let DataType::Other { name } = &column.data_type
            && let Some(schema) = schema_of(name).filter(|s| !schemas.contains(s))
        {
            schemas.push(schema);
        }
    }
    schemas
}

/// Cuts the schema, as it is quoted, off a type's name.
fn schema_of(type_name: &str) -> Option<String> {
    let mut quoted = false;
    for (at, c) in type_name.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => return Some(type_name[..at].to_owned()),
            '(' if !quoted => return None,
            _ => {}
        }
    }
    None
}

/// Says what a filter's parameter is set to and which type it has, as a literal in its place would have.
pub(crate) enum Rendered {
    /// A setting's text and the type that it is cast to.
    Typed(String, &'static str),
    /// A setting's text whose type the server infers from its place.
    Inferred(String),
}

/// Renders a parameter.
pub(crate) fn parameter(value: &Parameter) -> Rendered {
    match value {
        Parameter::Bool(v) => Rendered::Typed(v.to_string(), "bool"),
        Parameter::Int(v) if i32::try_from(*v).is_ok() => Rendered::Typed(v.to_string(), "int4"),
        Parameter::Int(v) => Rendered::Typed(v.to_string(), "int8"),
        Parameter::Float(v) if v.is_finite() => Rendered::Typed(v.to_string(), "numeric"),
        Parameter::Float(v) => Rendered::Typed(v.to_string(), "float8"),
        Parameter::Text(v) => Rendered::Inferred(v.clone()),
    }
}

/// Returns whether SQL of the user's own runs in a query on this table: then the role's search path decides, as it would for him.
pub(crate) fn runs_users_sql(table: &TableSchema, filter: Option<&Filter>) -> bool {
    let indirect = match table.kind {
        TableKind::View | TableKind::MaterializedView | TableKind::Foreign => true,
        TableKind::Table | TableKind::Partitioned | TableKind::Partition | TableKind::Virtual => false,
    };
    indirect || filter.is_some() || !table.computed.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_of_a_type_is_found_whatever_its_quotes() {
        assert_eq!(schema_of("public.citext").as_deref(), Some("public"));
        assert_eq!(schema_of("\"odd.one\".\"t\"").as_deref(), Some("\"odd.one\""));
        assert_eq!(schema_of("int4range"), None);
        assert_eq!(schema_of("\"odd.name\""), None);
    }
}
