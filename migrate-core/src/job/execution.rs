//! What is recorded about one run of a job.

use super::definition::Job;
use super::owner::{Liveness, Owner};
use super::state::ExecutionState;
use super::time::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::state::Counters;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

/// One recorded run of a job, in one or more attempts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Execution {
    /// Its name: when it was made and six random characters, such as `20261121T101500-k7f3m2`. Sorts by age.
    pub id: String,
    /// The job's name.
    pub job: String,
    /// The job's type.
    pub job_type: String,
    /// The job as it was, without secrets.
    pub definition: serde_json::Value,
    /// The source's environment.
    pub source: String,
    /// The target's environment.
    pub target: String,
    /// The source's url without its password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_url: Option<String>,
    /// The target's url without its password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_url: Option<String>,
    /// Where it stands; a killed process leaves `running` behind, see [`Execution::interrupted`].
    pub state: ExecutionState,
    /// The number of the attempt that is, or was, at work; 0 before the first.
    pub attempt: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its first attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When the process at work last said that it lives.
    pub heartbeat_at: Option<Timestamp>,
    /// The process that is, or was, at work.
    pub owner: Option<Owner>,
    /// Who ran it, as far as that is known.
    pub executed_by: Option<String>,
    /// What ran it, without secrets.
    pub command: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// How far it is, in percent; 100 only when it is done.
    pub progress_percent: u8,
    /// How many rows there are to move, where that is known.
    pub total_rows: Option<u64>,
    /// What became of the rows of all entities.
    pub totals: Counters,
    /// What the plan had to say.
    pub notes: Vec<String>,
    /// Its attempts in order; left out of lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// Its entities in load order; left out of lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<EntityResult>,
}

/// One try within an execution.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// Where it stands.
    pub state: ExecutionState,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended, or was found to have ended.
    pub finished_at: Option<Timestamp>,
    /// The process at work.
    pub owner: Owner,
    /// Why it failed.
    pub error: Option<String>,
}

/// What became of one entity.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EntityResult {
    /// The entity's name.
    pub name: String,
    /// The source's table.
    pub source: String,
    /// The target's table.
    pub target: String,
    /// The stage that it is in, where the job names stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Where it stands.
    pub state: ExecutionState,
    /// How many rows there are to move, where that is known.
    pub total_rows: Option<u64>,
    /// What became of its rows.
    #[serde(flatten)]
    pub counters: Counters,
    /// How long it took.
    pub seconds: f64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One line of an execution's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was written.
    pub at: Timestamp,
    /// How much it matters.
    pub level: Level,
    /// The entity that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// What it says; never a cell's value nor a secret.
    pub message: String,
    /// Facts beside the message.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub fields: serde_json::Map<String, serde_json::Value>,
}

impl LogLine {
    /// Creates a line.
    pub fn new(at: Timestamp, level: Level, message: impl Into<String>) -> Self {
        LogLine { at, level, entity: None, message: message.into(), fields: serde_json::Map::new() }
    }

    /// Names the entity that it concerns.
    #[must_use]
    pub fn with_entity(mut self, entity: impl Into<String>) -> Self {
        self.entity = Some(entity.into());
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn with_field(mut self, name: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.fields.insert(name.into(), value.into());
        self
    }
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Only to whoever looks for a fault.
    Debug,
    /// To whoever watches.
    #[default]
    Info,
    /// Something is not as it should be, and the run goes on.
    Warn,
    /// Something failed.
    Error,
}

impl Level {
    /// Returns the level as records spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Level {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Level::Debug, Level::Info, Level::Warn, Level::Error]
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| Error::new(ErrorKind::Config, format!("\"{text}\" is not a log level: debug, info, warn or error")))
    }
}

impl Execution {
    /// Creates a queued execution of a job, under a new id.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if the job does not serialize.
    pub fn new(job: &Job, now: Timestamp) -> Result<Self> {
        let definition = serde_json::to_value(job).map_err(|error| {
            Error::new(ErrorKind::Internal, "the job does not serialize").with("job", &job.name).caused_by(error)
        })?;
        Ok(Execution {
            id: new_id(now),
            job: job.name.clone(),
            job_type: "data_sync".to_owned(),
            definition,
            source: job.source.clone(),
            target: job.target.clone(),
            created_at: now,
            ..Execution::default()
        })
    }

    /// Returns whether the record says `running` although the process at work is gone.
    pub fn interrupted(&self, now: Timestamp) -> bool {
        self.state == ExecutionState::Running
            && self.owner.as_ref().is_none_or(|owner| {
                let last = self.heartbeat_at.or(self.started_at).unwrap_or(self.created_at);
                owner.liveness(last, now) == Liveness::Gone
            })
    }

    /// Returns how long it has worked, from its first attempt to its end, or to now.
    pub fn elapsed(&self, now: Timestamp) -> std::time::Duration {
        self.started_at.map(|start| self.finished_at.unwrap_or(now).since(start)).unwrap_or_default()
    }

