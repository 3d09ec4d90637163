//! One exported snapshot and the sessions that share it.

use crate::config::PostgresConfig;
use crate::connection::{SessionRole, close, connect, execute, no_zero_byte};
use crate::error::from_sqlx;
use crate::select::{Condition, Rendered, operator_schemas, parameter, runs_users_sql};
use crate::sql::{quote_ident, quote_literal};
use migrate_core::filter::Filter;
use migrate_core::schema::{ColumnSchema, TableSchema};
use migrate_core::{Error, ErrorKind, Result};
use sqlx::postgres::PgConnection;
use std::sync::{Arc, Mutex, PoisonError};

/// A snapshot that one session holds and any number of others join.
///
/// A session that ended its last query cleanly waits here for the next one; one whose query was dropped half-way is closed, since
/// what it still has to say would be taken for the next query's answer.
pub(crate) struct View {
    config: Arc<PostgresConfig>,
    snapshot: String,
    idle: Mutex<Vec<Session>>,
    /// Holds the snapshot open and says nothing more; there until the view is dropped.
    holder: Option<PgConnection>,
}

/// A session within the snapshot, and the search path it was given last.
pub(crate) struct Session {
    pub(crate) connection: PgConnection,
    path: String,
}

impl View {
    /// Exports the snapshot of a session whose transaction has been begun.
    pub(crate) async fn export(config: Arc<PostgresConfig>, mut holder: PgConnection) -> Result<Arc<View>> {
        let exported: Result<(String,), sqlx::Error> =
            sqlx::query_as("SELECT pg_catalog.pg_export_snapshot()").fetch_one(&mut holder).await;
        let (snapshot,) = exported.map_err(|e| {
            let error = from_sqlx(e);
            let kind = if error.kind() == ErrorKind::ConnectionLost { error.kind() } else { ErrorKind::Unsupported };
            Error::new(kind, "the server cannot share a snapshot between sessions").caused_by(error)
        })?;
        Ok(Arc::new(View { config, snapshot, idle: Mutex::default(), holder: Some(holder) }))
    }

    /// Takes a session of this snapshot, set up for queries on a table.
    pub(crate) async fn session(&self, table: &TableSchema, filter: Option<&Filter>, key: &[&ColumnSchema]) -> Result<Session> {
        let waiting = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut session = match waiting {
            Some(session) => session,
            None => self.join().await?,
        };
        let mut path = operator_schemas(key).join(", ");
        if runs_users_sql(table, filter) {
            path = format!("role's own, {path}");
        }
        if path != session.path {
            let own = path.strip_prefix("role's own, ");
            let extra = own.unwrap_or(&path);
            let sql = match (own, extra) {
                (None, "") => "SET search_path = ''".to_owned(),
                (None, extra) => format!("SET search_path = {extra}"),
                (Some(_), "") => "RESET search_path".to_owned(),
                (Some(_), extra) => format!(
                    "RESET search_path; SELECT pg_catalog.set_config('search_path', \
                     pg_catalog.concat_ws(', ', NULLIF(pg_catalog.current_setting('search_path'), ''), {}), false)",
                    quote_literal(extra)
                ),
            };
            execute(&mut session.connection, sql).await?;
            session.path = path;
        }
        Ok(session)
    }

    /// Gives back a session whose last query has ended cleanly.
    pub(crate) fn give_back(&self, session: Session) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    }

    async fn join(&self) -> Result<Session> {
        let mut connection = connect(&self.config, SessionRole::Reader).await?;
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
            quote_literal(&self.snapshot)
        );
        execute(&mut connection, begin).await.map_err(|e| match e.kind() {
            ErrorKind::ConnectionLost | ErrorKind::Connection => e,
            // The server knows the snapshot no more: the session that held it is gone.
            _ => Error::new(ErrorKind::ConnectionLost, "the snapshot is gone: the session that held it has ended").caused_by(e),
        })?;
        Ok(Session { connection, path: String::new() })
    }
}

