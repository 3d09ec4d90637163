//! What a run tells whoever watches it.

use super::execution::LogLine;
use super::state::ExecutionState;
use crate::state::Counters;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Hears what a run does, as it does it. Must return at once: the run waits for it.
pub trait Observer: fmt::Debug + Send + Sync {
    /// Hears one event.
    fn on_event(&self, event: &Event);
}

/// Something that happened in a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// It is known what will be done.
    PlanReady {
        /// The entities in load order.
        entities: Vec<PlannedEntity>,
        /// What the plan has to say.
        notes: Vec<String>,
    },
    /// An entity begins; said again, with the number, once its rows are counted.
    EntityStarted {
        /// Its name.
        entity: String,
        /// How many rows it has; `None` until they are counted.
        rows: Option<u64>,
        /// How many of them earlier attempts have settled.
        before: u64,
    },
    /// A transaction has committed.
    PageCommitted {
        /// The entity's name.
        entity: String,
        /// The part of the entity, from 0.
        partition: u32,
        /// What became of this part's rows so far, earlier attempts included.
        counters: Counters,
    },
    /// An entity has ended.
    EntityFinished {
        /// Its name.
        entity: String,
        /// What became of all its rows.
        counters: Counters,
        /// How it ended.
        state: ExecutionState,
        /// Why it failed.
        error: Option<String>,
    },
    /// Something other than copying rows begins, such as building an index.
    Step {
        /// The entity that it concerns.
        entity: Option<String>,
        /// What it is.
        name: String,
    },
    /// Something failed and is tried again.
    Retry {
        /// The entity that it concerns.
        entity: Option<String>,
        /// The number of the try that follows, from 2.
        attempt: u32,
        /// How long it waits first.
        delay: Duration,
        /// Why it failed.
        reason: String,
    },
    /// Something to note.
    Log(LogLine),
}

/// An entity as planned.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PlannedEntity {
    /// Its name.
    pub name: String,
    /// The source's table.
    pub source: String,
    /// The target's table.
    pub target: String,
    /// The stage that it is in, where the job names stages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// How many rows it has, if only about.
    pub rows: Option<u64>,
}

/// Passes each event on to several observers in turn.
#[derive(Debug, Clone, Default)]
pub struct Observers(pub Vec<Arc<dyn Observer>>);

impl Observer for Observers {
    fn on_event(&self, event: &Event) {
        self.0.iter().for_each(|observer| observer.on_event(event));
    }
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn on_event(&self, _event: &Event) {}
}
