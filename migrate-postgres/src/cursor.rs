//! How far a column that tells when rows were changed has come.

use crate::copy_out::of_reading;
use crate::select::{columns_of, from_item};
use crate::sql::quote_ident;
use crate::view::View;
use migrate_core::filter::Parameter;
use migrate_core::job::{CursorColumn, Overlap};
use migrate_core::source::PageRequest;
use migrate_core::value::DataType;
use migrate_core::{Error, ErrorKind, Result};
use sqlx::{AssertSqlSafe, Row};

/// Returns the greatest value of the column, less the overlap, as text that its type reads; JSON spells moments alike whatever the session.
pub(crate) async fn reached(view: &View, request: &PageRequest<'_>, cursor: &CursorColumn) -> Result<Option<Parameter>> {
    let names = [cursor.column.clone()];
    let columns = columns_of(request.table, &names)?;
    let from = from_item(request.table);
    let mut session = view.session(request.table, request.filter, &columns).await?;
    let condition = session.render_filter(&from, request.filter).await?;
    let greatest = format!("pg_catalog.max({})", quote_ident(&cursor.column));
    let data_type = columns.first().map(|column| &column.data_type);
    let integer = matches!(data_type, Some(DataType::Int16 | DataType::Int32 | DataType::Int64));
    let moment = matches!(data_type, Some(DataType::Date | DataType::Timestamp { .. } | DataType::TimestampTz { .. }));
    let less = match cursor.overlap {
        None => greatest,
        Some(Overlap::Units(units)) if integer => format!("{greatest}::pg_catalog.numeric - {units}"),
        Some(Overlap::Seconds(seconds)) if moment => format!("{greatest} - pg_catalog.make_interval(secs => {seconds})"),
        Some(_) => {
            let message = "an overlap is a span of time for a column of moments, and a number for one of integers";
            return Err(Error::new(ErrorKind::Config, message).with("column", &cursor.column));
        }
    };
    let condition = condition.0.map(|c| format!(" WHERE ({c}\n)")).unwrap_or_default();
    let sql = format!("SELECT pg_catalog.to_json({less}) OPERATOR(pg_catalog.#>>) '{{}}' FROM {from}{condition}");
    let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut session.connection).await.map_err(of_reading)?;
    view.give_back(session);
    Ok(row.try_get::<Option<String>, _>(0).map_err(of_reading)?.map(Parameter::Text))
}
