//! The record of executions in a PostgreSQL database.

mod migrations;
mod rows;

use crate::config::PostgresConfig;
use crate::connection::{SessionRole, connect, execute};
use async_trait::async_trait;
use migrate_core::error::{Error, ErrorKind, Result};
use migrate_core::job::{
    Execution, ExecutionPage, ExecutionQuery, Finish, LogPage, LogQuery, Owner, Recorder, Standing, Timestamp, Update,
};
use sqlx::postgres::PgConnection;
use tokio::sync::{Mutex, MutexGuard};

/// Keeps the record of executions in a PostgreSQL database, schema `migrate_store`; any number of processes may share it.
///
/// Tables: `migration_jobs`, `migration_executions`, `migration_attempts`, `migration_execution_entities`, `migration_logs`.
/// A connection that was lost is opened again by the next call.
#[derive(Debug)]
pub struct PostgresStore {
    config: PostgresConfig,
    connection: Mutex<Option<PgConnection>>,
}

impl PostgresStore {
    /// Connects to a store, and creates or upgrades its tables.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] and its kin; [`ErrorKind::Permission`] if the tables are missing and the role may not create a
    /// schema; [`ErrorKind::Corrupt`] if a newer version of this library made the tables.
    pub async fn open(config: PostgresConfig) -> Result<Self> {
        let store = PostgresStore { config, connection: Mutex::new(None) };
        let mut transaction = store.begin().await?;
        let outcome = migrations::run(&mut transaction.connection).await;
        outcome.map_err(|error| error.with("store", &store.config))?;
        transaction.commit().await?;
        Ok(store)
    }

    async fn begin(&self) -> Result<Transaction<'_>> {
        let mut slot = self.connection.lock().await;
        if let Some(mut connection) = slot.take() {
            match execute(&mut connection, "BEGIN").await {
                Ok(_) => return Ok(Transaction { connection, slot }),
                // It was lost while nobody used it: nothing has happened yet, so a new one serves as well.
                Err(error) if error.kind() == ErrorKind::ConnectionLost => {}
                Err(error) => return Err(error),
            }
        }
        let opened = connect(&self.config, SessionRole::Writer).await;
        let mut connection = opened.map_err(|error| error.with("store", &self.config))?;
        execute(&mut connection, "BEGIN").await?;
        Ok(Transaction { connection, slot })
    }
}

/// An open transaction. Unless it is committed its connection is closed, and the server rolls back: nothing that a cancelled
/// future or an error leaves behind can reach the next call.
struct Transaction<'s> {
    connection: PgConnection,
    slot: MutexGuard<'s, Option<PgConnection>>,
}

impl Transaction<'_> {
    async fn commit(mut self) -> Result<()> {
        execute(&mut self.connection, "COMMIT").await?;
        *self.slot = Some(self.connection);
        Ok(())
    }
}

fn unknown(id: &str) -> Error {
    Error::new(ErrorKind::NotFound, "there is no such execution").with("execution", id)
}

#[async_trait]
impl Recorder for PostgresStore {
    async fn create_execution(&self, execution: &Execution) -> Result<()> {
        let mut transaction = self.begin().await?;
        let connection = &mut transaction.connection;
        rows::save_job(connection, execution).await?;
        if !rows::insert_execution(connection, execution).await? {
            let error = Error::new(ErrorKind::Refused, "an execution of this id is recorded already");
            return Err(error.with("execution", &execution.id));
        }
        rows::save_attempts(connection, execution).await?;
        rows::save_entities(connection, &execution.id, &execution.entities).await?;
        transaction.commit().await
    }

    async fn start_attempt(&self, id: &str, owner: &Owner, at: Timestamp) -> Result<u32> {
        let mut transaction = self.begin().await?;
        let connection = &mut transaction.connection;
        let mut execution = rows::locked(connection, id).await?.ok_or_else(|| unknown(id))?;
        let number = execution.begin_attempt(owner, at).map_err(|error| error.with("execution", id))?;
        rows::save_state(connection, &execution).await?;
        rows::save_attempts(connection, &execution).await?;
        rows::touch_job(connection, &execution.job, at).await?;
        transaction.commit().await?;
        Ok(number)
    }

    async fn record(&self, id: &str, attempt: u32, update: &Update) -> Result<Standing> {
        let mut transaction = self.begin().await?;
        let connection = &mut transaction.connection;
        let (current, state) = rows::standing(connection, id).await?.ok_or_else(|| unknown(id))?;
        rows::append_logs(connection, id, &update.logs).await?;
        let standing = if current != attempt || state.is_finished() { Standing::Replaced } else { Standing::Current };
        if standing == Standing::Current {
            rows::save_entities(connection, id, &update.entities).await?;
            rows::save_progress(connection, id, update).await?;
        }
        transaction.commit().await?;
        Ok(standing)
    }

    async fn finish_execution(&self, id: &str, attempt: u32, end: &Finish) -> Result<Standing> {
        let mut transaction = self.begin().await?;
        let connection = &mut transaction.connection;
        let mut execution = rows::locked(connection, id).await?.ok_or_else(|| unknown(id))?;
        execution.finish_attempt(attempt, end).map_err(|error| error.with("execution", id))?;
        rows::save_state(connection, &execution).await?;
        rows::save_attempts(connection, &execution).await?;
        transaction.commit().await?;
        Ok(if execution.attempt == attempt { Standing::Current } else { Standing::Replaced })
    }

    async fn unfinished(&self, job: &str, source: &str, target: &str) -> Result<Option<Execution>> {
        let mut transaction = self.begin().await?;
        let connection = &mut transaction.connection;
        let execution = match rows::newest(connection, job, source, target).await? {
            Some(id) => rows::execution(connection, &id).await?,
            None => None,
        };
        transaction.commit().await?;
        Ok(execution.filter(|e| e.state.is_resumed()))
    }

    async fn execution(&self, id: &str) -> Result<Option<Execution>> {
        let mut transaction = self.begin().await?;
        let execution = rows::execution(&mut transaction.connection, id).await?;
        transaction.commit().await?;
        Ok(execution)
    }

    async fn executions(&self, query: &ExecutionQuery) -> Result<ExecutionPage> {
        let mut transaction = self.begin().await?;
        let page = rows::list(&mut transaction.connection, query).await?;
        transaction.commit().await?;
        Ok(page)
    }

    async fn logs(&self, id: &str, query: &LogQuery) -> Result<LogPage> {
        let mut transaction = self.begin().await?;
        let page = rows::logs(&mut transaction.connection, id, query).await?;
        transaction.commit().await?;
        page.ok_or_else(|| unknown(id))
    }
}

#[cfg(test)]
mod tests;
