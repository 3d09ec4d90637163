//! Keeps rows from going in a run that leaves out rows which the job knows by their ids.
//!
//! ```text
//! a gone row with an id of its own ──▶ is the id in a key that the job knows, of an entity that the run leaves out?
//!                                                  │ no: it goes, and the key map forgets it      └─ yes: it stays for now
//! ```
//!
//! Such a key says which row of the target is meant for only as long as the key map has the id, which goes with its row. So those rows go
//! first, as in a run of the whole job, also where nothing in the target refers to the other's. An entry that outlived its row would be written
//! into rows that refer to it.

use super::context::Context;
use super::keymap::{ids_of, mapped, target_keys};
use super::known::KnownKeys;
use crate::error::Result;
use crate::plan::EntityPlan;
use crate::state::Scope;
use crate::value::Key;
use std::collections::{HashMap, HashSet};

/// Gone rows that are looked at together.
const AT_ONCE: usize = 1_000;

/// Rows, left out by a run, whose keys hold ids of another entity.
pub(super) struct Bond<'p> {
    entity: &'p str,
    /// The places of the ids in their keys.
    places: Vec<usize>,
}

/// Finds the entities whose rows are known by ids of an entity, among those that a run leaves as they are.
pub(super) fn bonds<'p>(entity: &EntityPlan, left: &'p [EntityPlan]) -> Vec<Bond<'p>> {
    let all = left.iter().filter(|other| entity.generated.is_some() && !other.is_keyless());
    let bond = |other: &'p EntityPlan| {
        let keys = other.key.iter().enumerate();
        let places: Vec<usize> =
            keys.filter(|(_, name)| other.map_of(name) == Some(&entity.name)).map(|(place, _)| place).collect();
        (!places.is_empty()).then_some(Bond { entity: &other.name, places })
    };
    all.filter_map(bond).collect()
}

/// Returns the keys, as the target has them, of a scope's gone rows by whose ids rows are still known that the run leaves out.
pub(super) async fn held(context: &Context, entity: &EntityPlan, scope: &Scope, bonds: &[Bond<'_>]) -> Result<HashSet<Key>> {
    let (state, job) = (context.state.as_ref(), &context.job.name);
    let mut held = HashSet::new();
    let going = if bonds.is_empty() { HashMap::new() } else { by_id(context, entity, scope).await? };
    if going.is_empty() {
        return Ok(held);
    }
    for bond in bonds {
        for (partition, _) in state.checkpoints(job, bond.entity).await? {
            let other = Scope { job: job.clone(), entity: bond.entity.to_owned(), partition };
            let mut keys = KnownKeys::of(state, &other);
            while let Some(some) = keys.next().await? {
                let mut ids: HashSet<Key> = HashSet::new();
                for key in &some {
                    let values = key.values()?;
                    ids.extend(bond.places.iter().filter_map(|place| values.get(*place)).map(|value| Key::from_values([value])));
                }
                let ids: Vec<Key> = match entity.generated_beside_key() {
                    None => ids.into_iter().collect(),
                    Some(_) => {
                        mapped(state, job, &entity.name, &ids.into_iter().collect::<Vec<_>>()).await?.into_values().collect()
                    }
                };
                held.extend(ids.iter().filter_map(|id| going.get(id)).cloned());
            }
        }
    }
    Ok(held)
}

/// Returns the keys of a scope's gone rows, as the target has them, by their ids: the source's where that is the key, else the target's.
async fn by_id(context: &Context, entity: &EntityPlan, scope: &Scope) -> Result<HashMap<Key, Key>> {
    let (state, job) = (context.state.as_ref(), &context.job.name);
    let mut found = HashMap::new();
    let mut before = None;
    loop {
        let rows = state.gone_rows(scope, before, AT_ONCE).await?;
        let Some((last, _)) = rows.last() else { return Ok(found) };
        before = Some(*last);
        let sources: Vec<Key> = rows.into_iter().map(|(_, row)| Key::from_bytes(row.key)).collect();
        let targets = target_keys(state, job, entity, &sources).await?;
        match entity.generated_beside_key() {
            None => found.extend(sources.into_iter().zip(targets).filter_map(|(source, target)| Some((source, target?)))),
            Some(own) => {
                let targets: Vec<Key> = targets.into_iter().flatten().collect();
                let mut transaction = context.sink.begin(&context.fence).await?;
                let ids = ids_of(transaction.as_mut(), entity, own, &targets).await?;
                transaction.rollback().await?;
                found.extend(ids.into_iter().map(|(key, id)| (id, key)));
            }
        }
    }
}
