//! The record of executions in a SQLite file.

mod migrations;
mod rows;

use crate::config::{Access, SqliteConfig};
use crate::error::SqliteContext;
use crate::thread::Worker;
use async_trait::async_trait;
use migrate_core::error::{Error, ErrorKind, Result};
use migrate_core::job::{
    Execution, ExecutionPage, ExecutionQuery, Finish, LogPage, LogQuery, Owner, Recorder, Standing, Timestamp, Update,
};
use rusqlite::{Connection, OptionalExtension, ToSql, Transaction, TransactionBehavior, params, params_from_iter};
use std::time::Duration;

/// A call waits at least this long for other processes that write to the same file.
const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps the record of executions in a SQLite file; any number of processes may share it.
///
/// Tables: `migration_jobs`, `migration_executions`, `migration_attempts`, `migration_execution_entities`, `migration_logs`.
#[derive(Debug)]
pub struct SqliteStore {
    worker: Worker,
}

impl SqliteStore {
    /// Opens a store, and creates or upgrades its tables. A missing file is created unless the configuration says otherwise.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] and its kin if the file cannot be opened; [`ErrorKind::Corrupt`] if a newer version of this library
    /// made the tables.
    pub async fn open(mut config: SqliteConfig) -> Result<Self> {
        config.busy_timeout = config.busy_timeout.max(PATIENCE);
        let path = config.path.clone();
        let opened = Worker::start(move || {
            let mut connection = config.open(Access::Create)?;
            connection.pragma_update(None, "foreign_keys", true).during("opening the store")?;
            migrations::run(&mut connection)?;
            Ok(connection)
        });
        let worker = opened.await.map_err(|error| match error.context().iter().any(|(name, _)| *name == "file") {
            true => error,
            false => error.with("store", path.display()),
        })?;
        Ok(SqliteStore { worker })
    }

    /// Runs a transaction that holds the write lock from its beginning.
    async fn write<T: Send + 'static>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static) -> Result<T> {
        let outcome = self.worker.run(move |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate).during("writing to the store")?;
            let result = work(&transaction)?;
            transaction.commit().during("writing to the store")?;
            Ok(result)
        });
        outcome.await
    }

    async fn read<T: Send + 'static>(&self, work: impl FnOnce(&Connection) -> Result<T> + Send + 'static) -> Result<T> {
        let outcome = self.worker.run(move |connection| {
            // One transaction, so that an execution and its entities are of one moment.
            let transaction = connection.transaction().during("reading the store")?;
            work(&transaction)
        });
        outcome.await
    }
}

fn unknown(id: &str) -> Error {
    Error::new(ErrorKind::NotFound, "there is no such execution").with("execution", id)
}

#[async_trait]
impl Recorder for SqliteStore {
    async fn create_execution(&self, execution: &Execution) -> Result<()> {
        let execution = execution.clone();
        self.write(move |transaction| {
            let taken: bool = transaction
                .query_row("SELECT EXISTS (SELECT 1 FROM migration_executions WHERE id = ?1)", [&execution.id], |row| row.get(0))
                .during("writing to the store")?;
            if taken {
                let error = Error::new(ErrorKind::Refused, "an execution of this id is recorded already");
                return Err(error.with("execution", &execution.id));
            }
            rows::save_job(transaction, &execution)?;
            rows::insert_execution(transaction, &execution)?;
            rows::save_attempts(transaction, &execution)?;
            rows::save_entities(transaction, &execution.id, &execution.entities)
        })
        .await
    }

    async fn start_attempt(&self, id: &str, owner: &Owner, at: Timestamp) -> Result<u32> {
        let (id, owner) = (id.to_owned(), owner.clone());
        self.write(move |transaction| {
            let mut execution = rows::execution(transaction, &id)?.ok_or_else(|| unknown(&id))?;
            let number = execution.begin_attempt(&owner, at).map_err(|error| error.with("execution", &id))?;
            rows::save_state(transaction, &execution)?;
            rows::save_attempts(transaction, &execution)?;
            transaction
                .execute("UPDATE migration_jobs SET last_run_at = ?2 WHERE name = ?1", params![execution.job, at.to_string()])
                .during("writing to the store")?;
            Ok(number)
        })
        .await
    }

    async fn record(&self, id: &str, attempt: u32, update: &Update) -> Result<Standing> {
        let (id, update) = (id.to_owned(), update.clone());
        self.write(move |transaction| {
            let found = transaction
                .query_row("SELECT attempt, state FROM migration_executions WHERE id = ?1", [&id], |row| {
                    Ok((row.get::<_, u32>(0)?, row.get::<_, String>(1)?))
                })
                .optional()
                .during("reading the store")?;
            let (current, state) = found.ok_or_else(|| unknown(&id))?;
            rows::append_logs(transaction, &id, &update.logs)?;
            if current != attempt || rows::state(&state)?.is_finished() {
                return Ok(Standing::Replaced);
            }
            rows::save_entities(transaction, &id, &update.entities)?;
            rows::save_progress(transaction, &id, &update)?;
            Ok(Standing::Current)
        })
        .await
    }

