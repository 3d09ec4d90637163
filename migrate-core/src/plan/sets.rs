//! Entities whose rows are replaced parent by parent.

use super::entity::{ColumnPlan, EntityPlan};
use crate::error::{Error, ErrorKind, Result};
use crate::job::{DeleteMode, Entity, Job, Mode};
use crate::sink::Sink;
use serde::Serialize;

/// What rows of an entity have in common that are replaced together.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SetPlan {
    /// The source's columns that say which parent a row belongs to.
    pub source: Vec<String>,
    /// The same columns by their names in the target, and then those with constants: rows that have others there are not this entity's.
    pub target: Vec<String>,
}

/// Returns what makes rows of an entity a set, where the job says that they are one.
///
/// # Errors
/// [`ErrorKind::Config`] where a column of it is not written.
pub(super) fn plan(entity: &Entity, columns: &[ColumnPlan]) -> Result<Option<SetPlan>> {
    if entity.replace_per.is_empty() {
        return Ok(None);
    }
    let mut target = Vec::with_capacity(entity.replace_per.len());
    for name in &entity.replace_per {
        let Some(column) = columns.iter().find(|column| column.source.as_ref() == Some(name)) else {
            let message = format!("the column {name} of replace_per is not written to the target");
            return Err(Error::new(ErrorKind::Config, message).with("entity", entity.name()).with("field", "replace_per"));
        };
        target.push(column.target.clone());
    }
    let constant =
        |column: &&ColumnPlan| column.source.is_none() && column.constant.is_some() && !target.contains(&column.target);
    let constants: Vec<String> = columns.iter().filter(constant).map(|column| column.target.clone()).collect();
    target.extend(constants);
    Ok(Some(SetPlan { source: entity.replace_per.clone(), target }))
}

/// Refuses sets whose rows could not be taken away, or not alone.
///
/// # Errors
/// [`ErrorKind::Unsupported`] if there are any.
pub(super) fn refuse(entities: &[EntityPlan], sink: &dyn Sink) -> Result<()> {
    for entity in entities.iter().filter(|entity| entity.set.is_some()) {
        let refuse = |message: String| {
            Err(Error::new(ErrorKind::Unsupported, message).with("entity", &entity.name).with("field", "replace_per"))
        };
        if !sink.can_choose(&entity.target) {
            return refuse(format!(
                "rows of the table {} cannot be deleted by what they hold, so that they cannot be replaced; give a key",
                entity.target.name
            ));
        }
    }
    Ok(())
}

/// What is to be known of an entity whose rows are replaced parent by parent.
pub(super) fn notes(job: &Job, set: &SetPlan) -> Vec<String> {
    let parent = set.source.join(", ");
    let mut notes = vec![format!(
        "rows of one ({parent}) are replaced together: where they are others than the target's, all that the target has of it go and the \
         source's come in their place; both sides are read in full by every run"
    )];
    match (job.mode, job.deletes.mode) {
        (Mode::Append, _) => notes.push(format!("append leaves what is there of a ({parent}), whatever the source has")),
        (_, DeleteMode::Hard) => {}
        (_, DeleteMode::Ignore) => notes.push(format!(
            "where the source has no row of a ({parent}) any more, the target's go, also where deletes = \"ignore\": an empty set is one too"
        )),
        (_, DeleteMode::Soft) => notes.push("rows that are replaced together are not marked as deleted: they go".to_owned()),
    }
    notes
}
