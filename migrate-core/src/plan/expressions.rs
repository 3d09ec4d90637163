//! What the source is to make of its rows: the expressions of a job's steps, described by the source before anything else is planned.

use super::names::Chosen;
use crate::error::{Error, ErrorKind, Result};
use crate::expression::Expression;
use crate::filter::Parameter;
use crate::job::Entity;
use crate::schema::{ColumnSchema, Computed, TableSchema};
use crate::source::Source;
use std::collections::BTreeMap;

/// Returns, for each entity that has expressions, its table with the columns that they make, in the order of its steps.
///
/// # Errors
/// [`ErrorKind::Config`] where the source evaluates no expressions or refuses one; naming entity and column.
pub(super) async fn computed(
    chosen: &[Chosen<'_>],
    params: &BTreeMap<String, Parameter>,
    source: &dyn Source,
) -> Result<Vec<Option<TableSchema>>> {
    let mut tables = Vec::with_capacity(chosen.len());
    for Chosen { entity, table, .. } in chosen {
        tables.push(with_computed(entity, table, params, source).await?);
    }
    Ok(tables)
}

async fn with_computed(
    entity: &Entity,
    table: &TableSchema,
    params: &BTreeMap<String, Parameter>,
    source: &dyn Source,
) -> Result<Option<TableSchema>> {
    let about = |error: Error| error.with("entity", entity.name()).with("field", "transform");
    let (mut wanted, mut names): (Vec<(String, Expression)>, Vec<String>) = Default::default();
    for (step, sql) in entity.transform.iter().filter_map(|step| Some((step, step.sql.as_ref()?))) {
        if !source.capabilities().expressions {
            let message = format!("the source, {}, evaluates no expressions, as the step sql needs", source.name());
            return Err(about(Error::new(ErrorKind::Config, message).with("column", &step.column)));
        }
        // The column that it replaces can still be read under its own name.
        let mut name = step.column.clone();
        while table.column(&name).is_some() || names.contains(&name) {
            name.push_str(" (sql)");
        }
        names.push(name);
        let expression = Expression::parse(sql, params).map_err(|error| about(error.with("column", &step.column)))?;
        wanted.push((step.column.clone(), expression));
    }
    if wanted.is_empty() {
        return Ok(None);
    }
    let columns = source.describe(table, &wanted).await.map_err(|error| about(refused(error).with("side", "source")))?;
    if columns.len() != wanted.len() {
        return Err(about(Error::new(
            ErrorKind::Internal,
            "the source describes another number of columns than it was asked for",
        )));
    }
    let pure = entity.transform.iter().filter(|step| step.sql.is_some()).map(|step| step.pure);
    let mut computed = Vec::with_capacity(wanted.len());
    for (((column, (made, expression)), name), pure) in columns.into_iter().zip(wanted).zip(names).zip(pure) {
        computed.push(Computed { column: ColumnSchema { name, ..column }, made, expression, pure });
    }
    Ok(Some(TableSchema { computed, ..table.clone() }))
}

/// What the engine says against an expression is the job's mistake; all else is what it is.
fn refused(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Schema
        | ErrorKind::NotFound
        | ErrorKind::Unsupported
        | ErrorKind::RowRejected
        | ErrorKind::Constraint
        | ErrorKind::Internal => {
            let message = format!("the source refuses the expression: {}", error.message());
            let context = error.context().iter().map(|(name, object)| (*name, object));
            context.fold(Error::new(ErrorKind::Config, message), |refused, (name, object)| refused.with(name, object))
        }
        ErrorKind::Config
        | ErrorKind::Connection
        | ErrorKind::Authentication
        | ErrorKind::ConnectionLost
        | ErrorKind::CommitUnknown
        | ErrorKind::Permission
        | ErrorKind::Conflict
        | ErrorKind::Busy
        | ErrorKind::Fenced
        | ErrorKind::NoSpace
        | ErrorKind::TooManyRefused
        | ErrorKind::Refused
        | ErrorKind::Mismatch
        | ErrorKind::Corrupt
        | ErrorKind::Cancelled
        | ErrorKind::Io => error,
    }
}
