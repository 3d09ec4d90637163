//! Rows of the source that are one row of the target.
//!
//! The target may hold several of the source's keys in one value (a uuid in either case), and several entities may feed one table: two
//! rows then have one place, and the one written last has overwritten the other. The ledgers know both.

use super::context::Context;
use super::distrust::distrust;
use super::entity::EntityRun;
use super::keymap::target_keys_if_any;
use super::respelled::may_fold;
use super::update::shown;
use crate::diff::{Entry, LedgerBlock};
use crate::error::{Error, ErrorKind, Result};
use crate::state::Scope;
use crate::value::Key;
use crate::value::canonical;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Keys that are compared by one reading of the ledgers.
const AT_ONCE: u64 = 1 << 19;
const BLOCKS_AT_ONCE: usize = 16;
const EXAMPLES: usize = 3;
/// Keys that are taken note of.
const MOST: usize = 65_536;

/// Fails if two rows that were ever moved are one row of the target.
///
/// Looked for only where it can be, and where this execution has written anything.
pub(super) async fn refuse_collisions(context: &Context, runs: &[EntityRun]) -> Result<()> {
    let mut tables: BTreeMap<String, Vec<&EntityRun>> = BTreeMap::new();
    for run in runs.iter().filter(|run| !run.entity.is_keyless()) {
        tables.entry(run.entity.target.name.to_string()).or_default().push(run);
    }
    for runs in tables.into_values() {
        let wrote = runs.iter().map(|run| context.settled(&run.entity.name)).any(|now| now.inserted + now.updated > 0);
        // A constant that tells entities apart is part of their keys there.
        let apart = runs.len() == 1 || runs.iter().all(|run| !run.entity.apart.is_empty());
        if wrote && (!apart || runs.iter().any(|run| may_fold(context.source.capabilities(), &run.entity))) {
            compare(context, &runs).await?;
        }
    }
    Ok(())
}

async fn compare(context: &Context, runs: &[&EntityRun]) -> Result<()> {
    let mut scopes = Vec::new();
    let mut rows = 0;
    for run in runs {
        let entity = &run.entity.name;
        for (partition, checkpoint) in context.state.checkpoints(&context.job.name, entity).await? {
            rows += checkpoint.counters.settled();
            scopes.push((*run, Scope { job: context.job.name.clone(), entity: entity.clone(), partition }));
        }
    }
    let passes = rows / AT_ONCE + 1;
    for pass in 0..passes {
        let (mut seen, mut twice): (HashSet<[u8; 16]>, HashMap<[u8; 16], Key>) = Default::default();
        for (run, scope) in &scopes {
            let mut after = None;
            loop {
                let blocks = context.state.ledger_blocks(scope, after, BLOCKS_AT_ONCE).await?;
                let Some(last) = blocks.last() else { break };
                after = Some(last.ordinal);
                for stored in &blocks {
                    let entries = LedgerBlock::unpack(stored)?.entries;
                    for key in there(context, run, &entries).await?.into_iter().flatten() {
                        let digest = canonical::checksum(key.as_bytes());
                        let own = u64::from_be_bytes([0, 0, 0, 0, digest[0], digest[1], digest[2], digest[3]]) % passes == pass;
                        if own && !seen.insert(digest) && twice.len() < MOST {
                            twice.insert(digest, key);
                        }
                    }
                }
                context.check_cancelled()?;
            }
        }
        if !twice.is_empty() {
            for (run, scope) in &scopes {
                let of_one = of_one(context, run, scope, &twice).await?;
                distrust(context, scope, |entry| of_one.contains(&entry.key)).await?;
            }
            return Err(refusal(runs, twice.values().take(EXAMPLES)));
        }
    }
    Ok(())
}

/// Returns the keys that the target has for rows of the ledger; `None` for what cannot be one, and was refused.
async fn there(context: &Context, run: &EntityRun, entries: &[Entry]) -> Result<Vec<Option<Key>>> {
    let keys = entries.iter().map(|entry| entry.key.clone()).collect();
    target_keys_if_any(context.state.as_ref(), &context.job.name, &run.entity, keys).await
}

/// Returns the source's keys of a scope's rows that are one row of the target with others.
async fn of_one(context: &Context, run: &EntityRun, scope: &Scope, twice: &HashMap<[u8; 16], Key>) -> Result<HashSet<Key>> {
    let (mut found, mut after) = (HashSet::new(), None);
    loop {
        let blocks = context.state.ledger_blocks(scope, after, BLOCKS_AT_ONCE).await?;
        let Some(last) = blocks.last() else { return Ok(found) };
        after = Some(last.ordinal);
        for stored in &blocks {
            let entries = LedgerBlock::unpack(stored)?.entries;
            let keys = there(context, run, &entries).await?;
            let of_one =
                |key: &Option<Key>| key.as_ref().is_some_and(|key| twice.contains_key(&canonical::checksum(key.as_bytes())));
            found.extend(entries.into_iter().zip(keys).filter(|(_, key)| of_one(key)).map(|(entry, _)| entry.key));
        }
        context.check_cancelled()?;
    }
}

fn refusal<'k>(runs: &[&EntityRun], keys: impl Iterator<Item = &'k Key>) -> Error {
    let names: Vec<&str> = runs.iter().map(|run| run.entity.name.as_str()).collect();
    let keys: Vec<String> = keys.map(shown).collect();
    let message = format!(
        "rows that the source holds apart are one row of the target, which holds the last of them only; among the keys: {}; give the \
         entity another key",
        keys.join(", ")
    );
    Error::new(ErrorKind::Mismatch, message).with("entity", names.join(", "))
}
