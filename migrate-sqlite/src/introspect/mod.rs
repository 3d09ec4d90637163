//! The schema of a SQLite database: pragmas where they tell, the text of `CREATE` statements where they do not.

mod columns;
mod create_table;
mod keys;
mod size;
mod tokens;

use crate::error::SqliteContext;
use migrate_core::error::Result;
use migrate_core::schema::{Check, DatabaseSchema, Identity, Numbering, TableKind, TableName, TableSchema, Trigger};
use rusqlite::Connection;
pub(crate) use size::rowid;
use std::collections::HashMap;
use tokens::tokens;

/// What errors say was being done.
const READING: &str = "reading the schema";

/// This library's own tables; a user's, of whatever name, are moved like all others.
const OWN_TABLES: [&str; 8] = [
    "_migrate_version",
    "_migrate_fence",
    "_migrate_checkpoint",
    "_migrate_ledger",
    "_migrate_quarantine",
    "_migrate_gone",
    "_migrate_unfinished",
    "_migrate_key_map",
];

/// One row of `sqlite_schema`, or a table that has none.
struct Object {
    name: String,
    kind: TableKind,
    without_rowid: bool,
    strict: bool,
    sql: String,
}

/// Reads the catalogs in one consistent view. SQLite's and this library's own tables are left out, and so are the shadow tables
/// of virtual ones.
pub(crate) fn read_schema(connection: &Connection) -> Result<DatabaseSchema> {
    let own = connection.is_autocommit();
    if own {
        connection.execute_batch("BEGIN").during(READING)?;
    }
    let schema = read_in_transaction(connection);
    if own {
        // Nothing was written, so there is nothing that ending the transaction could lose.
        connection.execute_batch("ROLLBACK").during(READING)?;
    }
    schema
}

fn read_in_transaction(connection: &Connection) -> Result<DatabaseSchema> {
    let sqls = read_sql(connection)?;
    let objects = read_objects(connection, &sqls.tables)?;
    let sizes = size::Sizes::read(connection)?;
    let mut tables = Vec::with_capacity(objects.len());
    for object in &objects {
        tables.push(read_table(connection, object, &sqls, &sizes)?);
    }
    keys::resolve_parents(&mut tables);
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    let version = rusqlite::version().to_owned();
    Ok(DatabaseSchema { engine: "sqlite".to_owned(), version, tables, types: Vec::new() })
}

/// The texts of all `CREATE` statements.
#[derive(Default)]
struct Statements {
    /// Tables and views by name.
    tables: HashMap<String, String>,
    /// Indexes by name.
    indexes: HashMap<String, String>,
    /// Triggers by the lower-cased name of their table: name and text.
    triggers: HashMap<String, Vec<(String, String)>>,
}

fn read_sql(connection: &Connection) -> Result<Statements> {
    let mut sqls = Statements::default();
    let mut statement = connection.prepare("SELECT type, name, tbl_name, sql FROM main.sqlite_schema").during(READING)?;
    let mut rows = statement.query([]).during(READING)?;
    while let Some(row) = rows.next().during(READING)? {
        let (kind, name): (String, String) = (row.get(0).during(READING)?, row.get(1).during(READING)?);
        let (table, sql): (String, Option<String>) = (row.get(2).during(READING)?, row.get(3).during(READING)?);
        let sql = sql.unwrap_or_default();
        match kind.as_str() {
            "index" => {
                sqls.indexes.insert(name, sql);
            }
            "trigger" => sqls.triggers.entry(table.to_ascii_lowercase()).or_default().push((name, sql)),
            _ => {
                sqls.tables.insert(name, sql);
            }
        }
    }
    Ok(sqls)
}

