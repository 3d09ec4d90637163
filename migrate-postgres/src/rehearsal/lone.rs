//! The one session of a rehearsal.

use crate::config::PostgresConfig;
use crate::connection::{SessionRole, close, connect, execute};
use crate::error::from_sqlx;
use crate::sql::quote_ident;
use crate::stage::Stage;
use migrate_core::schema::TableName;
use migrate_core::{Error, ErrorKind, Result};
use sqlx::postgres::PgConnection;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// Where each transaction of the run begins.
pub(super) const TRANSACTION: &str = "migrate_transaction";
/// Where a call begins that stands for itself.
const CALL: &str = "migrate_call";

/// A table of one's own: what is written there says under which number the rows at hand are written.
const MARK: &str = "CREATE TEMPORARY TABLE migrate_mark (n pg_catalog.int4) ON COMMIT DROP";
/// The number of the savepoint at hand, as each row of it has it.
pub(crate) const MARKED: &str = "INSERT INTO pg_temp.migrate_mark VALUES (1) RETURNING xmin::pg_catalog.text";

/// Constraints that wait for the commit, of schemas that the role may name, and whether others, that do not wait, have the same name: a
/// name stands for all of its schema.
const DEFERRED: &str = "\
    SELECT n.nspname::pg_catalog.text, k.conname::pg_catalog.text, pg_catalog.bool_and(k.condeferred) \
    FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_namespace n ON n.oid = k.connamespace \
    WHERE pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND NOT pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_') \
    GROUP BY n.nspname, k.conname HAVING pg_catalog.bool_or(k.condeferred) ORDER BY n.nspname, k.conname";

/// A session in a transaction that never commits, lent out for one call at a time.
///
/// A call whose future is dropped half-way takes the connection with it, and so ends the rehearsal: the server rolls back.
pub(crate) struct Lone {
    connection: Arc<AsyncMutex<Option<PgConnection>>>,
    turn: Arc<Semaphore>,
    /// Whether a transaction of the run was dropped, which is to be undone before anything else is done.
    abandoned: AtomicBool,
    stages: Mutex<Stages>,
    /// What lets constraints wait again that a commit has checked.
    defer: Option<String>,
    shared_names: Vec<String>,
}

/// Temporary tables that serve one transaction of the run after another: they go with the outer one only.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stages {
    pub(crate) known: HashMap<TableName, Stage>,
    /// How many were made.
    pub(crate) made: usize,
}

/// The place that the session goes back to.
pub(super) type Slot = OwnedMutexGuard<Option<PgConnection>>;

/// The session, lent out.
pub(crate) struct Loan {
    slot: Slot,
    pub(crate) connection: PgConnection,
}

impl Lone {
    /// Opens the session and begins.
    pub(super) async fn begin(config: &PostgresConfig) -> Result<Lone> {
        let mut connection = connect(config, SessionRole::Writer).await?;
        execute(&mut connection, "SET client_min_messages = error").await?;
        execute(&mut connection, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await?;
        execute(&mut connection, MARK).await?;
        let deferred: Vec<(String, String, bool)> =
            sqlx::query_as(DEFERRED).fetch_all(&mut connection).await.map_err(from_sqlx)?;
        let (own, shared): (Vec<_>, Vec<_>) = deferred.into_iter().partition(|(_, _, all)| *all);
        let names: Vec<String> =
            own.iter().map(|(schema, name, _)| format!("{}.{}", quote_ident(schema), quote_ident(name))).collect();
        Ok(Lone {
            connection: Arc::new(AsyncMutex::new(Some(connection))),
            turn: Arc::new(Semaphore::new(1)),
            abandoned: AtomicBool::new(false),
            stages: Mutex::default(),
            defer: (!names.is_empty()).then(|| format!("SET CONSTRAINTS {} DEFERRED", names.join(", "))),
            shared_names: shared.into_iter().map(|(schema, name, _)| format!("{schema}.{name}")).collect(),
        })
    }

    /// Deferred constraints whose name is that of others as well.
    pub(super) fn shared_names(&self) -> &[String] {
        &self.shared_names
    }

    /// What lets constraints wait again.
    pub(super) fn defer(&self) -> Option<&str> {
        self.defer.as_deref()
    }

    /// Waits until no other transaction of the run is open.
    pub(super) async fn turn(&self) -> Result<OwnedSemaphorePermit> {
        // Never closed.
        self.turn.clone().acquire_owned().await.map_err(|_| over())
    }

    /// Lends the session out as it stands.
    pub(super) async fn lend(&self) -> Result<Loan> {
        let mut slot = self.connection.clone().lock_owned().await;
        let mut connection = slot.take().ok_or_else(over)?;
        if self.abandoned.swap(false, Ordering::AcqRel) {
            undo(&mut connection, TRANSACTION).await?;
        }
        Ok(Loan { slot, connection })
    }

    /// Lends the session out for a call that leaves nothing if it fails; see [`Loan::settle`].
    pub(crate) async fn lend_apart(&self) -> Result<Loan> {
        let mut loan = self.lend().await?;
        execute(&mut loan.connection, format!("SAVEPOINT {CALL}")).await?;
        Ok(loan)
    }

    /// Takes note of a transaction that was dropped.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    pub(super) fn stages(&self) -> Stages {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn keep(&self, stages: Stages) {
        *self.stages.lock().unwrap_or_else(PoisonError::into_inner) = stages;
    }

    /// Rolls everything back. A session that is lost is rolled back by the server.
    pub(super) async fn end(&self) -> Result<()> {
        if let Some(mut connection) = self.connection.lock().await.take() {
            execute(&mut connection, "ROLLBACK").await?;
            close(connection).await;
        }
        Ok(())
    }
}

impl fmt::Debug for Lone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lone").finish_non_exhaustive()
    }
}

impl Loan {
    /// Gives the session back.
    pub(super) fn give_back(mut self) {
        *self.slot = Some(self.connection);
    }

    /// Hands the connection over, and the place that it goes back to.
    pub(super) fn split(self) -> (Slot, PgConnection) {
        (self.slot, self.connection)
    }

    /// Takes both together again.
    pub(super) fn join(slot: Slot, connection: PgConnection) -> Self {
        Loan { slot, connection }
    }

    /// Ends a call that stands for itself, undoes it if it has failed, and gives the session back.
    pub(crate) async fn settle<T>(mut self, result: Result<T>) -> Result<T> {
        let ended = match &result {
            Ok(_) => execute(&mut self.connection, format!("RELEASE SAVEPOINT {CALL}")).await.map(drop),
            Err(_) => undo(&mut self.connection, CALL).await,
        };
        match ended {
            Ok(()) => self.give_back(),
            // The first error says more.
            Err(error) => return result.and(Err(error)),
        }
        result
    }
}

/// Goes back to a savepoint, and forgets it.
pub(super) async fn undo(connection: &mut PgConnection, savepoint: &str) -> Result<()> {
    execute(connection, format!("ROLLBACK TO SAVEPOINT {savepoint}; RELEASE SAVEPOINT {savepoint}")).await.map(drop)
}

/// Says that the rehearsal cannot go on. Nothing that was written can be got back, so it is not tried again.
pub(crate) fn over() -> Error {
    Error::new(ErrorKind::Unsupported, "the rehearsal's transaction has ended with its connection, and cannot go on; plan again")
}
