//! What a run has done, and what a check has found.

use crate::error::ErrorKind;
use crate::job::ExecutionState;
use crate::state::Counters;
use serde::Serialize;

/// What a run has done.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct RunReport {
    /// The execution's id.
    pub execution_id: String,
    /// How it ended.
    pub status: ExecutionState,
    /// Its entities in load order.
    pub entities: Vec<EntityReport>,
    /// What the plan had to say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What kind of error that was.
    #[serde(skip)]
    pub error_kind: Option<ErrorKind>,
}

/// What became of one entity.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct EntityReport {
    /// The entity's name.
    pub name: String,
    /// The source's table.
    pub source: String,
    /// The target's table.
    pub target: String,
    /// The stage that it is in, where the job names stages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// What became of its rows.
    #[serde(flatten)]
    pub counters: Counters,
    /// How long it took.
    pub seconds: f64,
}

/// What a check has found. Nothing was written.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// Whether a run could start.
    pub passed: bool,
    /// What was found, in order.
    pub findings: Vec<Finding>,
}

/// One thing that a check has looked at.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What was looked at.
    pub name: String,
    /// Whether it is as it should be.
    pub passed: bool,
    /// What it is, or what is wrong.
    pub message: String,
}
