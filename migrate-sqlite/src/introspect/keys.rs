//! Unique constraints, indexes and foreign keys.

use super::READING;
use super::create_table::{ParsedTable, split_commas};
use super::tokens::{Token, tokens};
use crate::error::SqliteContext;
use migrate_core::error::Result;
use migrate_core::schema::{ColumnSchema, ForeignKey, ForeignKeyAction, Index, IndexPart, TableName, TableSchema, UniqueKey};
use rusqlite::Connection;
use std::collections::HashMap;

/// The indexes of one table, by what made them.
#[derive(Default)]
pub(super) struct Indexes {
    pub(super) unique_keys: Vec<UniqueKey>,
    pub(super) indexes: Vec<Index>,
    /// Whether the primary key has an index, so that it is no alias of the rowid.
    pub(super) has_primary_key_index: bool,
}

/// Reads unique constraints and indexes.
pub(super) fn read_indexes(
    connection: &Connection,
    table: &str,
    parsed: &ParsedTable,
    columns: &[ColumnSchema],
    sqls: &HashMap<String, String>,
) -> Result<Indexes> {
    // Indexes are listed newest first.
    let sql = "SELECT name, \"unique\", origin FROM pragma_index_list(?1, 'main') ORDER BY seq DESC";
    let mut statement = connection.prepare_cached(sql).during(READING)?;
    let mut rows = statement.query([table]).during(READING)?;
    let mut found = Indexes::default();
    while let Some(row) = rows.next().during(READING)? {
        let (name, unique, origin): (String, bool, String) =
            (row.get(0).during(READING)?, row.get(1).during(READING)?, row.get(2).during(READING)?);
        match origin.as_str() {
            "pk" => found.has_primary_key_index = true,
            "u" => {
                let names = read_parts(connection, &name)?.into_iter().filter_map(|part| part.column).collect();
                found.unique_keys.push(unique_key(names, parsed));
            }
            _ => {
                let sql = sqls.get(&name).cloned().unwrap_or_default();
                found.indexes.push(index(connection, name, unique, sql, columns)?);
            }
        }
    }
    Ok(found)
}

fn unique_key(columns: Vec<String>, parsed: &ParsedTable) -> UniqueKey {
    let same =
        |other: &[String]| other.len() == columns.len() && other.iter().zip(&columns).all(|(a, b)| a.eq_ignore_ascii_case(b));
    let name = parsed.uniques.iter().find(|(_, other)| same(other)).and_then(|(name, _)| name.clone());
    UniqueKey { name, columns, deferrable: false, initially_deferred: false, nulls_not_distinct: false }
}

/// One column of an index as `index_xinfo` tells it.
struct Part {
    column: Option<String>,
    descending: bool,
    collation: String,
}

fn read_parts(connection: &Connection, index: &str) -> Result<Vec<Part>> {
    let sql = "SELECT name, \"desc\", coll FROM pragma_index_xinfo(?1, 'main') WHERE key ORDER BY seqno";
    let mut statement = connection.prepare_cached(sql).during(READING)?;
    let parts = statement
        .query_map([index], |row| {
            let collation: Option<String> = row.get(2)?;
            Ok(Part { column: row.get(0)?, descending: row.get(1)?, collation: collation.unwrap_or_default() })
        })
        .during(READING)?;
    parts.collect::<rusqlite::Result<_>>().during(READING)
}

fn index(connection: &Connection, name: String, unique: bool, sql: String, columns: &[ColumnSchema]) -> Result<Index> {
    let (expressions, predicate) = parse_index(&sql);
    let mut parts = Vec::new();
    for (i, part) in read_parts(connection, &name)?.into_iter().enumerate() {
        let own = part.column.as_ref().and_then(|name| columns.iter().find(|c| &c.name == name));
        let usual = own.and_then(|c| c.collation.as_deref()).unwrap_or("BINARY");
        let expression = if part.column.is_none() { expressions.get(i).cloned() } else { None };
        let collation = (!part.collation.is_empty() && !part.collation.eq_ignore_ascii_case(usual)).then_some(part.collation);
        parts.push(IndexPart { column: part.column, expression, descending: part.descending, collation });
    }
    Ok(Index { name, unique, method: "btree".to_owned(), parts, predicate, definition: sql, extensions: Vec::new() })
}

/// Takes the parts of a `CREATE INDEX` statement, without their COLLATE and order, and its condition.
fn parse_index(sql: &str) -> (Vec<String>, Option<String>) {
    let all = tokens(sql);
    let Some(open) = all.iter().position(|t| t.is_sign("(")) else { return (Vec::new(), None) };
    let mut depth = 0usize;
    let close = all.iter().skip(open).position(|t| {
        depth = if t.is_sign("(") { depth + 1 } else { depth - usize::from(t.is_sign(")")) };
        depth == 0
    });
    let close = close.map_or(all.len(), |n| open + n);
    let expressions = split_commas(&all[open + 1..close]).into_iter().map(|part| expression(sql, part)).collect();
    let predicate = all.get(close + 1).filter(|t| t.is("WHERE")).map(|t| sql[t.end()..].trim().to_owned());
    (expressions, predicate)
}

