//! What a run would do: which entities, in which order, into which tables, with which columns.

mod bind;
mod build;
mod cascades;
mod columns;
mod drift;
mod entity;
mod evolve;
mod expressions;
mod fit;
mod graph;
mod keyless;
mod keys;
mod names;
mod orphans;
mod references;
mod sets;
mod shared;
mod stages;
mod tables;
mod united;

pub(crate) use build::build_any;
pub use build::{build, graph};
pub use cascades::CascadePlan;
pub(crate) use drift::remembered;
pub use drift::{Drift, DriftAction, DriftChange};
pub use entity::{ColumnPlan, EntityPlan};
pub use graph::{GraphEntity, GraphReference, ReferenceGraph};
pub use keys::{GeneratedPlan, TranslationPlan};
pub(crate) use orphans::{Orphaned, Placeholder, instead_of_parent};
pub use references::{Binding, ReferenceCheck, ReferencePlan, SourceReference, TogetherPlan};
pub use sets::SetPlan;
pub use stages::StagePlan;

use crate::error::{Error, Result};
use crate::job::Mode;
use crate::sink::{SchemaPlan, TablePlan};
use serde::Serialize;

/// What a run of a job would do to the target.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// The job's name.
    pub job: String,
    /// The mode.
    pub mode: Mode,
    /// The source's engine and version.
    pub source: String,
    /// The target's engine and version.
    pub target: String,
    /// The entities in load order.
    pub entities: Vec<EntityPlan>,
    /// In which stages they are moved: those that the job names, else those that the references make.
    pub stages: Vec<StagePlan>,
    /// Entities whose new rows are inserted at once, as their references form a cycle that can never be NULL.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub together: Vec<TogetherPlan>,
    /// What happens to the target's schema.
    pub schema: SchemaPlan,
    /// What concerns no single entity: tables that are left out and why, cycles, types.
    pub notes: Vec<String>,
    /// What the source's identity is; part of every fingerprint.
    #[serde(skip)]
    pub source_identity: String,
    /// Entities of the job that are left as they are, and may feed the parents of rows that are not.
    #[serde(skip)]
    pub(crate) left: Vec<EntityPlan>,
    /// Whether the job has entities that are left as they are and could not be planned: nothing is known of them.
    #[serde(skip)]
    pub(crate) left_unknown: bool,
}

impl Plan {
    /// Returns an entity by name.
    pub fn entity(&self, name: &str) -> Option<&EntityPlan> {
        self.entities.iter().find(|e| e.name == name)
    }

    /// Returns an entity that may feed the parents of rows, also one that is left as it is.
    pub(crate) fn parent(&self, name: &str) -> Option<&EntityPlan> {
        self.entities.iter().chain(&self.left).find(|e| e.name == name)
    }

    /// Leaves all entities as they are but those that are named, all tables that none of these is written to, and what only they need.
    pub(crate) fn only(mut self, moves: impl Fn(&str) -> bool) -> Self {
        let (entities, left) = self.entities.into_iter().partition(|e| moves(&e.name));
        (self.entities, self.left) = (entities, left);
        let fed = |table: &TablePlan| self.entities.iter().any(|e| e.target.name == table.table.name);
        self.schema.tables.retain(fed);
        if self.schema.tables.iter().all(|table| !table.create && table.added.is_empty()) {
            self.schema.types.clear();
        }
        self
    }

    /// Checks that no run is refused for what has become of the source's columns since the last finished run.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] naming the entities, their columns, the old and the new types, and what to do.
    pub fn check_drift(&self) -> Result<()> {
        let error: Option<Error> = drift::refusal(self.entities.iter().map(|e| (e.name.as_str(), &e.drift[..])));
        error.map_or(Ok(()), |error| Err(error.with("job", &self.job)))
    }

    /// As [`Plan::check_drift`] for whoever adopts: what is remembered then is known by the key of now.
    pub(crate) fn check_drift_to_adopt(&self) -> Result<()> {
        let of_key = |entity: &EntityPlan| {
            entity.drift.iter().filter(|drift| drift.action == DriftAction::Refused).all(|drift| drift.of_key)
        };
        if self.entities.iter().all(of_key) { Ok(()) } else { self.check_drift() }
    }

    /// Returns the first entity whose target lacks a column that a run adds, with its name.
    pub fn column_to_add(&self) -> Option<(&EntityPlan, &str)> {
        self.entities.iter().find_map(|entity| {
            let added = entity.drift.iter().find(|drift| drift.action == DriftAction::AddedToTarget)?;
            Some((entity, added.column.as_str()))
        })
    }
}
