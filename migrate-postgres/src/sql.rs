//! Writing SQL: names and literals, always quoted.

use migrate_core::schema::TableName;
use std::fmt::Write;

/// Quotes a name, whatever it holds.
pub(crate) fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a text literal so that it reads the same whatever `standard_conforming_strings` says.
pub(crate) fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    // A leading blank keeps the E apart from a word before it.
    if quoted.contains('\\') { format!(" E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// Quotes a table's name with its schema; a name without one is taken from `public`.
pub(crate) fn quote_table(name: &TableName) -> String {
    format!("{}.{}", quote_ident(name.schema.as_deref().unwrap_or("public")), quote_ident(&name.name))
}

/// Quotes names and joins them with commas.
pub(crate) fn quote_list<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let mut list = String::new();
    for name in names {
        if !list.is_empty() {
            list.push_str(", ");
        }
        let _ = write!(list, "{}", quote_ident(name));
    }
    list
}

/// Compares columns with values as one row, or plainly where there is one column: `(a, b) > (x, y)`.
///
/// Row comparison is what PostgreSQL turns into a single index condition on a multi-column index.
pub(crate) fn compare_row(columns: &[String], operator: &str, values: &[String]) -> String {
    match (columns, values) {
        ([column], [value]) => format!("{column} {operator} {value}"),
        _ => format!("({}) {operator} ({})", columns.join(", "), values.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_literals_survive_quotes_and_backslashes() {
        assert_eq!(quote_ident("Order \"x\" Details"), "\"Order \"\"x\"\" Details\"");
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal("a\\'b"), " E'a\\\\''b'");
        assert_eq!(quote_table(&TableName::new(Some("year.key"), "2B")), "\"year.key\".\"2B\"");
    }

    #[test]
    fn one_column_is_compared_plainly_and_several_as_a_row() {
        let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(compare_row(&own(&["a"]), ">", &own(&["1"])), "a > 1");
        assert_eq!(compare_row(&own(&["a", "b"]), "<=", &own(&["1", "2"])), "(a, b) <= (1, 2)");
    }
}
