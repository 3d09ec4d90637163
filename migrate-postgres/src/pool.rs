//! The sink's own few sessions: registered with the fence, reused when whole, remembered when lost.

use crate::config::PostgresConfig;
use crate::connection::{SessionRole, connect, execute};
use crate::error::from_sqlx;
use crate::rehearsal::Lone;
use migrate_core::state::Fence;
use migrate_core::{Error, ErrorKind, Result};
use sqlx::postgres::PgConnection;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What tells one server session from all others, later ones with the same process id included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionId {
    pub(crate) pid: i32,
    /// When the session began, as the server prints it.
    pub(crate) started: String,
}

/// A session that writes.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: PgConnection,
    pub(crate) registration: Registration,
}

/// What is known of a session apart from its connection.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) id: SessionId,
    /// The fence that names this session as one to be ended by whoever takes over.
    fence: Option<Fence>,
}

/// Opens sessions and keeps those that can be used again.
#[derive(Debug)]
pub(crate) struct Pool {
    config: PostgresConfig,
    idle: Mutex<Vec<Session>>,
    /// Sessions whose end the server may not have noticed yet.
    lost: Mutex<Vec<SessionId>>,
    /// The session of a rehearsal: whatever belongs to the run is done there.
    lone: Option<Arc<Lone>>,
}

/// Sessions that are kept while nobody needs them.
const MOST_IDLE: usize = 8;

impl Pool {
    pub(crate) fn new(config: PostgresConfig) -> Self {
        Pool { config, idle: Mutex::default(), lost: Mutex::default(), lone: None }
    }

    /// The pool of a rehearsal.
    pub(crate) fn of(config: PostgresConfig, lone: Arc<Lone>) -> Self {
        Pool { lone: Some(lone), ..Pool::new(config) }
    }

    /// Returns the session of the rehearsal, if it is one.
    pub(crate) fn lone(&self) -> Option<&Arc<Lone>> {
        self.lone.as_ref()
    }

    pub(crate) fn config(&self) -> &PostgresConfig {
        &self.config
    }

    /// Returns a session outside of any transaction, whose server has answered just now.
    pub(crate) async fn get(&self) -> Result<Session> {
        while let Some(mut session) = self.pop(None) {
            // A session may have died while it lay idle; that is no error of the caller's.
            if execute(&mut session.connection, "SELECT").await.is_ok() {
                return Ok(session);
            }
        }
        self.open().await
    }

    /// Returns a session in a transaction, registered with the fence so that whoever takes over can end it.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`] if somebody has taken over already.
    pub(crate) async fn begin(&self, fence: &Fence) -> Result<Session> {
        const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
        while let Some(mut session) = self.pop(Some(fence)) {
            let begun = match session.register(fence).await {
                Ok(()) => execute(&mut session.connection, BEGIN).await.map(drop),
                Err(error) => Err(error),
            };
            match begun {
                Ok(()) => return Ok(session),
                Err(error) if error.kind() == ErrorKind::ConnectionLost => {}
                Err(error) => return Err(error),
            }
        }
        let mut session = self.open().await?;
        session.register(fence).await?;
        execute(&mut session.connection, BEGIN).await?;
        Ok(session)
    }

    /// Takes back a session that is outside of any transaction.
    pub(crate) fn put(&self, session: Session) {
        let mut idle = lock(&self.idle);
        if idle.len() < MOST_IDLE {
            idle.push(session);
        }
    }

    /// Remembers a session whose connection was dropped while the server may still be at work.
    pub(crate) fn lose(&self, id: SessionId) {
        lock(&self.lost).push(id);
    }

    /// Hands over the sessions that were lost.
    pub(crate) fn take_lost(&self) -> Vec<SessionId> {
        std::mem::take(&mut *lock(&self.lost))
    }

    fn pop(&self, fence: Option<&Fence>) -> Option<Session> {
        let mut idle = lock(&self.idle);
        let fitting = idle.iter().rposition(|s| fence.is_some() && s.registration.fence.as_ref() == fence);
        match fitting {
            Some(at) => Some(idle.swap_remove(at)),
            None => idle.pop(),
        }
    }

    async fn open(&self) -> Result<Session> {
        let mut connection = connect(&self.config, SessionRole::Writer).await?;
        // Notices and warnings that nobody reads while a COPY is being sent would fill the server's side of the connection,
        // until both sides wait for one another for ever.
        execute(&mut connection, "SET client_min_messages = error").await?;
        let (pid, started): (i32, String) = sqlx::query_as(
            "SELECT pg_catalog.pg_backend_pid(), COALESCE((SELECT a.backend_start::pg_catalog.text \
             FROM pg_catalog.pg_stat_activity a WHERE a.pid = pg_catalog.pg_backend_pid()), '')",
        )
        .fetch_one(&mut connection)
        .await
        .map_err(from_sqlx)?;
        Ok(Session { connection, registration: Registration { id: SessionId { pid, started }, fence: None } })
    }
}

impl Registration {
    /// Of a session that no fence knows.
    pub(crate) fn none() -> Self {
        Registration { id: SessionId { pid: 0, started: String::new() }, fence: None }
    }
}

impl Session {
    async fn register(&mut self, fence: &Fence) -> Result<()> {
        if self.registration.fence.as_ref() == Some(fence) {
            return Ok(());
        }
        let epoch = epoch_number(fence)?;
        // The lock makes this wait for a takeover that is under way, and then find the epoch gone.
        let done = sqlx::query(
            "INSERT INTO migrate.fence_session (job, epoch, pid, started) \
             SELECT f.job, f.epoch, $3, $4 FROM migrate.fence f WHERE f.job = $1 AND f.epoch = $2 FOR SHARE OF f \
             ON CONFLICT (job, epoch, pid) DO UPDATE SET started = EXCLUDED.started",
        )
        .bind(&fence.job)
        .bind(epoch)
        .bind(self.registration.id.pid)
        .bind(&self.registration.id.started)
        .execute(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        if done.rows_affected() == 0 {
            return Err(fenced(fence));
        }
        self.registration.fence = Some(fence.clone());
        Ok(())
    }
}

/// The epoch as the server's type.
pub(crate) fn epoch_number(fence: &Fence) -> Result<i64> {
    i64::try_from(fence.epoch).map_err(|_| Error::new(ErrorKind::Internal, "an epoch is too large"))
}

/// Says that another process has taken over.
pub(crate) fn fenced(fence: &Fence) -> Error {
    Error::new(ErrorKind::Fenced, "another process has taken over this job").with("job", &fence.job).with("epoch", fence.epoch)
}

/// Makes sure that the fence still holds, and keeps it so until the transaction ends. To be a transaction's last statement.
pub(crate) async fn check_fence(connection: &mut PgConnection, fence: &Fence) -> Result<()> {
    let found = sqlx::query("SELECT FROM migrate.fence f WHERE f.job = $1 AND f.epoch = $2 FOR SHARE")
        .bind(&fence.job)
        .bind(epoch_number(fence)?)
        .fetch_optional(connection)
        .await;
    match found {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(fenced(fence)),
        Err(error) => {
            let serialization = error.as_database_error().and_then(|e| e.code()).is_some_and(|code| code == "40001");
            Err(if serialization { fenced(fence) } else { from_sqlx(error) })
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere cannot leave these lists half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