fn read_objects(connection: &Connection, sqls: &HashMap<String, String>) -> Result<Vec<Object>> {
    let mut statement =
        connection.prepare("SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = 'main'").during(READING)?;
    let mut rows = statement.query([]).during(READING)?;
    let mut objects = Vec::new();
    while let Some(row) = rows.next().during(READING)? {
        let (name, kind): (String, String) = (row.get(0).during(READING)?, row.get(1).during(READING)?);
        let kind = match kind.as_str() {
            "view" => TableKind::View,
            "virtual" => TableKind::Virtual,
            "shadow" => continue,
            _ => TableKind::Table,
        };
        let starts = |prefix: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        if starts("sqlite_") || OWN_TABLES.iter().any(|own| own.eq_ignore_ascii_case(&name)) {
            continue;
        }
        let sql = sqls.get(&name).cloned().unwrap_or_default();
        let (without_rowid, strict) = (row.get(2).during(READING)?, row.get(3).during(READING)?);
        objects.push(Object { name, kind, without_rowid, strict, sql });
    }
    Ok(objects)
}

fn read_table(connection: &Connection, object: &Object, sqls: &Statements, sizes: &size::Sizes) -> Result<TableSchema> {
    let mut table = TableSchema::new(TableName::new(None, object.name.clone()));
    table.kind = object.kind;
    let plain = object.kind == TableKind::Table;
    let parsed = if plain { create_table::parse(&object.sql) } else { create_table::ParsedTable::default() };
    let found = columns::read(connection, object, &parsed);
    let (columns, primary_key) = match found {
        Ok(found) => found,
        // A view whose tables are gone, or a virtual table whose module is not linked: it is there, but cannot be read.
        Err(error) if !plain && error.kind() != migrate_core::ErrorKind::Busy => {
            table.write_obstacles.push(error.to_string());
            return Ok(table);
        }
        Err(error) => return Err(error.with("table", &object.name)),
    };
    table.columns = columns;
    if plain {
        let indexes = keys::read_indexes(connection, &object.name, &parsed, &table.columns, &sqls.indexes)?;
        let alias = primary_key.len() == 1 && !object.without_rowid && !indexes.has_primary_key_index;
        columns::settle_primary_key(&mut table, primary_key, alias, object, &parsed);
        (table.unique_keys, table.indexes) = (indexes.unique_keys, indexes.indexes);
        table.foreign_keys = keys::read_foreign_keys(connection, &object.name, &parsed)?;
        table.not_described = parsed.others;
        for column in table.columns.iter_mut().filter(|c| matches!(c.identity, Some(Identity::RowId { autoincrement: true }))) {
            column.numbering = Some(Numbering { reached: numbers_used(connection, &object.name), ..Numbering::plain(i64::MAX) });
        }
        table.checks = parsed.checks.into_iter().map(|(name, expression)| Check::new(name, expression)).collect();
        if object.without_rowid {
            table.options.push("WITHOUT ROWID".to_owned());
        }
        if object.strict {
            table.options.push("STRICT".to_owned());
        }
        (table.row_estimate, table.size_bytes) = sizes.of(connection, &table)?;
    }
    table.triggers = sqls
        .triggers
        .get(&object.name.to_ascii_lowercase())
        .into_iter()
        .flatten()
        .map(|(name, sql)| Trigger { name: name.clone(), definition: sql.clone(), fires_on_write: fires_on_write(sql) })
        .collect();
    Ok(table)
}

/// Returns the highest number that AUTOINCREMENT has given a row of a table.
fn numbers_used(connection: &Connection, table: &str) -> Option<i64> {
    // Before the first row the table is not in that catalog.
    let query = "SELECT seq FROM sqlite_sequence WHERE name = ?1";
    connection.query_row(query, [table], |row| row.get(0)).ok().filter(|seq| *seq > 0)
}

/// Whether a trigger fires on inserts or updates: the first of the three verbs outside of names says which it is.
fn fires_on_write(sql: &str) -> bool {
    let verb = tokens(sql).into_iter().skip(2).find(|t| t.is("DELETE") || t.is("INSERT") || t.is("UPDATE"));
    verb.is_none_or(|verb| !verb.is("DELETE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_triggers_verb_is_found_behind_its_name() {
        assert!(!fires_on_write("CREATE TRIGGER t AFTER DELETE ON x BEGIN INSERT INTO y VALUES (1); END"));
        assert!(fires_on_write("CREATE TRIGGER \"delete\" BEFORE UPDATE OF a ON x BEGIN DELETE FROM y; END"));
        assert!(fires_on_write("CREATE TEMP TRIGGER IF NOT EXISTS t INSTEAD OF INSERT ON v BEGIN SELECT 1; END"));
    }
}
