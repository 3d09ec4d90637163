//! What an expression of the job's makes of a table's rows, and that it is one.
//!
//! The server reads each expression in two places: between `CASE … THEN` and `END` in a condition, and in parentheses in a list. What would
//! end the parentheses early stands alone in the first place, and is refused there; so are aggregates, window functions and functions that
//! return sets, as in any condition. Nothing is computed in either.

use crate::connection::{close, execute, no_zero_byte};
use crate::copy_out::of_reading;
use crate::introspect;
use crate::select::from_item;
use crate::view::Session;
use migrate_core::expression::Expression;
use migrate_core::schema::{ColumnSchema, TableSchema};
use migrate_core::{Error, ErrorKind, Result};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Either, Executor, Row, SqlSafeStr, Statement};

/// Says what columns these expressions make.
pub(crate) async fn describe(
    connection: PgConnection,
    table: &TableSchema,
    expressions: &[(String, Expression)],
) -> Result<Vec<ColumnSchema>> {
    let mut session = Session::of_role(connection).await?;
    let columns = columns(&mut session, table, expressions).await;
    close(session.connection).await;
    columns
}

async fn columns(session: &mut Session, table: &TableSchema, expressions: &[(String, Expression)]) -> Result<Vec<ColumnSchema>> {
    let from = from_item(table);
    for (name, expression) in expressions {
        be_one(session, &from, expression).await.map_err(|error| error.with("column", name))?;
    }
    execute(&mut session.connection, "BEGIN READ ONLY").await?;
    let mut types = Vec::with_capacity(expressions.len());
    for (number, (name, expression)) in expressions.iter().enumerate() {
        let found = type_of(session, number, &from, expression).await;
        types.push((name.as_str(), found.map_err(|error| error.with("column", name))?));
    }
    // The server is to print the types' names in full.
    execute(&mut session.connection, "SET search_path = ''").await?;
    introspect::columns_of_types(&mut session.connection, &types).await
}

/// Refuses what is not one expression by its grammar; before anything else, as other ways to ask the server would take several statements.
async fn be_one(session: &mut Session, from: &str, expression: &Expression) -> Result<()> {
    let names: Vec<&String> = expression.as_filter().parameters().keys().collect();
    let place = |name: &str| names.iter().position(|other| *other == name).map_or(0, |place| place + 1);
    let sql = expression.render(|name, _| format!("${}", place(name)));
    match alone(session, from, &sql).await {
        // What types they have is not known yet, and may be all that is wrong.
        Err(error) if !names.is_empty() && !error.context().iter().any(|(_, code)| code == "42601") => Ok(()),
        other => other.map(drop),
    }
}

/// Has the server read an expression, which is given in parentheses, without them: what would close them has none to close there. Returns how
/// many parameters it has.
async fn alone(session: &mut Session, from: &str, sql: &str) -> Result<usize> {
    let bare = sql.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(sql);
    let condition = format!("SELECT FROM {from} WHERE CASE WHEN true THEN {bare} END IS NULL");
    no_zero_byte(&condition)?;
    let statement = session.connection.prepare(AssertSqlSafe(condition).into_sql_str()).await.map_err(of_reading)?;
    Ok(match statement.parameters() {
        Some(Either::Left(types)) => types.len(),
        Some(Either::Right(count)) => count,
        None => 0,
    })
}

/// Returns the object number of an expression's type.
async fn type_of(session: &mut Session, number: usize, from: &str, expression: &Expression) -> Result<i64> {
    let sql = session.render_expression(number, from, expression).await?;
    if alone(session, from, &sql).await? > 0 {
        return Err(Error::new(ErrorKind::Schema, "it has a parameter that is not written as :name is"));
    }
    // A row of NULLs where there is none, which has a type all the same.
    let query = format!(
        "SELECT pg_catalog.pg_typeof(x.v)::pg_catalog.oid::pg_catalog.int8, t.typtype::pg_catalog.text \
         FROM (SELECT 1) o LEFT JOIN (SELECT {sql} AS v FROM {from} WHERE false) x ON true \
         JOIN pg_catalog.pg_type t ON t.oid = pg_catalog.pg_typeof(x.v)::pg_catalog.oid"
    );
    let found = sqlx::query(AssertSqlSafe(query)).persistent(false).fetch_one(&mut session.connection);
    let row = found.await.map_err(of_reading)?;
    let (oid, kind): (i64, String) = (row.try_get(0).map_err(of_reading)?, row.try_get(1).map_err(of_reading)?);
    match kind.as_str() {
        "p" => Err(Error::new(ErrorKind::Schema, "it makes no value that a column can hold")),
        _ => Ok(oid),
    }
}
