//! The stages of a plan.

use super::entity::EntityPlan;
use serde::Serialize;

/// Entities that are moved before the next stage begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StagePlan {
    /// Its name; `level 0` and so on where the references make the stages.
    pub name: String,
    /// Whether the references make it: the job names no stages.
    pub derived: bool,
    /// The names of its entities, in load order.
    pub entities: Vec<String>,
}

/// Returns the stages of entities in load order.
pub(super) fn of(entities: &[EntityPlan]) -> Vec<StagePlan> {
    let mut stages: Vec<StagePlan> = Vec::new();
    for entity in entities {
        let (name, derived) = match &entity.stage {
            Some(name) => (name.clone(), false),
            None => (format!("level {}", entity.level), true),
        };
        match stages.last_mut() {
            Some(last) if last.name == name && last.derived == derived => last.entities.push(entity.name.clone()),
            Some(_) | None => stages.push(StagePlan { name, derived, entities: vec![entity.name.clone()] }),
        }
    }
    stages
}
