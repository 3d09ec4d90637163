//! Reading the catalogs, with a few set-based queries whatever the number of tables.

mod columns;
mod constraints;
mod indexes;
mod relations;
mod sequences;
mod triggers;
mod types;

use crate::connection::{execute, server_version};
use crate::error::from_sqlx;
use migrate_core::schema::{ColumnSchema, DatabaseSchema};
use migrate_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

/// Which schemas are the user's own, for a `pg_namespace` called `n`: not the server's, and not this library's state.
///
/// A schema that happens to be called `migrate` is the user's as long as no state table is in it.
pub(crate) const USER_SCHEMAS: &str = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT (n.nspname IN ('migrate', 'migrate_store') \
    AND EXISTS (SELECT FROM pg_catalog.pg_class s WHERE s.relnamespace = n.oid AND s.relname IN ('fence', 'migration_executions')))";

/// Which relations are tables or views of the user's own, for a `pg_class` called `c` and its `pg_namespace` `n`.
pub(crate) fn user_relations() -> String {
    format!(
        "c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't' AND {USER_SCHEMAS} \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
         AND e.objid = c.oid AND e.deptype = 'e')"
    )
}

/// Reads everything that a database is made of.
///
/// The session's search path must be empty, so that the server prints names in full.
pub(crate) async fn database_schema(connection: &mut PgConnection) -> Result<DatabaseSchema> {
    // A database that was just restored has no statistics of its catalogs: the planner then takes them for tiny and joins them in
    // nested loops, which takes minutes for thousands of tables.
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = ''; SET LOCAL enable_nestloop = off";
    execute(connection, begin).await?;
    let version = server_version(connection).await?;
    let (printed,): (String,) = sqlx::query_as("SELECT pg_catalog.current_setting('server_version')")
        .fetch_one(&mut *connection)
        .await
        .map_err(from_sqlx)?;
    let types = types::read(connection).await?;
    let mut relations = relations::read(connection).await?;
    columns::read(connection, &mut relations, &types).await?;
    sequences::read(connection, &mut relations).await?;
    constraints::read(connection, &mut relations, version).await?;
    indexes::read(connection, &mut relations).await?;
    triggers::read(connection, &mut relations).await?;
    execute(connection, "COMMIT").await?;
    Ok(DatabaseSchema {
        engine: "postgresql".to_owned(),
        version: printed,
        tables: relations.into_tables(),
        types: types.into_user_types(),
    })
}

/// Returns columns of types that are known by their object numbers. The session's search path must be empty.
pub(crate) async fn columns_of_types(connection: &mut PgConnection, wanted: &[(&str, i64)]) -> Result<Vec<ColumnSchema>> {
    let types = types::read(connection).await?;
    let mut columns = Vec::with_capacity(wanted.len());
    for (name, oid) in wanted {
        // Said to have no modifier, a type is not printed as one that has the least of them.
        let (printed,): (String,) = sqlx::query_as("SELECT pg_catalog.format_type($1::pg_catalog.int8::pg_catalog.oid, -1)")
            .bind(oid)
            .fetch_one(&mut *connection)
            .await
            .map_err(from_sqlx)?;
        let data_type = types.data_type(*oid, -1, &printed);
        columns.push(ColumnSchema {
            name: (*name).to_owned(),
            portable_type: data_type.clone(),
            data_type,
            native_type: printed,
            nullable: true,
            default: None,
            generated: None,
            identity: None,
            numbering: None,
            collation: None,
            comment: None,
        });
    }
    Ok(columns)
}

/// Runs a query and reads each row by the names of its columns.
async fn rows<T: DeserializeOwned>(connection: &mut PgConnection, sql: &str) -> Result<Vec<T>> {
    // As JSON, because rows of this width fit no tuple and their fields are best matched by name.
    let sql = format!("SELECT pg_catalog.row_to_json(q)::pg_catalog.text FROM ({sql}) AS q");
    let texts: Vec<(String,)> =
        sqlx::query_as(AssertSqlSafe(sql)).persistent(false).fetch_all(connection).await.map_err(from_sqlx)?;
    let parse = |(text,): (String,)| {
        serde_json::from_str(&text)
            .map_err(|e| Error::new(ErrorKind::Internal, "a row of the catalogs could not be read").caused_by(e))
    };
    texts.into_iter().map(parse).collect()
}
