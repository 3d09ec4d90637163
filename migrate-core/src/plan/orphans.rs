//! What is done about rows whose parent is nowhere, reference by reference.

use super::entity::EntityPlan;
use super::references::{ReferencePlan, is_open};
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Parameter;
use crate::job::{Entities, Job, OrphanPolicy};
use crate::value::Key;
use std::collections::{BTreeMap, HashSet};

/// Rows of an entity that are orphans by one reference, told by their own values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Orphaned {
    /// The source's columns that refer.
    pub(crate) columns: Vec<String>,
    /// Which rows refer at all, by the source's columns.
    pub(crate) when: BTreeMap<String, Parameter>,
    /// The target's columns that are NULL in such rows; none where they are refused.
    pub(crate) open: Vec<String>,
    /// Why a row is refused.
    pub(crate) reason: String,
    /// The parents that are nowhere.
    pub(crate) parents: HashSet<Key>,
}

/// Gives each reference the policy that the job file has for it: its own, the entity's or the job's. None where every row has its parent.
///
/// # Errors
/// [`ErrorKind::Config`] where a policy is asked for that cannot be carried out.
pub(super) fn choose(job: &Job, entity: &mut EntityPlan, notes: &mut Vec<String>) -> Result<()> {
    let of_entity = match &job.entities {
        Entities::All => None,
        Entities::List(list) => list.iter().find(|e| e.name() == entity.name).and_then(|e| e.orphans),
    };
    let mut references = std::mem::take(&mut entity.references);
    for reference in &mut references {
        let Some(policy) = reference.orphans.take().or(of_entity).or(job.orphans) else { continue };
        match &reference.source {
            Some(source) if source.guaranteed => {}
            Some(_) => {
                check(entity, reference, policy)?;
                reference.orphans = Some(policy);
            }
            None => {
                let (columns, parent) = (reference.columns.join(", "), &reference.table);
                notes.push(format!(
                    "{}: orphans = \"{policy}\" does nothing for ({columns}): no single entity of this run feeds {parent} from the source",
                    entity.name
                ));
            }
        }
    }
    entity.references = references;
    Ok(())
}

fn check(entity: &EntityPlan, reference: &ReferencePlan, policy: OrphanPolicy) -> Result<()> {
    let name = || format!("({}) to {}", reference.columns.join(", "), reference.table);
    let wrong = |message: String| Err(Error::new(ErrorKind::Config, message).with("entity", &entity.name));
    if policy == OrphanPolicy::Null && open(entity, reference).is_empty() {
        return wrong(format!(
            "orphans = \"null\" cannot be: the reference {} is never NULL in the target; give this reference orphans = \"quarantine\" or \"fail\"",
            name()
        ));
    }
    let read = entity.read_columns();
    if let Some(column) = reference.when.keys().find(|column| !read.contains(column)) {
        return wrong(format!("orphans of the reference {} cannot be told: its column \"{column}\" is not moved", name()));
    }
    Ok(())
}

/// The target's columns of a reference that can be NULL; none where that does not free a row of it.
pub(crate) fn open(entity: &EntityPlan, reference: &ReferencePlan) -> Vec<String> {
    let open: Vec<String> = reference.columns.iter().filter(|name| is_open(entity, name)).cloned().collect();
    let mut keys = entity.target.foreign_keys.iter();
    let full = keys.any(|key| key.match_full && key.columns == reference.columns && key.parent == reference.table);
    if full && open.len() < reference.columns.len() { Vec::new() } else { open }
}
