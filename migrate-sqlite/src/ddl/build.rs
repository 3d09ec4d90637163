//! Runs a schema plan: tables before the load, indexes and checks after it. Every step looks first whether it is done.

use super::{add_column, create_index, create_table};
use crate::error::SqliteContext;
use crate::sql;
use crate::state;
use migrate_core::schema::{ColumnSchema, ForeignKey, Identity, Index, TableSchema};
use migrate_core::sink::{OnStep, SchemaPlan, TablePlan};
use migrate_core::state::{Fence, UnfinishedTable};
use migrate_core::{Error, ErrorKind, Result};
use rusqlite::{Connection, OptionalExtension, params};

/// How many keys an error about broken constraints names.
const EXAMPLES: usize = 5;

/// Rows that `ANALYZE` looks at for each index.
const ANALYSIS_LIMIT: u32 = 1000;

fn created(plan: &SchemaPlan) -> impl Iterator<Item = &TablePlan> {
    plan.tables.iter().filter(|t| t.create)
}

/// Creates the missing tables of a plan and records them as unfinished, and adds columns to others, in one transaction.
pub(crate) fn prepare(connection: &Connection, plan: &SchemaPlan, fence: &Fence) -> Result<()> {
    state::in_transaction(connection, |connection| {
        let mut names: Vec<String> = Vec::new();
        for wanted in created(plan) {
            let name = &wanted.table.name.name;
            if names.iter().any(|n| n.eq_ignore_ascii_case(name)) {
                return Err(Error::new(
                    ErrorKind::Schema,
                    "two tables of the plan differ by case only, which SQLite takes for one",
                )
                .with("table", name));
            }
            names.push(name.clone());
        }
        for wanted in created(plan) {
            check_parents(connection, wanted, &names)?;
            create(connection, wanted, &fence.job)?;
        }
        for wanted in plan.tables.iter().filter(|t| !t.create) {
            add_columns(connection, wanted).map_err(|e| e.with("table", &wanted.table.name))?;
        }
        state::check_fence(connection, fence)
    })
}

/// A reference to a table that is not there would make every later write to the table fail.
fn check_parents(connection: &Connection, wanted: &TablePlan, names: &[String]) -> Result<()> {
    for reference in &wanted.table.foreign_keys {
        let parent = &reference.parent.name;
        if !names.iter().any(|n| n.eq_ignore_ascii_case(parent)) && existing(connection, parent)?.is_none() {
            return Err(Error::new(ErrorKind::Schema, "the table refers to one that is neither in the target nor to be created")
                .with("parent", parent)
                .with("table", &wanted.table.name));
        }
    }
    Ok(())
}

fn create(connection: &Connection, wanted: &TablePlan, job: &str) -> Result<()> {
    let doing = "creating a table";
    let table = &wanted.table;
    let statement = create_table(table);
    if let Some((kind, name, sql)) = existing(connection, &table.name.name)? {
        if kind == "table" && name == table.name.name && (sql == statement || state::is_unfinished(connection, &name)?) {
            return Ok(());
        }
        return Err(Error::new(ErrorKind::Schema, format!("there is already another {kind} of this name: {name}"))
            .with("table", &table.name));
    }
    connection.execute_batch(&statement).during(doing).map_err(|e| e.with("table", &table.name))?;
    state::begin_table(connection, job, &UnfinishedTable { name: table.name.clone(), plan: wanted.clone() })
}

/// Adds the columns that a table is to have and lacks.
fn add_columns(connection: &Connection, wanted: &TablePlan) -> Result<()> {
    let table = &wanted.table;
    for column in wanted.added_columns() {
        let query = "SELECT EXISTS (SELECT 1 FROM pragma_table_xinfo(?1, 'main') WHERE lower(name) = lower(?2))";
        let exists: bool = connection
            .query_row(query, [&table.name.name, &column.name], |row| row.get(0))
            .during("looking for a column")
            .map_err(|e| e.with("column", &column.name))?;
        if !exists {
            let added = connection.execute_batch(&add_column(table, column)).during("adding a column");
            added.map_err(|e| e.with("column", &column.name))?;
        }
    }
    Ok(())
}

/// Whether the columns that a plan adds could be added: a STRICT table knows six types, and none of those that say more.
pub(crate) fn check_alterable(plan: &TablePlan) -> Result<()> {
    const KNOWN: [&str; 6] = ["INT", "INTEGER", "REAL", "TEXT", "BLOB", "ANY"];
    let table = &plan.table;
    if !table.options.iter().any(|option| option == "STRICT") {
        return Ok(());
    }
    let unknown = |column: &&ColumnSchema| !KNOWN.iter().any(|known| known.eq_ignore_ascii_case(&column.native_type));
    match plan.added_columns().find(unknown) {
        None => Ok(()),
        Some(column) => {
            let message = format!("a STRICT table takes no column of type {}; add one by hand", column.native_type);
            Err(Error::new(ErrorKind::Unsupported, message).with("column", &column.name).with("table", &table.name))
        }
    }
}