    async fn finish_execution(&self, id: &str, attempt: u32, end: &Finish) -> Result<Standing> {
        let (id, end) = (id.to_owned(), end.clone());
        self.write(move |transaction| {
            let mut execution = rows::execution(transaction, &id)?.ok_or_else(|| unknown(&id))?;
            execution.finish_attempt(attempt, &end).map_err(|error| error.with("execution", &id))?;
            rows::save_state(transaction, &execution)?;
            rows::save_attempts(transaction, &execution)?;
            Ok(if execution.attempt == attempt { Standing::Current } else { Standing::Replaced })
        })
        .await
    }

    async fn unfinished(&self, job: &str, source: &str, target: &str) -> Result<Option<Execution>> {
        let (job, source, target) = (job.to_owned(), source.to_owned(), target.to_owned());
        self.read(move |connection| {
            let sql = "SELECT id FROM migration_executions WHERE job = ?1 AND source_environment = ?2 AND target_environment = ?3
                       ORDER BY created_at DESC, id DESC LIMIT 1";
            let newest: Option<String> =
                connection.query_row(sql, [&job, &source, &target], |row| row.get(0)).optional().during("reading the store")?;
            let execution = match newest {
                Some(id) => rows::execution(connection, &id)?,
                None => None,
            };
            Ok(execution.filter(|e| e.state.is_resumed()))
        })
        .await
    }

    async fn execution(&self, id: &str) -> Result<Option<Execution>> {
        let id = id.to_owned();
        self.read(move |connection| rows::execution(connection, &id)).await
    }

    async fn executions(&self, query: &ExecutionQuery) -> Result<ExecutionPage> {
        let query = query.clone();
        self.read(move |connection| list(connection, &query)).await
    }

    async fn logs(&self, id: &str, query: &LogQuery) -> Result<LogPage> {
        let (id, query) = (id.to_owned(), query.clone());
        self.read(move |connection| rows::logs(connection, &id, &query)?.ok_or_else(|| unknown(&id))).await
    }
}

fn list(connection: &Connection, query: &ExecutionQuery) -> Result<ExecutionPage> {
    let (mut conditions, mut values) = (Vec::new(), Vec::<Box<dyn ToSql>>::new());
    if let Some(job) = &query.job {
        conditions.push("job = ?".to_owned());
        values.push(Box::new(job.clone()));
    }
    if !query.states.is_empty() {
        conditions.push(format!("state IN ({})", vec!["?"; query.states.len()].join(", ")));
        values.extend(query.states.iter().map(|state| Box::new(state.as_str()) as Box<dyn ToSql>));
    }
    if let Some(environment) = &query.environment {
        conditions.push("? IN (source_environment, target_environment)".to_owned());
        values.push(Box::new(environment.clone()));
    }
    for (instant, operator) in [(query.since, ">="), (query.until, "<")] {
        if let Some(instant) = instant {
            conditions.push(format!("created_at {operator} ?"));
            values.push(Box::new(instant.to_string()));
        }
    }
    if let Some(after) = &query.after {
        let place: Option<String> = connection
            .query_row("SELECT created_at FROM migration_executions WHERE id = ?1", [after], |row| row.get(0))
            .optional()
            .during("reading the store")?;
        conditions.push("(created_at, id) < (?, ?)".to_owned());
        values.push(Box::new(place.ok_or_else(|| unknown(after))?));
        values.push(Box::new(after.clone()));
    }
    let condition = if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
    // One more than asked for tells whether there is a next page.
    let sql = format!(
        "SELECT {} FROM migration_executions {condition} ORDER BY created_at DESC, id DESC LIMIT {}",
        rows::execution_columns(),
        query.page_size() + 1
    );
    let mut statement = connection.prepare(&sql).during("reading the store")?;
    let mut found = statement.query(params_from_iter(values)).during("reading the store")?;
    let mut executions = Vec::new();
    while let Some(row) = found.next().during("reading the store")? {
        executions.push(rows::read_execution(row)?);
    }
    let more = executions.len() > query.page_size();
    executions.truncate(query.page_size());
    let next = executions.last().filter(|_| more).map(|e| e.id.clone());
    Ok(ExecutionPage { executions, next })
}

#[cfg(test)]
mod tests;
