//! Pieces of SQL text.

use crate::error::from_sqlite;
use migrate_core::error::Result;
use rusqlite::{Connection, Statement};
use std::fmt::Write;

/// Quotes an identifier, doubling the quotes in it.
pub(crate) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a text literal, doubling the quotes in it. For pragmas' arguments and DDL only: values are bound.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Names a table of the main database.
pub(crate) fn table(name: &str) -> String {
    format!("\"main\".{}", ident(name))
}

/// Names a column with its table: SQLite takes a bare `"name"` that no column has for a text literal.
pub(crate) fn column(table: &str, name: &str) -> String {
    format!("{}.{}", ident(table), ident(name))
}

/// Quotes identifiers and joins them by commas.
pub(crate) fn idents<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let mut list = String::new();
    for name in names {
        // Writing to a String cannot fail.
        let _ = write!(list, "{}{}", if list.is_empty() { "" } else { ", " }, ident(name));
    }
    list
}

/// Prepares a statement that reads one table.
///
/// An index over a collation that only its application knows cannot be opened by anybody else, not even to count rows: where
/// SQLite picks such a one, the table is read without its indexes.
pub(crate) fn prepare<'c>(connection: &'c Connection, sql: &str, name: &str, what: &'static str) -> Result<Statement<'c>> {
    let error = match connection.prepare(sql) {
        Ok(statement) => return Ok(statement),
        Err(error) => error,
    };
    if error.to_string().contains("no such collation sequence") {
        let from = format!("FROM {}", table(name));
        if let Ok(statement) = connection.prepare(&sql.replacen(&from, &format!("{from} NOT INDEXED"), 1)) {
            return Ok(statement);
        }
    }
    Err(from_sqlite(&error, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_in_names_are_doubled() {
        assert_eq!(ident("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(column("Order Details", "year.key"), "\"Order Details\".\"year.key\"");
        assert_eq!(idents(["a", "2B"]), "\"a\", \"2B\"");
        assert_eq!(table("x"), "\"main\".\"x\"");
    }
}
