//! A run within one transaction that is always rolled back.
//!
//! ```text
//! BEGIN                                   Lone: the one session, lent out for one call at a time
//!   tables, state                         prepare, finish: as in a run, without commits
//!   SAVEPOINT                             RehearsedTransaction: each transaction of the run
//!     rows, ledger, quarantine
//!     SET CONSTRAINTS ALL IMMEDIATE       what a commit would check
//!   RELEASE, or ROLLBACK TO
//!   …
//! ROLLBACK
//! ```
//!
//! The run reads what it has written from the same session; nobody else sees it.

mod lone;
mod source;
mod transaction;

pub(crate) use lone::{Lone, MARKED, Stages, over};
pub(crate) use source::LoneSource;
pub(crate) use transaction::RehearsedTransaction;

use crate::config::PostgresConfig;
use crate::pool::Pool;
use crate::sink::PostgresSink;
use async_trait::async_trait;
use migrate_core::Result;
use migrate_core::sink::{Rehearsal, Sink};
use std::sync::Arc;

/// A rehearsal on a PostgreSQL target.
pub(crate) struct PgRehearsal {
    lone: Arc<Lone>,
    sink: PostgresSink,
}

impl PgRehearsal {
    /// Opens a session and its transaction.
    pub(crate) async fn open(config: &PostgresConfig) -> Result<Self> {
        let lone = Arc::new(Lone::begin(config).await?);
        let sink = PostgresSink::over(Pool::of(config.clone(), lone.clone()));
        Ok(PgRehearsal { lone, sink })
    }
}

#[async_trait]
impl Rehearsal for PgRehearsal {
    fn sink(&self) -> Arc<dyn Sink> {
        Arc::new(self.sink.clone())
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = vec![
            "the rows were written in one transaction, which was rolled back; until then it held the locks of a run, on all of its rows"
                .to_owned(),
            "numbers that were drawn from sequences meanwhile are lost: a rollback does not give them back".to_owned(),
        ];
        notes.extend(self.lone.shared_names().iter().map(|name| {
            format!(
                "the deferred constraint {name} was checked after each statement from the second commit on, as another has its name"
            )
        }));
        notes
    }

    async fn end(self: Box<Self>) -> Result<()> {
        self.lone.end().await
    }
}
