//! Keeps rows from going while the job knows other rows by their ids.
//!
//! ```text
//! a gone row with an id of its own ──▶ does a row of the target hold the id in its key, and does the job know that row?
//!                                                  │ no: it goes, and the key map forgets it      └─ yes: it stays for now
//! ```
//!
//! Such a key says which row of the target is meant for only as long as the key map has the id, which goes with its row. So those rows go
//! first, also where nothing in the target refers to the other's: what the target refuses to let go of them, what is still in the ledger as the
//! source has it, or its row is in quarantine, and what the run leaves out holds the row. An entry that outlived its row would be written
//! into rows that refer to it.
//!
//! In an ordinary run those rows have gone already: the target is asked by an index, and no ledger is read.

use super::context::Context;
use super::keymap::{ids_of, mapped_back, target_keys};
use super::known::KnownKeys;
use crate::error::Result;
use crate::job::DeleteMode;
use crate::plan::{ColumnPlan, EntityPlan};
use crate::schema::TableSchema;
use crate::state::Scope;
use crate::value::Key;
use crate::value::conform::conform;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Gone rows that are looked at together.
const AT_ONCE: usize = 1_000;

/// Rows of an entity whose keys hold ids of another one.
pub(super) struct Bond<'p> {
    entity: &'p EntityPlan,
    /// Whether the run leaves them out, so that none of them goes.
    left: bool,
    /// The places of the ids in their keys, and the target's columns.
    ids: Vec<(usize, &'p ColumnPlan)>,
}

/// Finds the entities whose rows are known by ids of an entity, among those that a run moves and those that it leaves as they are. Rows of one
/// entity are never known by one another's ids: they could not be written.
pub(super) fn bonds<'p>(
    entity: &EntityPlan,
    moved: impl Iterator<Item = &'p EntityPlan>,
    left: &'p [EntityPlan],
) -> Vec<Bond<'p>> {
    // Of a table that is not there, and that the run does not create, nothing goes.
    let left = left.iter().filter(|other| !other.create).map(|other| (other, true));
    let all = moved.map(|other| (other, false)).chain(left);
    let all = all.filter(|(other, _)| entity.generated.is_some() && other.name != entity.name && !other.is_keyless());
    all.map(|(other, left)| Bond { entity: other, left, ids: ids_in(entity, other) })
        .filter(|bond| !bond.ids.is_empty())
        .collect()
}

/// Another entity of the job whose rows are known by ids of one: its name, and the places of the ids in its keys.
#[derive(Debug)]
pub(super) struct Children {
    pub(super) entity: String,
    pub(super) places: Vec<usize>,
}

/// Finds the entities whose rows are known by ids of an entity.
pub(super) fn children<'p>(entity: &EntityPlan, all: impl Iterator<Item = &'p EntityPlan>) -> Arc<[Children]> {
    let children = |bond: Bond<'_>| Children {
        entity: bond.entity.name.clone(),
        places: bond.ids.into_iter().map(|(place, _)| place).collect(),
    };
    bonds(entity, all, &[]).into_iter().map(children).collect()
}

/// Returns the places of ids of an entity in another one's keys, with the target's columns.
fn ids_in<'p>(entity: &EntityPlan, other: &'p EntityPlan) -> Vec<(usize, &'p ColumnPlan)> {
    let keys = other.key.iter().enumerate().filter(|(_, name)| other.map_of(name) == Some(&entity.name));
    keys.filter_map(|(place, name)| Some((place, other.fed_by(name)?))).collect()
}

/// Rows, by their keys in the target, that stay as long as others are known by their ids.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// With the numbers of those others, where they are on lists of the run, and may go.
    listed: HashMap<Key, Vec<i64>>,
    /// Those whose others stay, once they were looked for: a sweep changes no ledger.
    staying: Option<HashSet<Key>>,
}

impl Held {
    /// Whether a row is held, but for what goes with it: `goes` says so of the rows of the lists.
    pub(super) fn holds(&self, key: &Key, goes: &(dyn Fn(i64) -> bool + Sync)) -> bool {
        let stays = self.staying.as_ref().is_some_and(|staying| staying.contains(key));
        stays || self.listed.get(key).is_some_and(|others| !others.iter().all(|number| goes(*number)))
    }

