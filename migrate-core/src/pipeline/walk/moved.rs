//! Rows that are known by an id of the source which is another row's than before.
//!
//! ```text
//! key map before:  9 ──▶ 17        a commit:  77 ──▶ 17        of a child with 9 in its key, the target remembers
//!                                                              (77, …), as of a row that may be gone
//! ```
//!
//! What is remembered of such a child is under the id that its parent had when it was written. The key map will say something else of that id, or
//! nothing, so that what is gone would be looked for in the wrong place: another's row would be deleted, and the child's would stay. So the children
//! are called by their parent's new id in the very commit by which the key map learns it: those that the source still has are found there by the
//! walk and by the sweep, and the others are deleted as what they are. A parent that has no other id, as it is gone itself or is only read later,
//! goes by a name that no row of the source can have.

use super::Walk;
use crate::diff::{Entry, LedgerBlock};
use crate::error::Result;
use crate::pipeline::bonds::Children;
use crate::pipeline::keymap::{mapped, mapped_back, name_of};
use crate::sink::Outcome;
use crate::state::{GoneRow, Scope, StateChanges};
use crate::value::{Key, Value};
use std::collections::{HashMap, HashSet};

/// Ledger blocks, and listed rows, that are looked at together.
const BLOCKS_AT_ONCE: usize = 64;
const ROWS_AT_ONCE: usize = 1_000;

/// By the id that a parent had at the source: what it is called from now on.
type Names = HashMap<Key, Value<'static>>;

impl Walk {
    /// Calls what is known by ids that the commit at hand gives to other rows by the ids that their parents have now.
    pub(super) async fn keep_names(&mut self) -> Result<()> {
        if self.batch.key_map.entries.is_empty() || self.plan.entity.generated_beside_key().is_none() {
            return Ok(());
        }
        let (job, all) = (self.context.job.name.clone(), self.children.clone());
        let mut scopes = Vec::new();
        for children in all.iter() {
            for (partition, _) in self.context.state.checkpoints(&job, &children.entity).await? {
                scopes.push((children, Scope { job: job.clone(), entity: children.entity.clone(), partition }));
            }
        }
        let names = if scopes.is_empty() { Names::new() } else { self.moved_names().await? };
        for (children, scope) in scopes.iter().filter(|_| !names.is_empty()) {
            self.rename_listed(children, scope, &names).await?;
            self.rename_in_ledger(children, scope, &names).await?;
        }
        Ok(())
    }

    /// Finds the ids that mean other rows than before, and puts those that have no other id into the key map by a name.
    async fn moved_names(&mut self) -> Result<Names> {
        let entity = self.plan.entity.clone();
        let Some(own) = entity.generated_beside_key() else { return Ok(Names::new()) };
        let entries: HashMap<Key, Key> = self.batch.key_map.entries.iter().cloned().collect();
        let (state, job) = (self.context.state.clone(), self.context.job.name.clone());
        let sources: Vec<Key> = entries.keys().cloned().collect();
        let known = mapped(state.as_ref(), &job, &entity.name, &sources).await?;
        let news = entries.iter().filter(|(source, target)| known.get(*source) != Some(*target));
        let targets: Vec<Key> = news.map(|(_, target)| target.clone()).collect();
        if targets.is_empty() {
            return Ok(Names::new());
        }
        let back = mapped_back(state.as_ref(), &job, &entity.name, &targets).await?;
        // What these ids meant until now.
        let before = known.into_iter().chain(back.into_iter().map(|(target, source)| (source, target)));
        let mut before: HashMap<Key, Key> = before.filter(|(source, target)| entries.get(source) != Some(target)).collect();
        let now: HashMap<Key, Key> = entries.into_iter().map(|(source, target)| (target, source)).collect();
        // Where others have given the row a new id, its children are written anew under it, in their own places.
        let nameless: Vec<Key> = before.values().filter(|target| !now.contains_key(*target)).cloned().collect();
        let mut there = HashSet::new();
        if !nameless.is_empty() {
            let transaction = self.batch.transaction(&self.context).await?;
            there = transaction.existing(&entity.target, std::slice::from_ref(&own.target), &nameless).await?;
        }
        before.retain(|_, target| now.contains_key(target) || there.contains(target));
        let mut names = Names::with_capacity(before.len());
        for (source, target) in before {
            let name = match now.get(&target) {
                Some(source) => source.values()?.into_iter().next().unwrap_or(Value::Null).into_owned(),
                None => name_of(&target),
            };
            if !now.contains_key(&target) {
                self.batch.key_map.entries.push((Key::from_values([&name]), target));
            }
            names.insert(source, name);
        }
        Ok(names)
    }

    /// Renames rows that are listed as gone.
    async fn rename_listed(&mut self, children: &Children, scope: &Scope, names: &Names) -> Result<()> {
        let mut before = None;
        loop {
            let rows = self.context.state.gone_rows(scope, before, ROWS_AT_ONCE).await?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            before = Some(*last);
            let mut changes = StateChanges { scope: Some(scope.clone()), ..StateChanges::default() };
            for (number, row) in rows {
                if let Some(key) = renamed(children, &Key::from_bytes(&row.key), names)? {
                    changes.gone_settled.push(number);
                    changes.gone.push(GoneRow { key: key.as_bytes().to_vec(), ..row });
                }
            }
            if !changes.gone.is_empty() {
                self.batch.transaction(&self.context).await?.put_state(changes).await?;
            }
        }
    }

    /// Moves rows from a ledger to the list of those that may be gone, renamed: where they belong in the ledger their own walk finds out.
    async fn rename_in_ledger(&mut self, children: &Children, scope: &Scope, names: &Names) -> Result<()> {
        let listed = self.context.lists_gone();
        let mut after = None;
        loop {
            let stored = self.context.state.ledger_blocks(scope, after, BLOCKS_AT_ONCE).await?;
            let Some(last) = stored.last() else { return Ok(()) };
            after = Some(last.ordinal);
            let mut changes = StateChanges { scope: Some(scope.clone()), ..StateChanges::default() };
            for stored in &stored {
                let mut block = LedgerBlock::unpack(stored)?;
                let this = block.execution == self.context.execution;
                let mut kept = Vec::with_capacity(block.entries.len());
                for entry in std::mem::take(&mut block.entries) {
                    let Some(key) = renamed(children, &entry.key, names)? else {
                        kept.push(entry);
                        continue;
                    };
                    let own = this && entry.outcome == Outcome::Inserted;
                    // As a walk lists them: what is not known to be the job's is the target's.
                    if own || (listed && entry.checksum != Entry::UNKNOWN) {
                        changes.gone.push(GoneRow { key: key.as_bytes().to_vec(), own });
                    }
                }
                if kept.is_empty() && stored.row_count > 0 {
                    changes.removed_blocks.push(block.ordinal);
                } else if kept.len() < stored.row_count as usize {
                    block.entries = kept;
                    changes.blocks.push(block.pack());
                }
            }
            if !changes.blocks.is_empty() || !changes.removed_blocks.is_empty() {
                self.batch.transaction(&self.context).await?.put_state(changes).await?;
            }
        }
    }
}

/// Returns the key with its parents' new names; `None` if they have none.
fn renamed(children: &Children, key: &Key, names: &Names) -> Result<Option<Key>> {
    let mut values = key.values()?;
    let mut any = false;
    for place in &children.places {
        let Some(value) = values.get_mut(*place) else { continue };
        if let Some(name) = names.get(&Key::from_values([&*value])) {
            *value = name.clone();
            any = true;
        }
    }
    Ok(any.then(|| Key::from_values(&values)))
}