    /// Begins the next attempt and returns its number. What the attempt before left open is closed as interrupted.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] if the execution may not run.
    pub fn begin_attempt(&mut self, owner: &Owner, now: Timestamp) -> Result<u32> {
        let mut state = self.state;
        if state == ExecutionState::Running {
            let before = self.owner.clone().unwrap_or_default();
            let reason =
                if before == *owner { "started again".to_owned() } else { format!("interrupted: {before} did not finish") };
            if let Some(attempt) = self.attempts.last_mut().filter(|a| a.finished_at.is_none()) {
                attempt.state = attempt.state.to(ExecutionState::Failed)?;
                attempt.finished_at = Some(now);
                attempt.error = Some(reason);
            }
            state = state.to(ExecutionState::Failed)?;
        }
        if state.is_finished() {
            state = state.to(ExecutionState::Queued)?;
        }
        self.state = state.to(ExecutionState::Running)?;
        self.attempt += 1;
        self.started_at = self.started_at.or(Some(now));
        self.finished_at = None;
        self.heartbeat_at = Some(now);
        self.owner = Some(owner.clone());
        self.error = None;
        self.attempts.push(Attempt {
            number: self.attempt,
            state: ExecutionState::Running,
            started_at: now,
            finished_at: None,
            owner: owner.clone(),
            error: None,
        });
        Ok(self.attempt)
    }

    /// Ends an attempt. One that a later attempt has replaced keeps its own end, and leaves the execution as it is.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] if the execution may not get into this state.
    pub fn finish_attempt(&mut self, number: u32, end: &Finish) -> Result<()> {
        if number == self.attempt {
            self.state = self.state.to(end.state)?;
            self.finished_at = Some(end.at);
            self.heartbeat_at = Some(end.at);
            self.error.clone_from(&end.error);
            if end.state == ExecutionState::Succeeded || end.state == ExecutionState::Partial {
                self.progress_percent = 100;
            }
        }
        if let Some(attempt) = self.attempts.iter_mut().find(|a| a.number == number) {
            attempt.state = end.state;
            attempt.finished_at = Some(end.at);
            attempt.error.clone_from(&end.error);
        }
        Ok(())
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Finish {
    /// The state that the execution gets into.
    pub state: ExecutionState,
    /// When.
    pub at: Timestamp,
    /// Why it failed; never a cell's value nor a secret.
    pub error: Option<String>,
}

/// Makes an id that no other process makes, without asking any.
fn new_id(now: Timestamp) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    // The keys of `RandomState` come from the operating system's randomness.
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(COUNTER.fetch_add(1, Ordering::Relaxed));
    hasher.write_u32(std::process::id());
    let bits = hasher.finish();
    let random: String = (0..8).map(|i| char::from(ALPHABET[(bits >> (5 * i) & 31) as usize])).collect();
    format!("{}-{random}", now.compact())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn execution() -> Execution {
        Execution::new(&Job::new("copy", "a", "b"), at(0)).expect("a job serializes")
    }

    fn finish(state: ExecutionState, seconds: i64) -> Finish {
        Finish { state, at: at(seconds), error: None }
    }

    #[test]
    fn ids_are_short_and_all_different() {
        let ids: std::collections::BTreeSet<_> = (0..1_000).map(|_| new_id(at(0))).collect();
        assert_eq!(ids.len(), 1_000);
        assert!(ids.iter().all(|id| id.len() == 24 && id.starts_with("19700101T000000-")));
    }

    #[test]
    fn an_attempt_after_a_kill_closes_the_one_before() {
        let mut execution = execution();
        let dead = Owner { host: "h".into(), process: 1, started: String::new() };
        assert_eq!(execution.begin_attempt(&dead, at(1)).expect("it is queued"), 1);
        assert_eq!(execution.begin_attempt(&Owner::this_process(), at(2)).expect("the first is dead"), 2);
        assert_eq!(execution.attempts[0].state, ExecutionState::Failed);
        assert!(execution.attempts[0].error.as_deref().is_some_and(|e| e.contains("process 1 on h")));
        assert_eq!((execution.state, execution.started_at), (ExecutionState::Running, Some(at(1))));
    }

    #[test]
    fn an_attempt_that_was_replaced_cannot_end_the_execution() {
        let mut execution = execution();
        execution.begin_attempt(&Owner::default(), at(1)).expect("it is queued");
        execution.begin_attempt(&Owner::this_process(), at(2)).expect("the first is dead");
        execution.finish_attempt(1, &finish(ExecutionState::Failed, 3)).expect("its own end");
        assert_eq!(execution.state, ExecutionState::Running);
        execution.finish_attempt(2, &finish(ExecutionState::Succeeded, 4)).expect("it runs");
        assert_eq!((execution.state, execution.finished_at), (ExecutionState::Succeeded, Some(at(4))));
        let error = execution.begin_attempt(&Owner::this_process(), at(5)).expect_err("it is done");
        assert_eq!(error.kind(), ErrorKind::Refused);
    }

    #[test]
    fn an_execution_is_interrupted_only_while_it_claims_to_run() {
        let mut execution = execution();
        let dead = Owner { host: "elsewhere.invalid".into(), process: 1, started: String::new() };
        execution.begin_attempt(&dead, at(0)).expect("it is queued");
        assert!(!execution.interrupted(at(30)) && execution.interrupted(at(100)));
        execution.finish_attempt(1, &finish(ExecutionState::Cancelled, 5)).expect("it runs");
        assert!(!execution.interrupted(at(100)));
    }
}