fn expression(sql: &str, part: &[Token<'_>]) -> String {
    let mut end = part.len();
    if end > 1 && (part[end - 1].is("ASC") || part[end - 1].is("DESC")) {
        end -= 1;
    }
    if end > 2 && part[end - 2].is("COLLATE") {
        end -= 2;
    }
    sql[part[0].start..part[end - 1].end()].to_owned()
}

/// Reads the foreign keys in the order of the text; parents and their columns are as written, see [`resolve_parents`].
pub(super) fn read_foreign_keys(connection: &Connection, table: &str, parsed: &ParsedTable) -> Result<Vec<ForeignKey>> {
    // Keys are numbered from the last.
    let sql = "SELECT id, \"table\", \"from\", \"to\", on_update, on_delete FROM pragma_foreign_key_list(?1, 'main') ORDER BY id DESC, seq";
    let mut statement = connection.prepare_cached(sql).during(READING)?;
    let mut rows = statement.query([table]).during(READING)?;
    let mut keys: Vec<(i64, ForeignKey)> = Vec::new();
    while let Some(row) = rows.next().during(READING)? {
        let id: i64 = row.get(0).during(READING)?;
        let (from, to): (String, Option<String>) = (row.get(2).during(READING)?, row.get(3).during(READING)?);
        if keys.last().is_none_or(|(last, _)| *last != id) {
            let (parent, on_update, on_delete): (String, String, String) =
                (row.get(1).during(READING)?, row.get(4).during(READING)?, row.get(5).during(READING)?);
            keys.push((id, foreign_key(parent, &on_update, &on_delete)));
        }
        if let Some((_, key)) = keys.last_mut() {
            key.columns.push(from);
            key.parent_columns.extend(to);
        }
    }
    let mut keys: Vec<ForeignKey> = keys.into_iter().map(|(_, key)| key).collect();
    let same = |a: &[String], b: &[String]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.eq_ignore_ascii_case(b));
    if keys.len() == parsed.foreign_keys.len() {
        for (key, text) in keys.iter_mut().zip(&parsed.foreign_keys).filter(|(key, text)| same(&key.columns, &text.columns)) {
            key.name.clone_from(&text.name);
            (key.deferrable, key.initially_deferred) = (text.deferrable, text.initially_deferred);
        }
    }
    Ok(keys)
}

fn foreign_key(parent: String, on_update: &str, on_delete: &str) -> ForeignKey {
    ForeignKey {
        name: None,
        columns: Vec::new(),
        parent: TableName::new(None, parent),
        parent_columns: Vec::new(),
        on_delete: action(on_delete),
        on_update: action(on_update),
        // SQLite reads MATCH clauses and treats all of them as MATCH SIMPLE.
        match_full: false,
        deferrable: false,
        initially_deferred: false,
        // Enforcement is off unless a connection asks for it, so nothing is known of the rows that are there.
        validated: false,
    }
}

fn action(text: &str) -> ForeignKeyAction {
    match text.to_ascii_uppercase().as_str() {
        "RESTRICT" => ForeignKeyAction::Restrict,
        "CASCADE" => ForeignKeyAction::Cascade,
        "SET NULL" => ForeignKeyAction::SetNull,
        "SET DEFAULT" => ForeignKeyAction::SetDefault,
        _ => ForeignKeyAction::NoAction,
    }
}

/// Gives parents and their columns the spelling of the tables themselves, and fills in the parent's primary key where a foreign
/// key names no columns.
pub(super) fn resolve_parents(tables: &mut [TableSchema]) {
    let parents: HashMap<String, (String, Vec<String>, Vec<String>)> = tables
        .iter()
        .map(|t| {
            let columns = t.columns.iter().map(|c| c.name.clone()).collect();
            let key = t.primary_key.as_ref().map_or_else(Vec::new, |k| k.columns.clone());
            (t.name.name.to_ascii_lowercase(), (t.name.name.clone(), columns, key))
        })
        .collect();
    for key in tables.iter_mut().flat_map(|t| &mut t.foreign_keys) {
        let Some((name, columns, primary_key)) = parents.get(&key.parent.name.to_ascii_lowercase()) else { continue };
        key.parent.name.clone_from(name);
        if key.parent_columns.len() != key.columns.len() {
            key.parent_columns.clone_from(primary_key);
        }
        for written in &mut key.parent_columns {
            if let Some(name) = columns.iter().find(|c| c.eq_ignore_ascii_case(written)) {
                written.clone_from(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_and_condition_of_an_index_are_taken_apart() {
        let (parts, predicate) = parse_index(
            "CREATE UNIQUE INDEX \"i (\" ON t (a, lower(b, ',') COLLATE NOCASE DESC, (c + 1) ASC) WHERE d IN (1, 2) -- x",
        );
        assert_eq!(parts, ["a", "lower(b, ',')", "(c + 1)"]);
        assert_eq!(predicate.as_deref(), Some("d IN (1, 2) -- x"));
        assert_eq!(parse_index("CREATE INDEX i ON t(a)"), (vec!["a".to_owned()], None));
    }
}