    /// Looks which of a scope's gone rows are held by now.
    pub(super) async fn look(&mut self, context: &Context, entity: &EntityPlan, scope: &Scope, bonds: &[Bond<'_>]) -> Result<()> {
        self.listed.clear();
        let going = if bonds.is_empty() { HashMap::new() } else { referred(context, entity, scope, bonds).await? };
        if going.is_empty() {
            return Ok(());
        }
        let state = context.state.as_ref();
        let mut scopes = Vec::new();
        for bond in bonds {
            for (partition, _) in state.checkpoints(&scope.job, &bond.entity.name).await? {
                scopes.push((bond, Scope { job: scope.job.clone(), entity: bond.entity.name.clone(), partition }));
            }
        }
        // A plan's ledger still has what it lists.
        let mut lost = HashSet::new();
        for (bond, other) in scopes.iter().filter(|(bond, _)| !bond.left) {
            self.look_at_list(context, bond, other, &going, &mut lost).await?;
        }
        if self.staying.is_some() {
            return Ok(());
        }
        let mut staying = HashSet::new();
        for (bond, other) in &scopes {
            let mut known = if bond.left { KnownKeys::of(state, other) } else { KnownKeys::of_ledger(state, other) };
            while let Some(mut keys) = known.next().await? {
                keys.retain(|key| !lost.contains(key));
                let found = known_by(context, bond, &going, &keys, |key| !staying.contains(key)).await?;
                staying.extend(found.into_iter().map(|(_, key)| key));
            }
        }
        self.staying = Some(staying);
        Ok(())
    }

    /// Takes note of the rows of a list that are known by the ids of others, which they hold.
    async fn look_at_list(
        &mut self,
        context: &Context,
        bond: &Bond<'_>,
        scope: &Scope,
        going: &HashMap<Key, Key>,
        lost: &mut HashSet<Key>,
    ) -> Result<()> {
        let mut before = None;
        loop {
            let rows = context.state.gone_rows(scope, before, AT_ONCE).await?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            before = Some(*last);
            let keys: Vec<Key> = rows.iter().map(|(_, row)| Key::from_bytes(&row.key)).collect();
            for (at, key) in known_by(context, bond, going, &keys, |_| true).await? {
                self.listed.entry(key).or_default().push(rows[at].0);
                lost.insert(keys[at].clone());
            }
        }
    }
}

/// Returns, of rows of the source that the target has, their places among these and the keys of the rows by whose ids they are known, as far as
/// those go and are `wanted`.
async fn known_by(
    context: &Context,
    bond: &Bond<'_>,
    going: &HashMap<Key, Key>,
    sources: &[Key],
    wanted: impl Fn(&Key) -> bool,
) -> Result<Vec<(usize, Key)>> {
    let mut found = Vec::new();
    for (at, source) in sources.iter().enumerate() {
        let values = source.values()?;
        let ids = bond.ids.iter().filter_map(|(place, _)| values.get(*place)).map(|value| Key::from_values([value]));
        found.extend(ids.filter_map(|id| going.get(&id)).filter(|key| wanted(key)).map(|key| (at, key.clone())));
    }
    if found.is_empty() {
        return Ok(found);
    }
    let named: Vec<Key> = found.iter().map(|(at, _)| sources[*at].clone()).collect();
    let named = target_keys(context.state.as_ref(), &context.job.name, bond.entity, &named).await?;
    let keys: Vec<Key> = named.iter().flatten().cloned().collect();
    let mut transaction = context.sink.begin(&context.fence).await?;
    let there = transaction.existing(&bond.entity.target, &bond.entity.target_key, &keys).await?;
    transaction.rollback().await?;
    let mut named = named.into_iter();
    found.retain(|_| named.next().flatten().is_some_and(|key| there.contains(&key)));
    Ok(found)
}

/// Returns the ids, at the source, of a scope's gone rows to which rows of the target may refer that are known by them, with their keys in the
/// target.
async fn referred(context: &Context, entity: &EntityPlan, scope: &Scope, bonds: &[Bond<'_>]) -> Result<HashMap<Key, Key>> {
    let (state, job) = (context.state.as_ref(), &context.job.name);
    let marks = context.job.deletes.mode == DeleteMode::Soft && context.job.deletes.column.is_some();
    let mut found = HashMap::new();
    let mut before = None;
    loop {
        let rows = state.gone_rows(scope, before, AT_ONCE).await?;
        let Some((last, _)) = rows.last() else { return Ok(found) };
        before = Some(*last);
        // Rows that are only marked keep their ids.
        let sources: Vec<Key> =
            rows.into_iter().filter(|(_, row)| row.own || !marks).map(|(_, row)| Key::from_bytes(row.key)).collect();
        let keys: Vec<Key> = target_keys(state, job, entity, &sources).await?.into_iter().flatten().collect();
        if keys.is_empty() {
            continue;
        }
        let mut transaction = context.sink.begin(&context.fence).await?;
        let mut by_id: HashMap<Key, Key> = match entity.generated_beside_key() {
            Some(own) => ids_of(transaction.as_mut(), entity, own, &keys).await?.into_iter().map(|(key, id)| (id, key)).collect(),
            // The first column of the key; beyond it are constants only.
            None => {
                let id = |key: &Key| Ok(Key::from_values(key.values()?.first()));
                keys.into_iter().map(|key| Ok((id(&key)?, key))).collect::<Result<_>>()?
            }
        };
        let mut ids = HashSet::new();
        for (bond, (_, column)) in bonds.iter().flat_map(|bond| bond.ids.iter().map(move |id| (bond, id))) {
            if !is_indexed(&bond.entity.target, &column.target) {
                // To read a table as often as there are ids costs more than to read the ledger once.
                ids.extend(by_id.keys().cloned());
                continue;
            }
            let mut spelled: HashMap<Key, &Key> = HashMap::new();
            for id in by_id.keys() {
                let value = id.values()?.into_iter().next().map(|value| conform(value, &column.target_type));
                // An id that the column cannot hold is in no row.
                spelled.extend(value.and_then(|value| value.ok()).map(|value| (Key::from_values([&value]), id)));
            }
            let keys: Vec<Key> = spelled.keys().cloned().collect();
            let there = transaction.existing(&bond.entity.target, std::slice::from_ref(&column.target), &keys).await?;
            ids.extend(there.iter().filter_map(|key| spelled.get(key)).map(|id| (*id).clone()));
        }
        transaction.rollback().await?;
        let ids: Vec<Key> = ids.into_iter().collect();
        let sources = if ids.is_empty() { HashMap::new() } else { mapped_back(state, job, &entity.name, &ids).await? };
        found.extend(sources.into_iter().filter_map(|(id, source)| Some((source, by_id.remove(&id)?))));
    }
}

/// Whether rows are found by a column: an index begins with it.
fn is_indexed(table: &TableSchema, column: &String) -> bool {
    let keys = table.primary_key.iter().chain(&table.unique_keys).map(|key| key.columns.first());
    let indexes = table.indexes.iter().filter(|index| index.predicate.is_none());
    let indexes = indexes.map(|index| index.parts.first().and_then(|part| part.column.as_ref()));
    keys.chain(indexes).any(|first| first == Some(column))
}
