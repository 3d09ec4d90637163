//! What an expression of the job's makes of a table's rows, and that it is one.
//!
//! SQLite reads each expression in two places: between `CASE … THEN` and `END` in a condition, and in parentheses in a list. What would end
//! the parentheses early stands alone in the first place, and is refused there; so are aggregates and window functions, as in any condition.

use crate::declared_type;
use crate::error::SqliteContext;
use crate::snapshot::{PARAMETER, expression_sql};
use crate::sql;
use migrate_core::error::{Error, ErrorKind, Result};
use migrate_core::expression::Expression;
use migrate_core::schema::{ColumnSchema, TableKind, TableSchema};
use rusqlite::Connection;
use rusqlite::config::DbConfig;

const READING: &str = "reading the expression";

/// Says what columns these expressions make: nothing is declared of them.
pub(crate) fn describe(
    connection: &Connection,
    table: &TableSchema,
    expressions: &[(String, Expression)],
) -> Result<Vec<ColumnSchema>> {
    // A name in quotes that no column has would be taken for a text. Views may count on that.
    if table.kind != TableKind::View {
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false).during(READING)?;
    }
    let describe = |(name, expression): &(String, Expression)| {
        check(connection, &table.name.name, expression).map_err(|error| error.with("column", name))?;
        let types = declared_type::parse("", false);
        Ok(ColumnSchema {
            name: name.clone(),
            data_type: types.data_type,
            native_type: declared_type::as_ddl(""),
            portable_type: types.portable_type,
            nullable: true,
            default: None,
            generated: None,
            identity: None,
            numbering: None,
            collation: None,
            comment: None,
        })
    };
    expressions.iter().map(describe).collect()
}

fn check(connection: &Connection, table: &str, expression: &Expression) -> Result<()> {
    let (sql, from) = (expression_sql(expression), sql::table(table));
    // Without the parentheses: what would close them has none to close here.
    let bare = sql.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(&sql);
    let condition = format!("SELECT 1 FROM {from} WHERE CASE WHEN 1 THEN {bare} END IS NULL");
    sql::prepare(connection, &condition, table, READING)?;
    let list = sql::prepare(connection, &format!("SELECT {sql} FROM {from}"), table, READING)?;
    // One that nobody binds would be NULL.
    let known =
        |name: &str| name.strip_prefix(PARAMETER).is_some_and(|name| expression.as_filter().parameters().contains_key(name));
    if (1..=list.parameter_count()).any(|place| !list.parameter_name(place).is_some_and(known)) {
        return Err(Error::new(ErrorKind::Schema, "it has a parameter that is not written as :name is"));
    }
    match list.column_count() {
        1 => Ok(()),
        _ => Err(Error::new(ErrorKind::Schema, "it makes more than one value")),
    }
}
