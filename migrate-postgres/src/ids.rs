//! Ids that the target gives, drawn ahead of the rows that get them.

use crate::error::from_sqlx;
use crate::sql::quote_literal;
use migrate_core::schema::{ColumnSchema, Identity, TableSchema};
use migrate_core::value::{Value, text};
use migrate_core::{Error, ErrorKind, Result};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

/// Draws so many values for a column: from its sequence, else by its default. A sequence is of no transaction.
pub(crate) async fn reserve(
    connection: &mut PgConnection,
    table: &TableSchema,
    column: &str,
    count: usize,
) -> Result<Vec<Value<'static>>> {
    let own =
        table.column(column).ok_or_else(|| Error::new(ErrorKind::Schema, "there is no such column").with("column", column))?;
    let next = expression(table, own).ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "the table does not give this column's values").with("column", column)
    })?;
    let sql = format!("SELECT (({next})::{})::pg_catalog.text FROM pg_catalog.generate_series(1, {count})", own.native_type);
    let drawn: Vec<Option<String>> =
        sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).fetch_all(connection).await.map_err(from_sqlx)?;
    let value = |drawn: Option<String>| drawn.as_deref().and_then(|drawn| text::parse(drawn, &own.data_type));
    let values: Option<Vec<Value<'static>>> = drawn.into_iter().map(value).collect();
    values.ok_or_else(|| Error::new(ErrorKind::Unsupported, "the column's default gives no id").with("column", column))
}

/// What gives one value more.
fn expression(table: &TableSchema, column: &ColumnSchema) -> Option<String> {
    match (&column.identity, &column.default) {
        (Some(Identity::Always | Identity::ByDefault), _) => {
            let name = quote_literal(&crate::sql::quote_table(&table.name));
            let sequence = format!("pg_catalog.pg_get_serial_sequence({name}, {})", quote_literal(&column.name));
            // As a subquery it is looked up once, and not for each id.
            Some(format!("pg_catalog.nextval((SELECT {sequence}::pg_catalog.regclass))"))
        }
        (Some(Identity::Sequence { .. } | Identity::RowId { .. }) | None, default) => default.clone(),
    }
}
