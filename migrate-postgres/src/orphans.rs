//! Finding rows whose parent is not there, by a join inside the server.

use crate::codec::ENCODING;
use crate::copy_out::{collect, of_reading};
use crate::select::{columns_of, from_item, page_columns, runs_users_sql, select_list};
use crate::sql::quote_ident;
use crate::view::{Session, View};
use migrate_core::Result;
use migrate_core::filter::Filter;
use migrate_core::schema::{ColumnSchema, TableSchema};
use migrate_core::source::{OrphanRequest, Orphans};
use migrate_core::value::{DataType, Key, PageBuilder};
use sqlx::{AssertSqlSafe, Row};
use std::sync::Arc;

/// Compares both tables of a reference.
///
/// `NOT EXISTS` is joined by hash; `NOT IN` over as many rows would not end.
pub(crate) async fn find(view: &Arc<View>, request: &OrphanRequest<'_>) -> Result<Orphans> {
    let columns = columns_of(request.child, request.columns)?;
    let parent_columns = columns_of(request.parent, request.parent_columns)?;
    let key = columns_of(request.child, request.key)?;
    let operators: Vec<&ColumnSchema> = columns.iter().chain(&parent_columns).copied().collect();
    let sides = request.filters.iter().map(|filter| (request.child, Some(*filter)));
    let sides: Vec<(&TableSchema, Option<&Filter>)> =
        sides.chain([(request.child, None), (request.parent, request.parent_filter)]).collect();
    // Where SQL of the user's own is part of the query, all of it is resolved as he would have it.
    let (table, filter) = sides.iter().find(|(table, filter)| runs_users_sql(table, *filter)).copied().unwrap_or(sides[0]);
    let mut session = view.session(table, filter, &operators).await?;
    let children = rows_of(&mut session, "c", request.child, &request.filters).await?;
    let parents = rows_of(&mut session, "q", request.parent, request.parent_filter.as_slice()).await?;
    let present = columns.iter().map(|c| format!("c.{} IS NOT NULL", quote_ident(&c.name)));
    let equal = columns.iter().zip(&parent_columns).map(|(column, parent)| equal(column, parent));
    let orphans = format!(
        "FROM {children} AS c WHERE {} AND NOT EXISTS (SELECT FROM {parents} AS p WHERE {})",
        present.collect::<Vec<_>>().join(" AND "),
        equal.collect::<Vec<_>>().join(" AND ")
    );
    let sql = format!("SELECT pg_catalog.count(*) {orphans}");
    let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut session.connection).await.map_err(of_reading)?;
    let rows = row.try_get::<i64, _>(0).map_err(of_reading)?.unsigned_abs();
    let mut found = Orphans { rows, ..Orphans::default() };
    if rows > 0 {
        let limit = request.limit;
        if !key.is_empty() {
            let sql = format!("SELECT pg_catalog.concat_ws(', ', {}) {orphans} LIMIT {limit}", select_list(&key));
            let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut session.connection).await.map_err(of_reading)?;
            found.keys = rows.iter().map(|row| row.try_get(0).map_err(of_reading)).collect::<Result<_>>()?;
        }
        let mut missed = PageBuilder::new(page_columns(&columns), ENCODING);
        let spelled = columns.iter().map(|column| spelling(column)).collect::<Vec<_>>().join(", ");
        let sql = format!(
            "COPY (SELECT DISTINCT ON ({spelled}) {} {orphans} LIMIT {limit}) TO STDOUT (FORMAT BINARY)",
            select_list(&columns)
        );
        collect(&mut session.connection, &sql, &mut missed, columns.len()).await?;
        found.parents = missed.finish(None).rows().map(|row| Ok(Key::from_values(&row.values()?))).collect::<Result<_>>()?;
    }
    view.give_back(session);
    Ok(found)
}

/// Renders a table under its filters, each of which may name the table.
async fn rows_of(session: &mut Session, prefix: &str, table: &TableSchema, filters: &[&Filter]) -> Result<String> {
    let from = from_item(table);
    let mut conditions = Vec::with_capacity(filters.len());
    for (number, filter) in filters.iter().enumerate() {
        let condition = session.render_filter_as(&format!("{prefix}{number}_"), &from, Some(filter)).await?;
        conditions.extend(condition.0.map(|condition| format!("({condition}\n)")));
    }
    let wher = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    Ok(format!("(SELECT * FROM {from}{wher})"))
}

/// Compares a child's column with its parent's: by their text where no operator of the server would.
fn equal(column: &ColumnSchema, parent: &ColumnSchema) -> String {
    let (own, other) = (format!("c.{}", quote_ident(&column.name)), format!("p.{}", quote_ident(&parent.name)));
    if kind(column) == kind(parent) {
        format!("{other} = {own}")
    } else {
        format!("{other}::pg_catalog.text = {own}::pg_catalog.text")
    }
}

/// Tells texts apart that a collation takes for one.
fn spelling(column: &ColumnSchema) -> String {
    let own = format!("c.{}", quote_ident(&column.name));
    match &column.data_type {
        DataType::Text { .. } | DataType::Char { .. } | DataType::Other { .. } | DataType::Enum { .. } => {
            format!("{own}::pg_catalog.text COLLATE pg_catalog.\"C\"")
        }
        _ => own,
    }
}

/// What types that the server compares with one another have in common.
fn kind(column: &ColumnSchema) -> &str {
    match &column.data_type {
        DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Decimal { .. } => "number",
        DataType::Text { .. } | DataType::Char { .. } => "text",
        DataType::Timestamp { .. } | DataType::TimestampTz { .. } | DataType::Date => "time",
        _ => column.native_type.split('(').next().unwrap_or_default(),
    }
}
