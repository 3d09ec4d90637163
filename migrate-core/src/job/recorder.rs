//! The seam that executions are recorded through.

use super::execution::{EntityResult, Execution, Finish, LogLine};
use super::owner::Owner;
use super::state::ExecutionState;
use super::time::Timestamp;
use crate::error::Result;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Keeps the record of executions, attempts, entities and logs.
///
/// Each call is one transaction. Only the latest attempt of an execution can change it: a process that was replaced learns
/// so by [`Standing::Replaced`] and spoils nothing. All state changes go through [`Execution::begin_attempt`] and
/// [`Execution::finish_attempt`].
#[async_trait]
pub trait Recorder: fmt::Debug + Send + Sync {
    /// Records a new execution, together with its job and its attempts so far.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Refused`] if the id is taken.
    async fn create_execution(&self, execution: &Execution) -> Result<()>;

    /// Begins the next attempt of an execution and returns its number.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], or [`crate::ErrorKind::Refused`] if the execution may not run.
    async fn start_attempt(&self, id: &str, owner: &Owner, at: Timestamp) -> Result<u32>;

    /// Records how an attempt gets on, and that it lives. Log lines are kept whoever writes them; the rest only from the
    /// latest attempt.
    async fn record(&self, id: &str, attempt: u32, update: &Update) -> Result<Standing>;

    /// Ends an attempt, and the execution with it unless a later attempt has begun.
    async fn finish_execution(&self, id: &str, attempt: u32, end: &Finish) -> Result<Standing>;

    /// Returns the newest execution of a job between two environments if the next run has to go on with it
    /// ([`ExecutionState::is_resumed`]), with attempts and entities.
    async fn unfinished(&self, job: &str, source: &str, target: &str) -> Result<Option<Execution>>;

    /// Returns an execution with its attempts and entities.
    async fn execution(&self, id: &str) -> Result<Option<Execution>>;

    /// Returns executions, newest first, without attempts and entities.
    async fn executions(&self, query: &ExecutionQuery) -> Result<ExecutionPage>;

    /// Returns the log lines of an execution in the order they were written.
    async fn logs(&self, id: &str, query: &LogQuery) -> Result<LogPage>;
}

/// How an attempt gets on. An empty update is a heartbeat.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Update {
    /// When.
    pub at: Timestamp,
    /// How far the execution is, in percent.
    pub progress_percent: Option<u8>,
    /// How many rows there are to move, where that is known.
    pub total_rows: Option<u64>,
    /// Entities that have changed; each replaces its record of the same name. The totals follow.
    pub entities: Vec<EntityResult>,
    /// New log lines.
    pub logs: Vec<LogLine>,
    /// What the plan has to say, replacing what it said.
    pub notes: Option<Vec<String>>,
}

/// Whether an attempt is still the latest of its execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    Current,
    /// A later one has begun, or the execution has ended.
    Replaced,
}

/// Which executions to list.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct ExecutionQuery {
    /// Of this job only.
    pub job: Option<String>,
    /// In one of these states only; any if empty.
    pub states: Vec<ExecutionState>,
    /// With this source or target environment only.
    pub environment: Option<String>,
    /// Made at this instant or later.
    pub since: Option<Timestamp>,
    /// Made before this instant.
    pub until: Option<Timestamp>,
    /// After this one in the list: [`ExecutionPage::next`] of the page before.
    pub after: Option<String>,
    /// So many at most; 50 if 0.
    pub limit: usize,
}

impl ExecutionQuery {
    /// Returns the limit that applies.
    pub fn page_size(&self) -> usize {
        if self.limit == 0 { 50 } else { self.limit.min(10_000) }
    }
}

/// A page of a list of executions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ExecutionPage {
    /// Newest first.
    pub executions: Vec<Execution>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<String>,
}

/// Which log lines to read.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct LogQuery {
    /// After this line: [`LogPage::next`] of the page before.
    pub after: Option<u64>,
    /// So many at most; 1,000 if 0.
    pub limit: usize,
}

impl LogQuery {
    /// Creates a query of what follows a line.
    pub fn following(after: Option<u64>) -> Self {
        LogQuery { after, limit: 0 }
    }

    /// Limits the page to so many lines.
    #[must_use]
    pub fn with_limit(mut self, lines: usize) -> Self {
        self.limit = lines;
        self
    }

    /// Returns the limit that applies.
    pub fn page_size(&self) -> usize {
        if self.limit == 0 { 1_000 } else { self.limit.min(10_000) }
    }
}

/// A page of a log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LogPage {
    /// In the order they were written.
    pub lines: Vec<LogLine>,
    /// Where the next page begins; `None` if there is nothing more for now.
    pub next: Option<u64>,
}
