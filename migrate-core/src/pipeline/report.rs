//! What a run has done, and what a check has found.

use crate::error::ErrorKind;
use crate::job::ExecutionState;
use crate::plan::ReferencePlan;
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

/// A reference by which rows of the target lead nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OpenReference {
    /// The entity whose rows refer.
    pub entity: String,
    /// The target's columns that refer.
    pub columns: Vec<String>,
    /// The target's table that is referred to.
    pub parent: String,
    /// What is wrong with these rows.
    pub state: LinkState,
    /// How many there are.
    pub rows: u64,
    /// Some of them.
    pub links: Vec<OpenLink>,
}

/// Why a reference leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LinkState {
    /// The target's row has NULL where the source's refers to a parent.
    Open,
    /// The target's row refers to a placeholder, where the source's refers to a parent.
    Placeholder,
    /// The target's row refers to a parent that the target has not.
    Dangling,
}

/// One row that refers to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OpenLink {
    /// The row's key: the target's where the reference dangles, else the source's.
    pub key: String,
    /// What the source's row refers to, unless the reference dangles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}

impl OpenReference {
    pub(super) fn new(entity: &str, reference: &ReferencePlan) -> Self {
        OpenReference {
            entity: entity.to_owned(),
            columns: reference.columns.clone(),
            parent: reference.table.to_string(),
            state: if reference.placeholder.is_some() { LinkState::Placeholder } else { LinkState::Open },
            rows: 0,
            links: Vec::new(),
        }
    }
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