/// The kind, name and statement of what has a name, in any case.
fn existing(connection: &Connection, name: &str) -> Result<Option<(String, String, String)>> {
    let query = "SELECT type, name, coalesce(sql, '') FROM main.sqlite_schema WHERE lower(name) = lower(?1)";
    connection
        .query_row(query, [name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()
        .during("looking for a table")
}

/// Builds the missing indexes of the tables that a plan creates; only those that are keys if `keys_only`.
pub(crate) fn build_indexes(
    connection: &Connection,
    plan: &SchemaPlan,
    fence: &Fence,
    keys_only: bool,
    progress: &OnStep<'_>,
) -> Result<()> {
    for table in created(plan).map(|t| &t.table) {
        for index in &table.indexes {
            if keys_only && !(index.unique && index.predicate.is_none()) {
                continue;
            }
            let Some(name) = free_name(connection, index, table)? else { continue };
            progress(&format!("index {name} on {}", table.name));
            state::in_transaction(connection, |connection| {
                let result = connection.execute_batch(&create_index(index, &name, &table.name)).during("building an index");
                result.map_err(|error| match error.kind() {
                    ErrorKind::RowRejected if index.unique => duplicates(connection, index, table).unwrap_or_else(|e| e),
                    _ => error.with("index", &name).with("table", &table.name),
                })?;
                state::check_fence(connection, fence)
            })?;
        }
    }
    Ok(())
}

/// The name to build an index under: its own, or another where a table or another table's index has it; `None` if it is built.
fn free_name(connection: &Connection, index: &Index, table: &TableSchema) -> Result<Option<String>> {
    let own = [index.name.clone(), format!("{}_{}", table.name.name, index.name)].into_iter();
    let numbered = (2..).map(|n| format!("{}_{}_{n}", table.name.name, index.name));
    for name in own.chain(numbered) {
        match existing(connection, &name)? {
            None if !name.to_ascii_lowercase().starts_with("sqlite_") => return Ok(Some(name)),
            Some((kind, name, sql)) if kind == "index" && sql == create_index(index, &name, &table.name) => return Ok(None),
            None | Some(_) => {}
        }
    }
    Ok(None)
}

/// The error of a unique index that cannot be built.
fn duplicates(connection: &Connection, index: &Index, table: &TableSchema) -> Result<Error> {
    let doing = "counting the rows that break a unique index";
    let name = &table.name.name;
    let parts: Vec<String> = index
        .parts
        .iter()
        .map(|p| p.column.as_ref().map_or_else(|| p.expression.clone().unwrap_or_default(), |c| sql::column(name, c)))
        .collect();
    let mut conditions: Vec<String> = parts.iter().map(|p| format!("{p} IS NOT NULL")).collect();
    conditions.extend(index.predicate.iter().map(|p| format!("({p})")));
    let groups = format!(
        "SELECT count(*) AS n, {} AS k FROM {} WHERE {} GROUP BY {} HAVING count(*) > 1",
        key_text(table),
        sql::table(name),
        conditions.join(" AND "),
        parts.join(", ")
    );
    let count: i64 =
        connection.query_row(&format!("SELECT coalesce(sum(n), 0) FROM ({groups})"), [], |r| r.get(0)).during(doing)?;
    let mut statement = connection.prepare(&format!("SELECT k FROM ({groups}) LIMIT {EXAMPLES}")).during(doing)?;
    let keys = statement
        .query_map([], |r| r.get::<_, String>(0))
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .during(doing)?;
    let columns = index.parts.iter().map(|p| p.column.as_deref().unwrap_or("an expression")).collect::<Vec<_>>().join(", ");
    let message = format!("{count} rows are not unique in ({columns}); among them those of the keys {}", keys.join("; "));
    Ok(Error::new(ErrorKind::Constraint, message).with("constraint", &index.name).with("table", &table.name))
}

/// An expression that prints a row's key for a message, at most 200 characters of it.
fn key_text(table: &TableSchema) -> String {
    let name = &table.name.name;
    let columns = table.natural_key().unwrap_or_default();
    if columns.is_empty() {
        return "'(no key)'".to_owned();
    }
    let parts = columns.iter().map(|c| format!("coalesce(substr(CAST({} AS TEXT), 1, 200), 'NULL')", sql::column(name, c)));
    parts.collect::<Vec<_>>().join(" || ', ' || ")
}

/// Completes a plan: indexes, then the references of all tables, then statistics.
pub(crate) fn finish(connection: &Connection, plan: &SchemaPlan, fence: &Fence, progress: &OnStep<'_>) -> Result<()> {
    build_indexes(connection, plan, fence, false, progress)?;
    for table in created(plan).map(|t| &t.table) {
        if !table.foreign_keys.is_empty() {
            progress(&format!("references of {}", table.name));
        }
        for reference in &table.foreign_keys {
            match check_reference(connection, table, reference) {
                // Nobody has looked after this reference at the source either: its rows are copied as they are, and it is said.
                Err(error) if error.kind() == ErrorKind::Constraint && !reference.validated => {
                    progress(&format!("references of {}: {}", table.name, error.message()));
                }
                other => other?,
            }
        }
    }
    // Short steps, so one commit for all: each costs a sync of the disk.
    state::in_transaction(connection, |connection| {
        for table in created(plan).map(|t| &t.table) {
            progress(&format!("statistics of {}", table.name));
            let doing = "completing a table";
            let analyze = format!("PRAGMA analysis_limit = {ANALYSIS_LIMIT}; ANALYZE {}", sql::table(&table.name.name));
            connection.execute_batch(&analyze).during(doing).map_err(|e| e.with("table", &table.name))?;
            number_on(connection, table)?;
            state::end_table(connection, &fence.job, &table.name)?;
        }
        state::check_fence(connection, fence)
    })
}

/// Lets an AUTOINCREMENT table number on from where the source's had come, also where no row has those numbers any more.
fn number_on(connection: &Connection, table: &TableSchema) -> Result<()> {
    let doing = "setting a sequence";
    let numbered = table.columns.iter().find(|c| matches!(c.identity, Some(Identity::RowId { autoincrement: true })));
    let Some(column) = numbered else { return Ok(()) };
    // SQLite itself makes the entry with the first row, and keeps it at least at the rows' highest number.
    let insert = "INSERT INTO main.sqlite_sequence(name, seq) SELECT ?1, 0
                  WHERE NOT EXISTS (SELECT 1 FROM main.sqlite_sequence WHERE name = ?1)";
    connection.execute(insert, params![table.name.name]).during(doing)?;
    let reached = column.numbering.as_ref().and_then(|n| n.reached).unwrap_or(0);
    let raise = "UPDATE main.sqlite_sequence SET seq = ?2 WHERE name = ?1 AND seq < ?2";
    connection.execute(raise, params![table.name.name, reached]).during(doing)?;
    Ok(())
}

/// Finds rows of a table whose parent is missing. The load does not look at references, so this is where they are made sure of.
fn check_reference(connection: &Connection, table: &TableSchema, reference: &ForeignKey) -> Result<()> {
    let doing = "checking a reference";
    let (child, parent) = (&table.name.name, &reference.parent.name);
    let not_null =
        reference.columns.iter().map(|c| format!("{} IS NOT NULL", sql::column(child, c))).collect::<Vec<_>>().join(" AND ");
    // The parent under another name, for references of a table to itself.
    let matches = reference.columns.iter().zip(&reference.parent_columns);
    let matches = matches.map(|(c, p)| format!("{} = {}", sql::column("_migrate_parent", p), sql::column(child, c)));
    let matches = matches.collect::<Vec<_>>().join(" AND ");
    let orphans = format!(
        "FROM {} WHERE {not_null} AND NOT EXISTS (SELECT 1 FROM {} AS \"_migrate_parent\" WHERE {matches})",
        sql::table(child),
        sql::table(parent)
    );
    let context = |e: Error| e.with("parent", &reference.parent).with("table", &table.name);
    let count: i64 =
        connection.query_row(&format!("SELECT count(*) {orphans}"), [], |r| r.get(0)).during(doing).map_err(context)?;
    if count == 0 {
        return Ok(());
    }
    let mut statement = connection.prepare(&format!("SELECT {} {orphans} LIMIT {EXAMPLES}", key_text(table))).during(doing)?;
    let keys = statement
        .query_map([], |r| r.get::<_, String>(0))
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .during(doing)?;
    let columns = reference.columns.join(", ");
    let message = format!(
        "{count} rows refer by ({columns}) to parents that do not exist; among them those of the keys {}",
        keys.join("; ")
    );
    let name = reference.name.clone().unwrap_or_else(|| format!("foreign key on ({columns})"));
    Err(context(Error::new(ErrorKind::Constraint, message).with("constraint", name)))
}
