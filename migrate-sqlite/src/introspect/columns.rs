//! Columns and the primary key.

use super::create_table::ParsedTable;
use super::{Object, READING};
use crate::declared_type;
use crate::error::SqliteContext;
use migrate_core::error::Result;
use migrate_core::schema::{ColumnSchema, Generated, Identity, TableSchema, UniqueKey};
use rusqlite::Connection;

/// Reads the columns, and the names of the primary key's columns in their order there.
pub(super) fn read(connection: &Connection, object: &Object, parsed: &ParsedTable) -> Result<(Vec<ColumnSchema>, Vec<String>)> {
    let sql = "SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?1, 'main') ORDER BY cid";
    let mut statement = connection.prepare_cached(sql).during(READING)?;
    let mut rows = statement.query([&object.name]).during(READING)?;
    let (mut columns, mut key) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next().during(READING)? {
        let name: String = row.get(0).during(READING)?;
        let declared: Option<String> = row.get(1).during(READING)?;
        let declared = declared.unwrap_or_default();
        let place: i64 = row.get(4).during(READING)?;
        let hidden: i64 = row.get(5).during(READING)?;
        // 1 is a hidden column of a virtual table; 2 and 3 are generated columns, virtual and stored.
        if hidden == 1 {
            continue;
        }
        let own = parsed.columns.iter().find(|c| c.name.eq_ignore_ascii_case(&name));
        let generated = (hidden == 2 || hidden == 3)
            .then(|| Generated { expression: own.and_then(|c| c.generated.clone()).unwrap_or_default(), stored: hidden == 3 });
        if place > 0 {
            key.push((place, name.clone()));
        }
        let types = declared_type::parse(&declared, object.strict);
        let not_null: bool = row.get(2).during(READING)?;
        columns.push(ColumnSchema {
            data_type: types.data_type,
            native_type: declared_type::as_ddl(&declared),
            portable_type: types.portable_type,
            nullable: !not_null,
            default: row.get(3).during(READING)?,
            generated,
            identity: None,
            numbering: None,
            collation: own.and_then(|c| c.collation.clone()).filter(|c| !c.eq_ignore_ascii_case("BINARY")),
            comment: None,
            name,
        });
    }
    key.sort();
    Ok((columns, key.into_iter().map(|(_, name)| name).collect()))
}

/// Sets the primary key and what follows from it for its columns. `alias` says that it is the rowid by another name.
pub(super) fn settle_primary_key(table: &mut TableSchema, key: Vec<String>, alias: bool, object: &Object, parsed: &ParsedTable) {
    if key.is_empty() {
        return;
    }
    for column in table.columns.iter_mut().filter(|c| key.contains(&c.name)) {
        // Elsewhere SQLite lets NULL into a primary key, as it always did.
        if alias || object.without_rowid || object.strict {
            column.nullable = false;
        }
        if alias {
            column.identity = Some(Identity::RowId { autoincrement: parsed.autoincrement });
        }
    }
    table.primary_key = Some(UniqueKey { name: parsed.primary_key_name.clone(), ..UniqueKey::new(key) });
}