impl Drop for View {
    /// Takes leave of the server where a runtime is there to do so; else it only sees the connections close.
    fn drop(&mut self) {
        let idle = std::mem::take(self.idle.get_mut().unwrap_or_else(PoisonError::into_inner));
        let all: Vec<PgConnection> = idle.into_iter().map(|s| s.connection).chain(self.holder.take()).collect();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                for connection in all {
                    close(connection).await;
                }
            });
        }
    }
}

impl Session {
    /// Binds a filter's parameters and returns the condition.
    ///
    /// COPY takes no parameters, so each becomes a setting of the session, read by the condition: no value is ever part of SQL.
    pub(crate) async fn render_filter(&mut self, table: &str, filter: Option<&Filter>) -> Result<Condition> {
        self.render_filter_as("p", table, filter).await
    }

    /// Renders a filter as [`Session::render_filter`] does, under names of settings that other filters of the query do not have.
    pub(crate) async fn render_filter_as(&mut self, prefix: &str, table: &str, filter: Option<&Filter>) -> Result<Condition> {
        let Some(filter) = filter else { return Ok(Condition(None)) };
        let (mut settings, mut inferred) = (Vec::new(), Vec::new());
        for (number, (name, value)) in filter.parameters().iter().enumerate() {
            match parameter(value) {
                Rendered::Typed(text, cast) => settings.push((name, number, text, Some(format!("pg_catalog.{cast}")))),
                Rendered::Inferred(text) => {
                    inferred.push((settings.len(), name));
                    settings.push((name, number, text, None));
                }
            }
        }
        let expression = |number: usize, cast: &str| format!("(pg_catalog.current_setting('migrate.{prefix}{number}')::{cast})");
        if !inferred.is_empty() {
            // The server says which type a text has where it stands, as it would for a literal.
            let probe = filter.render(|name, _| match inferred.iter().position(|(_, n)| *n == name) {
                Some(at) => format!("${}", at + 1),
                None => settings
                    .iter()
                    .find(|s| s.0 == name)
                    .map_or_else(String::new, |s| expression(s.1, s.3.as_deref().unwrap_or("pg_catalog.text"))),
            });
            let types = self.infer(table, &probe).await?;
            for ((at, _), inferred_type) in inferred.iter().zip(types) {
                settings[*at].3 = Some(inferred_type);
            }
        }
        for (name, number, text, _) in &settings {
            if text.contains('\0') {
                return Err(Error::new(ErrorKind::Config, format!("the parameter :{name} holds a zero byte")));
            }
            sqlx::query("SELECT pg_catalog.set_config($1, $2, false)")
                .bind(format!("migrate.{prefix}{number}"))
                .bind(text)
                .execute(&mut self.connection)
                .await
                .map_err(from_sqlx)?;
        }
        let sql = filter.render(|name, _| {
            settings
                .iter()
                .find(|s| s.0 == name)
                .map_or_else(String::new, |s| expression(s.1, s.3.as_deref().unwrap_or("pg_catalog.text")))
        });
        no_zero_byte(&sql)?;
        Ok(Condition(Some(sql)))
    }

    async fn infer(&mut self, table: &str, probe: &str) -> Result<Vec<String>> {
        let name = quote_ident("migrate_filter");
        execute(&mut self.connection, format!("PREPARE {name} AS SELECT 1 FROM {table} WHERE ({probe}\n)")).await.map_err(
            |e| {
                // `:a = :b` gives the server nothing to go by.
                match e.context().iter().any(|(_, code)| code == "42P18") {
                    true => Error::new(ErrorKind::Config, "the type of a parameter is not clear; cast it, as in :name::date")
                        .caused_by(e),
                    false => e,
                }
            },
        )?;
        let (types,): (Vec<String>,) =
            sqlx::query_as("SELECT parameter_types::pg_catalog.text[] FROM pg_catalog.pg_prepared_statements WHERE name = $1")
                .bind("migrate_filter")
                .fetch_one(&mut self.connection)
                .await
                .map_err(from_sqlx)?;
        execute(&mut self.connection, format!("DEALLOCATE {name}")).await?;
        Ok(types)
    }
}
