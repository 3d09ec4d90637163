//! Rows put aside in a temporary table, from where one statement moves them into place.

use crate::connection::execute;
use crate::copy_in::{CopyIn, Destination};
use crate::encode::Layout;
use crate::facts::Facts;
use crate::sql::quote_ident;
use migrate_core::sink::WriteRequest;
use migrate_core::{Error, ErrorKind, Result};
use sqlx::postgres::PgConnection;

/// Rows from which on the planner needs to know what is in the stage.
const WORTH_ANALYZING: usize = 2_000;

/// A temporary table of this transaction: `o` is the row's place in the request, `c0`, `c1`, … are the columns.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    /// The table, quoted, in the session's own schema.
    pub(crate) qualified: String,
    name: String,
    /// The target's columns, in the order of the stage's.
    pub(crate) columns: Vec<String>,
}

impl Stage {
    /// Creates the stage. Its columns have the target's types and collations, and none of its constraints.
    pub(crate) async fn create(connection: &mut PgConnection, facts: &Facts, columns: &[String], number: usize) -> Result<Stage> {
        let stage = Stage::named(&format!("migrate_stage_{number}"), columns);
        let name = &stage.name;
        let list: String =
            columns.iter().enumerate().map(|(i, c)| format!(", t.{} AS c{i}", quote_ident(c))).collect::<Vec<_>>().concat();
        let sql = format!(
            "CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS SELECT 0::pg_catalog.int4 AS o{list} FROM {}{} t WITH NO DATA",
            facts.only, facts.qualified
        );
        execute(connection, in_row_security(facts, &sql)).await?;
        Ok(stage)
    }

    /// Names a stage.
    pub(crate) fn named(name: &str, columns: &[String]) -> Stage {
        Stage { qualified: format!("pg_temp.{name}"), name: name.to_owned(), columns: columns.to_vec() }
    }

    /// Empties the stage.
    pub(crate) async fn empty(&self, connection: &mut PgConnection) -> Result<()> {
        execute(connection, format!("TRUNCATE {}", self.qualified)).await.map(drop)
    }

    /// Fills the stage with the rows of a request. The connection is gone if the COPY was not brought to an end.
    pub(crate) async fn fill(&self, connection: PgConnection, request: &WriteRequest<'_>) -> (Option<PgConnection>, Result<()>) {
        match self.copy(connection, request).await {
            (Some(mut connection), Ok(())) => {
                // The planner knows nothing of a table made just now, and a bad join costs more than a sample.
                let analyzed = if request.row_count() >= WORTH_ANALYZING && !request.key.is_empty() {
                    let key: Vec<String> = request.key.iter().filter_map(|k| self.place(k)).collect();
                    execute(&mut connection, format!("ANALYZE {} ({})", self.qualified, key.join(", "))).await.map(drop)
                } else {
                    Ok(())
                };
                (Some(connection), analyzed)
            }
            other => other,
        }
    }

    async fn copy(&self, connection: PgConnection, request: &WriteRequest<'_>) -> (Option<PgConnection>, Result<()>) {
        let columns = (0..self.columns.len()).map(|i| format!(", c{i}")).collect::<String>();
        let to = Destination { qualified: &self.qualified, name: &self.name, columns: &format!("o{columns}") };
        let layout = match Layout::choose(request.page, request.table) {
            Ok(layout) => layout,
            Err(error) => return (Some(connection), Err(error)),
        };
        let mut copy = match CopyIn::begin(connection, &to, layout) {
            Ok(copy) => copy,
            Err(error) => return (None, Err(error)),
        };
        if let Err(error) = copy.write(request.page, request.rows, true).await {
            return (copy.abandon().await, Err(error));
        }
        let sent = copy.rows();
        let (connection, copied) = copy.finish().await;
        (connection, copied.and_then(|copied| counted(copied, sent)))
    }

    /// The stage's name for a column of the target.
    pub(crate) fn place(&self, column: &str) -> Option<String> {
        self.columns.iter().position(|c| c == column).map(|i| format!("c{i}"))
    }

    /// The condition that `t`, the target's row, has the key of `s`, the stage's row.
    pub(crate) fn same_key(&self, facts: &Facts, key: &[String]) -> Result<String> {
        let conditions: Result<Vec<String>> = key
            .iter()
            .map(|column| {
                let place = self
                    .place(column)
                    .ok_or_else(|| Error::new(ErrorKind::Schema, "the rows lack a column of their key").with("column", column))?;
                facts.equals(column, &format!("s.{place}"))
            })
            .collect();
        Ok(conditions?.join(" AND "))
    }
}

/// Compares the server's number of rows with our own.
pub(crate) fn counted(server: u64, sent: u64) -> Result<()> {
    if server == sent {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Mismatch, format!("{sent} rows were sent and the server took {server}")))
}

/// Lets policies apply to a statement instead of refusing it. Used only where a policy that forbids a row is an error.
pub(crate) fn in_row_security(facts: &Facts, sql: &str) -> String {
    if !facts.row_security {
        return sql.to_owned();
    }
    format!("SET LOCAL row_security = on; {sql}; SET LOCAL row_security = off")
}
