//! How many rows and bytes a table has, as far as that is cheap to know.

use super::READING;
use crate::error::SqliteContext;
use crate::sql;
use migrate_core::error::Result;
use migrate_core::schema::TableSchema;
use rusqlite::{Connection, OptionalExtension, Row};
use std::collections::HashMap;

/// Files up to this size are counted exactly; it takes milliseconds.
const SMALL_FILE: u64 = 16 << 20;

/// What is known of all tables before looking at each.
pub(super) struct Sizes {
    /// Whether the file is small enough for exact answers.
    small: bool,
    /// Bytes by table, indexes included, where the file is small.
    bytes: HashMap<String, u64>,
    /// Rows by table, as ANALYZE found them.
    analyzed: HashMap<String, u64>,
}

impl Sizes {
    /// Reads what ANALYZE left, and the sizes where they are cheap.
    pub(super) fn read(connection: &Connection) -> Result<Sizes> {
        let small = file_size(connection)? <= SMALL_FILE;
        let mut sizes = Sizes { small, bytes: HashMap::new(), analyzed: HashMap::new() };
        if small {
            // Without the dbstat table, or over a damaged page, sizes stay unknown.
            let sql = "SELECT s.tbl_name, sum(d.pgsize) FROM dbstat AS d JOIN main.sqlite_schema AS s USING (name) GROUP BY 1";
            sizes.bytes = pairs(connection, sql).unwrap_or_default();
        }
        let analyzed = "SELECT 1 FROM main.sqlite_schema WHERE name = 'sqlite_stat1'";
        if connection.query_row(analyzed, [], |_| Ok(())).optional().during(READING)?.is_some() {
            // Anybody may have written there; what makes no sense is passed over.
            let sql = "SELECT tbl, max(CAST(stat AS INTEGER)) FROM main.sqlite_stat1 GROUP BY tbl";
            sizes.analyzed = pairs(connection, sql).unwrap_or_default();
        }
        Ok(sizes)
    }

    /// Returns the rows and bytes of a table: exact in small files, else the span of its rowids or what ANALYZE found.
    pub(super) fn of(&self, connection: &Connection, table: &TableSchema) -> Result<(Option<u64>, Option<u64>)> {
        let name = &table.name.name;
        let rows = if self.small {
            let sql = format!("SELECT count(*) FROM {}", sql::table(name));
            Some(sql::prepare(connection, &sql, name, READING)?.query_row([], natural).during(READING)?)
        } else {
            match rowid(table) {
                Some(rowid) => Some(span(connection, name, &rowid)?),
                None => self.analyzed.get(name).copied(),
            }
        };
        Ok((rows, self.bytes.get(name).copied()))
    }
}

/// Returns a name that means the rowid in a table, unless it has none or its columns took all three.
pub(crate) fn rowid(table: &TableSchema) -> Option<String> {
    let free = |name: &&str| !table.columns.iter().any(|c| c.name.eq_ignore_ascii_case(name));
    let plain = table.kind == migrate_core::schema::TableKind::Table && !table.options.iter().any(|o| o == "WITHOUT ROWID");
    ["rowid", "oid", "_rowid_"].iter().copied().find(free).filter(|_| plain).map(|name| sql::column(&table.name.name, name))
}

/// The number of rows that the rowids leave room for.
fn span(connection: &Connection, name: &str, rowid: &str) -> Result<u64> {
    // Two statements: SQLite looks up min or max alone in the tree, but scans for both together.
    let one = |function: &str| {
        let sql = format!("SELECT {function}({rowid}) FROM {}", sql::table(name));
        connection.query_row(&sql, [], |row| row.get::<_, Option<i64>>(0)).during(READING)
    };
    Ok(match (one("min")?, one("max")?) {
        (Some(min), Some(max)) => max.abs_diff(min).saturating_add(1),
        _ => 0,
    })
}

fn pairs(connection: &Connection, sql: &str) -> rusqlite::Result<HashMap<String, u64>> {
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
    rows.map(|row| row.map(|(name, n)| (name, u64::try_from(n).unwrap_or(0)))).collect()
}

/// The bytes of the main database, free pages included.
fn file_size(connection: &Connection) -> Result<u64> {
    let one = |pragma: &str| connection.query_row(pragma, [], natural).during(READING);
    Ok(one("PRAGMA page_count")?.saturating_mul(one("PRAGMA page_size")?))
}

/// Reads a number that is never negative.
fn natural(row: &Row<'_>) -> rusqlite::Result<u64> {
    row.get::<_, i64>(0).map(|n| u64::try_from(n).unwrap_or(0))
}
