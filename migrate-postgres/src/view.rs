//! One exported snapshot and the sessions that share it.

use crate::config::PostgresConfig;
use crate::connection::{SessionRole, close, connect, execute, no_zero_byte};
use crate::error::from_sqlx;
use crate::select::{Condition, Rendered, Selected, from_item, operator_schemas, parameter, runs_users_sql};
use crate::sql::{quote_ident, quote_literal};
use migrate_core::expression::Expression;
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
        session.prepare(table, filter, key).await?;
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
    /// Takes a session by itself, with the role's own search path.
    pub(crate) async fn of_role(mut connection: PgConnection) -> Result<Self> {
        execute(&mut connection, "RESET search_path").await?;
        Ok(Session { connection, path: "role's own, ".to_owned() })
    }

    /// Sets the search path up for queries on a table.
    pub(crate) async fn prepare(&mut self, table: &TableSchema, filter: Option<&Filter>, key: &[&ColumnSchema]) -> Result<()> {
        let mut path = operator_schemas(key).join(", ");
        if runs_users_sql(table, filter) {
            path = format!("role's own, {path}");
        }
        if path != self.path {
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
            execute(&mut self.connection, sql).await?;
            self.path = path;
        }
        Ok(())
    }

    /// Binds a filter's parameters and returns the condition.
    ///
    /// COPY takes no parameters, so each becomes a setting of the session, read by the condition: no value is ever part of SQL.
    pub(crate) async fn render_filter(&mut self, table: &str, filter: Option<&Filter>) -> Result<Condition> {
        self.render_filter_as("p", table, filter).await
    }

    /// Renders a filter as [`Session::render_filter`] does, under names of settings that other filters of the query do not have.
    pub(crate) async fn render_filter_as(&mut self, prefix: &str, table: &str, filter: Option<&Filter>) -> Result<Condition> {
        let Some(filter) = filter else { return Ok(Condition(None)) };
        let place = |sql: &str| format!("SELECT 1 FROM {table} WHERE ({sql}\n)");
        self.render(prefix, filter, &place).await.map(|sql| Condition(Some(sql)))
    }

    /// Returns what stands for each column of a table in a query on it, and binds the parameters of those that are made by expressions.
    pub(crate) async fn selected<'a>(&mut self, table: &TableSchema, columns: &[&'a ColumnSchema]) -> Result<Vec<Selected<'a>>> {
        let mut selected = Vec::with_capacity(columns.len());
        for column in columns {
            let mut one = Selected::own(column);
            // A column of the table's own is never meant by the name of one that is made.
            if let Some((number, computed)) = table.computed.iter().enumerate().find(|(_, made)| made.column.name == column.name)
            {
                one.sql = self.render_expression(number, &from_item(table), &computed.expression).await?;
                if column.native_type == "text" {
                    // A literal, or NULL, is text in a list alone.
                    one.sql.push_str("::pg_catalog.text");
                }
            }
            selected.push(one);
        }
        Ok(selected)
    }

    /// Renders an expression over the rows of a table in parentheses, and binds its parameters under settings of this number.
    pub(crate) async fn render_expression(&mut self, number: usize, table: &str, expression: &Expression) -> Result<String> {
        let place = |sql: &str| format!("SELECT ({sql}\n) FROM {table}");
        let sql = self.render(&format!("e{number}_"), expression.as_filter(), &place).await?;
        // The line break ends a comment that it may end with.
        Ok(format!("({sql}\n)"))
    }

    /// Renders SQL of the user's, and binds its parameters; `place` says where it will stand.
    async fn render(&mut self, prefix: &str, filter: &Filter, place: &(dyn Fn(&str) -> String + Sync)) -> Result<String> {
        if filter.parameters().is_empty() {
            let sql = filter.render(|_, _| String::new());
            return no_zero_byte(&sql).map(|()| sql);
        }
        let (mut settings, mut inferred) = (Vec::new(), Vec::new());
        for (number, (name, value)) in filter.parameters().iter().enumerate() {
            let setting = format!("migrate.{prefix}{number}");
            let (text, cast) = match parameter(value) {
                Rendered::Typed(text, cast) => (text, Some(format!("pg_catalog.{cast}"))),
                Rendered::Inferred(text) => {
                    inferred.push(settings.len());
                    (text, None)
                }
            };
            settings.push(Setting { name, setting, text, cast });
        }
        let expression = |s: &Setting<'_>| {
            let cast = s.cast.as_deref().unwrap_or("pg_catalog.text");
            format!("(pg_catalog.current_setting('{}')::{cast})", s.setting)
        };
        // The server says which type a text has where it stands, as it would for a literal.
        let probe = |inferred: &[usize], settings: &[Setting<'_>]| {
            place(&filter.render(|name, _| match settings.iter().position(|s| s.name == name) {
                Some(at) => match inferred.iter().position(|i| *i == at) {
                    Some(place) => format!("${}", place + 1),
                    None => expression(&settings[at]),
                },
                None => String::new(),
            }))
        };
        let types = match self.infer(&probe(&inferred, &settings)).await {
            Err(error) if inferred.len() < settings.len() && no_operator(&error) => {
                // A number stands where text does, such as a user's id: then the place decides for all.
                inferred = (0..settings.len()).collect();
                self.infer(&probe(&inferred, &settings)).await.map_err(|_| error)?
            }
            outcome => outcome?,
        };
        for (at, inferred_type) in inferred.iter().zip(types) {
            settings[*at].cast = Some(inferred_type);
        }
        for Setting { name, setting, text, .. } in &settings {
            if text.contains('\0') {
                return Err(Error::new(ErrorKind::Config, format!("the parameter :{name} holds a zero byte")));
            }
            sqlx::query("SELECT pg_catalog.set_config($1, $2, false)")
                .bind(setting)
                .bind(text)
                .execute(&mut self.connection)
                .await
                .map_err(from_sqlx)?;
        }
        let sql = filter.render(|name, _| settings.iter().find(|s| s.name == name).map_or_else(String::new, &expression));
        no_zero_byte(&sql).map(|()| sql)
    }

    /// Returns the types that the server gives the numbered parameters of a query.
    async fn infer(&mut self, probe: &str) -> Result<Vec<String>> {
        let name = quote_ident("migrate_filter");
        // An error must not end the transaction, and the snapshot with it.
        let prepare = format!("SAVEPOINT {name}; PREPARE {name} AS {probe}; RELEASE SAVEPOINT {name}");
        if let Err(error) = execute(&mut self.connection, prepare).await {
            // Where this fails too, the session is lost, as the error before says.
            let _ = execute(&mut self.connection, format!("ROLLBACK TO SAVEPOINT {name}; RELEASE SAVEPOINT {name}")).await;
            // `:a = :b` gives the server nothing to go by.
            return Err(match has_code(&error, &["42P18"]) {
                true => Error::new(ErrorKind::Config, "the type of a parameter is not clear; cast it, as in :name::date")
                    .caused_by(error),
                false => error,
            });
        }
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

/// A parameter of a filter: the setting that holds its text, and the type that this is cast to, once that is known.
struct Setting<'f> {
    name: &'f str,
    setting: String,
    text: String,
    cast: Option<String>,
}

/// Whether the server found no operator or function, or more than one: undefined_function, datatype_mismatch, ambiguous_function.
fn no_operator(error: &Error) -> bool {
    has_code(error, &["42883", "42804", "42725"])
}

fn has_code(error: &Error, codes: &[&str]) -> bool {
    error.context().iter().any(|(_, code)| codes.contains(&code.as_str()))
}
