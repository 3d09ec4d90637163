//! Prints the statements that create tables and indexes.

use crate::ddl::tokens::{Token, tokenize};
use crate::sql::ident;
use migrate_core::schema::{ColumnSchema, ForeignKey, Identity, Index, TableName, TableSchema, UniqueKey};
use std::fmt::Write;

/// Prints the `CREATE TABLE` of a table with its keys, references and checks, which SQLite cannot add later.
pub(crate) fn create_table(table: &TableSchema) -> String {
    let mut parts: Vec<String> = table.columns.iter().map(|c| column(c, table)).collect();
    let inline_key = table.columns.iter().any(|c| inline_key(c, table));
    if let Some(key) = &table.primary_key
        && !inline_key
    {
        parts.push(key_constraint("PRIMARY KEY", key));
    }
    parts.extend(table.unique_keys.iter().map(|k| key_constraint("UNIQUE", k)));
    parts.extend(table.checks.iter().map(|c| format!("{}CHECK ({})", constraint_name(c.name.as_deref()), c.expression)));
    parts.extend(table.foreign_keys.iter().map(foreign_key));
    let options = table.options.join(", ");
    let space = if options.is_empty() { "" } else { " " };
    format!("CREATE TABLE {} (\n  {}\n){space}{options}", ident(&table.name.name), parts.join(",\n  "))
}

/// Prints the statement that adds a column to a table.
pub(crate) fn add_column(table: &TableSchema, added: &ColumnSchema) -> String {
    format!("ALTER TABLE main.{} ADD COLUMN {}", ident(&table.name.name), column(added, table))
}

/// Prints the `CREATE INDEX` of an index under a name.
pub(crate) fn create_index(index: &Index, name: &str, table: &TableName) -> String {
    let unique = if index.unique { "UNIQUE " } else { "" };
    let parts = index.parts.iter().map(|part| {
        let mut sql = match (&part.column, &part.expression) {
            (Some(column), _) => ident(column),
            (None, Some(expression)) => expression.clone(),
            (None, None) => String::new(),
        };
        if let Some(collation) = &part.collation {
            sql = format!("{sql} COLLATE {}", ident(collation));
        }
        if part.descending {
            sql.push_str(" DESC");
        }
        sql
    });
    let parts = parts.collect::<Vec<_>>().join(", ");
    let mut sql = format!("CREATE {unique}INDEX {} ON {} ({parts})", ident(name), ident(&table.name));
    if let Some(predicate) = &index.predicate {
        // Writing to a String cannot fail.
        let _ = write!(sql, " WHERE {predicate}");
    }
    sql
}

/// Whether the column itself says PRIMARY KEY, which makes it the rowid.
fn inline_key(column: &ColumnSchema, table: &TableSchema) -> bool {
    matches!(column.identity, Some(Identity::RowId { .. }))
        && table.primary_key.as_ref().is_some_and(|key| key.columns == [column.name.clone()])
}

fn column(column: &ColumnSchema, table: &TableSchema) -> String {
    let mut sql = ident(&column.name);
    if !column.native_type.is_empty() {
        sql.push(' ');
        sql.push_str(&column.native_type);
    }
    if inline_key(column, table) {
        if let Some(name) = table.primary_key.as_ref().and_then(|k| k.name.as_deref()) {
            sql.push_str(&format!(" CONSTRAINT {}", ident(name)));
        }
        sql.push_str(" PRIMARY KEY");
        if matches!(column.identity, Some(Identity::RowId { autoincrement: true })) {
            sql.push_str(" AUTOINCREMENT");
        }
    }
    if !column.nullable {
        sql.push_str(" NOT NULL");
    }
    if let Some(default) = &column.default {
        sql.push_str(" DEFAULT ");
        sql.push_str(&default_clause(default));
    }
    if let Some(collation) = &column.collation {
        sql.push_str(&format!(" COLLATE {}", ident(collation)));
    }
    if let Some(generated) = &column.generated {
        let kind = if generated.stored { "STORED" } else { "VIRTUAL" };
        sql.push_str(&format!(" GENERATED ALWAYS AS ({}) {kind}", generated.expression));
    }
    sql
}

/// A literal stands bare, so that a double-quoted text is not taken for a column; an expression needs brackets.
fn default_clause(default: &str) -> String {
    let bare = match tokenize(default).as_deref() {
        Some([Token::Symbol(sign), Token::Number(_)]) => sign == "-" || sign == "+",
        Some([Token::Word(_) | Token::Quoted(_) | Token::Text(_) | Token::Number(_)]) => true,
        // X'…' is a word and a text.
        Some([Token::Word(prefix), Token::Text(_)]) => prefix.eq_ignore_ascii_case("x"),
        Some(_) | None => false,
    };
    if bare { default.to_owned() } else { format!("({default})") }
}

fn constraint_name(name: Option<&str>) -> String {
    name.map(|n| format!("CONSTRAINT {} ", ident(n))).unwrap_or_default()
}

fn quoted_list(columns: &[String]) -> String {
    columns.iter().map(|c| ident(c)).collect::<Vec<_>>().join(", ")
}

fn key_constraint(kind: &str, key: &UniqueKey) -> String {
    format!("{}{kind} ({})", constraint_name(key.name.as_deref()), quoted_list(&key.columns))
}

fn foreign_key(key: &ForeignKey) -> String {
    let mut sql = format!(
        "{}FOREIGN KEY ({}) REFERENCES {}",
        constraint_name(key.name.as_deref()),
        quoted_list(&key.columns),
        ident(&key.parent.name)
    );
    if !key.parent_columns.is_empty() {
        sql.push_str(&format!(" ({})", quoted_list(&key.parent_columns)));
    }
    for (event, action) in [("UPDATE", key.on_update), ("DELETE", key.on_delete)] {
        if action != migrate_core::schema::ForeignKeyAction::NoAction {
            sql.push_str(&format!(" ON {event} {}", action.as_sql()));
        }
    }
    if key.deferrable {
        sql.push_str(if key.initially_deferred { " DEFERRABLE INITIALLY DEFERRED" } else { " DEFERRABLE INITIALLY IMMEDIATE" });
    }
    sql
}
