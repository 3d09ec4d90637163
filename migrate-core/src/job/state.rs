//! The states of an execution, and the only table of allowed transitions.

use crate::error::{Error, ErrorKind, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The state of an execution, or of one entity within it.
///
/// ```text
/// awaiting_approval ─▶ queued ─▶ running ─▶ succeeded | partial | failed | cancelled ─▶ rolled_back
///                        ▲        │  ▲                     │         │         │
///                        │        ▼  │                     │         │         │
///                        │       paused ─▶ cancelled       │         │         │
///                        └────────────────────────────────-┴─────────┴─────────┘  a new attempt
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionState {
    /// Somebody must agree first.
    AwaitingApproval,
    /// Ready to run.
    #[default]
    Queued,
    /// At work, or killed at work: see [`super::Execution::interrupted`].
    Running,
    /// Stopped for a while.
    Paused,
    /// Everything is done and nothing was refused.
    Succeeded,
    /// Something was refused, and something was written or unchanged.
    Partial,
    /// Nothing more could be done; what had committed stays.
    Failed,
    /// Stopped on request; what had committed stays.
    Cancelled,
    /// Undone.
    RolledBack,
}

impl ExecutionState {
    /// Every state.
    pub const ALL: [ExecutionState; 9] = [
        ExecutionState::AwaitingApproval,
        ExecutionState::Queued,
        ExecutionState::Running,
        ExecutionState::Paused,
        ExecutionState::Succeeded,
        ExecutionState::Partial,
        ExecutionState::Failed,
        ExecutionState::Cancelled,
        ExecutionState::RolledBack,
    ];

    /// Returns the state as records, JSON and messages spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            ExecutionState::AwaitingApproval => "awaiting_approval",
            ExecutionState::Queued => "queued",
            ExecutionState::Running => "running",
            ExecutionState::Paused => "paused",
            ExecutionState::Succeeded => "succeeded",
            ExecutionState::Partial => "partial",
            ExecutionState::Failed => "failed",
            ExecutionState::Cancelled => "cancelled",
            ExecutionState::RolledBack => "rolled_back",
        }
    }

    /// Returns the states that may follow this one.
    pub fn successors(self) -> &'static [ExecutionState] {
        use ExecutionState::{Cancelled, Failed, Partial, Paused, Queued, RolledBack, Running, Succeeded};
        match self {
            ExecutionState::AwaitingApproval => &[Queued, Cancelled],
            ExecutionState::Queued => &[Running, Cancelled, Failed],
            ExecutionState::Running => &[Paused, Succeeded, Partial, Failed, Cancelled],
            ExecutionState::Paused => &[Running, Cancelled],
            ExecutionState::Succeeded => &[RolledBack],
            ExecutionState::Partial | ExecutionState::Failed | ExecutionState::Cancelled => &[Queued, RolledBack],
            ExecutionState::RolledBack => &[],
        }
    }

    /// Returns the next state if it may follow this one.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] naming both states and what may follow.
    pub fn to(self, next: ExecutionState) -> Result<ExecutionState> {
        if self.successors().contains(&next) {
            return Ok(next);
        }
        let allowed = self.successors().iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", ");
        let allowed = if allowed.is_empty() { "nothing".to_owned() } else { allowed };
        Err(Error::new(ErrorKind::Refused, format!("an execution that is {self} cannot become {next}; it can become: {allowed}")))
    }

    /// Returns whether nobody works on it any more.
    pub fn is_finished(self) -> bool {
        match self {
            ExecutionState::AwaitingApproval | ExecutionState::Queued | ExecutionState::Running | ExecutionState::Paused => false,
            ExecutionState::Succeeded
            | ExecutionState::Partial
            | ExecutionState::Failed
            | ExecutionState::Cancelled
            | ExecutionState::RolledBack => true,
        }
    }

    /// Returns whether the next run of the job goes on with this execution.
    pub fn is_resumed(self) -> bool {
        match self {
            ExecutionState::Queued
            | ExecutionState::Running
            | ExecutionState::Paused
            | ExecutionState::Failed
            | ExecutionState::Cancelled => true,
            ExecutionState::AwaitingApproval
            | ExecutionState::Succeeded
            | ExecutionState::Partial
            | ExecutionState::RolledBack => false,
        }
    }
}

impl fmt::Display for ExecutionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ExecutionState {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            let hint = crate::hint::nearest(text, Self::ALL.map(Self::as_str));
            Error::new(ErrorKind::Config, format!("\"{text}\" is not a state of an execution{hint}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::ExecutionState::{self, *};

    #[test]
    fn exactly_the_transitions_of_the_design_are_allowed() {
        let allowed = [
            (AwaitingApproval, Queued),
            (AwaitingApproval, Cancelled),
            (Queued, Running),
            (Queued, Cancelled),
            (Queued, Failed),
            (Running, Paused),
            (Paused, Running),
            (Running, Succeeded),
            (Running, Partial),
            (Running, Failed),
            (Running, Cancelled),
            (Paused, Cancelled),
            (Failed, Queued),
            (Cancelled, Queued),
            (Partial, Queued),
            (Succeeded, RolledBack),
            (Partial, RolledBack),
            (Failed, RolledBack),
            (Cancelled, RolledBack),
        ];
        for from in ExecutionState::ALL {
            for to in ExecutionState::ALL {
                assert_eq!(from.to(to).is_ok(), allowed.contains(&(from, to)), "{from} to {to}");
            }
        }
    }

    #[test]
    fn a_state_reads_back_as_it_is_printed() {
        for state in ExecutionState::ALL {
            assert_eq!(state.to_string().parse::<ExecutionState>().expect("it was printed"), state);
            assert_eq!(serde_json::to_value(state).expect("a state serializes"), state.as_str());
        }
        assert!("finished".parse::<ExecutionState>().is_err());
    }
}
