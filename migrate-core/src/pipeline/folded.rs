//! Rows that the source holds apart and the target takes for one, since its key folds case, accents or blanks.

use super::context::Context;
use super::distrust::distrust;
use super::shape::target_key;
use super::update::shown;
use crate::diff::{Entry, LedgerBlock};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::EntityPlan;
use crate::sink::{Outcome, SinkTransaction};
use crate::source::PageRequest;
use crate::state::{Counters, Scope};
use crate::value::conform::conform;
use crate::value::{DataType, Key, Value};
use std::collections::{HashMap, HashSet};

const BLOCKS_AT_ONCE: usize = 4;
const EXAMPLES: usize = 3;
/// Keys that are taken note of.
const MOST: usize = 65_536;

/// Fails if a row that was written is not there under its own spelling: another one has overwritten it.
pub(super) async fn refuse_folded_rows(context: &Context, entity: &EntityPlan, counters: &Counters) -> Result<()> {
    if counters.inserted + counters.updated == 0 {
        return Ok(());
    }
    if entity.target.triggers.iter().any(|t| t.fires_on_write) {
        // Triggers may keep rows out, or write them under other keys: only their number tells.
        return compare_counts(context, entity, counters).await;
    }
    let mut hidden = HashMap::new();
    let mut scopes = Vec::new();
    for (partition, _) in context.state.checkpoints(&context.job.name, &entity.name).await? {
        let scope = Scope { job: context.job.name.clone(), entity: entity.name.clone(), partition };
        let mut after = None;
        while let Some(blocks) = next_blocks(context, &scope, &mut after).await? {
            for block in blocks {
                find_hidden(context, entity, block, &mut hidden).await?;
            }
        }
        scopes.push(scope);
    }
    let missing = overwritten(context, entity, &scopes, hidden).await?;
    if missing.is_empty() {
        return Ok(());
    }
    for scope in &scopes {
        distrust(context, scope, |entry| missing.contains(&entry.key)).await?;
    }
    let examples: Vec<String> = missing.iter().take(EXAMPLES).map(shown).collect();
    let message = format!(
        "{} rows of the source are not in the target, which takes their keys ({}) for those of others; among them: {}; give another key",
        missing.len(),
        entity.target_key.join(", "),
        examples.join(", ")
    );
    Err(Error::new(ErrorKind::Mismatch, message).with("entity", &entity.name).with("table", &entity.target.name))
}

/// Returns the next blocks of a ledger; `None` at its end.
async fn next_blocks(context: &Context, scope: &Scope, after: &mut Option<i64>) -> Result<Option<Vec<LedgerBlock>>> {
    context.check_cancelled()?;
    let stored = context.state.ledger_blocks(scope, *after, BLOCKS_AT_ONCE).await?;
    let Some(last) = stored.last() else { return Ok(None) };
    *after = Some(last.ordinal);
    stored.iter().map(LedgerBlock::unpack).collect::<Result<_>>().map(Some)
}

/// Adds the keys of a block which the target holds under another spelling only, with that one. Rows that others have deleted are none.
async fn find_hidden(context: &Context, entity: &EntityPlan, block: LedgerBlock, hidden: &mut HashMap<Key, Key>) -> Result<()> {
    let mut pairs = Vec::new();
    for entry in block.entries.into_iter().filter(is_written) {
        pairs.push((target_key(entity, &entry.key)?, entry.key));
    }
    let wanted: Vec<Key> = pairs.iter().map(|(target, _)| target.clone()).collect();
    let mut transaction = context.sink.begin(&context.fence).await?;
    let there = spelled(entity, transaction.as_mut(), &wanted, true).await?;
    pairs.retain(|(target, _)| !there.contains(target));
    let lost: Vec<Key> = pairs.iter().map(|(target, _)| target.clone()).collect();
    let known =
        if lost.is_empty() { HashSet::new() } else { transaction.existing(&entity.target, &entity.target_key, &lost).await? };
    for (target, own) in pairs.into_iter().filter(|(target, _)| known.contains(target)) {
        if hidden.len() < MOST
            && let Some(other) = spelled(entity, transaction.as_mut(), &[target], false).await?.into_iter().next()
        {
            hidden.insert(own, other);
        }
    }
    transaction.rollback().await
}

/// Whether the ledger says that the target holds a row.
fn is_written(entry: &Entry) -> bool {
    entry.checksum != Entry::UNKNOWN && entry.outcome != Outcome::Skipped
}

/// Returns the keys that the target holds of these, as it spells them.
pub(super) async fn spelled(
    entity: &EntityPlan,
    transaction: &mut dyn SinkTransaction,
    wanted: &[Key],
    to_the_letter: bool,
) -> Result<HashSet<Key>> {
    let planned = |name: &String| entity.columns.iter().find(|c| &c.target == name).map(|c| &c.target_type);
    let types: Vec<&DataType> = entity.target_key.iter().filter_map(planned).collect();
    let request = PageRequest::new(&entity.target, &entity.target_key, &entity.target_key);
    let found = transaction.read_rows(&PageRequest { to_the_letter, ..request }, wanted).await?;
    let key = |row: crate::value::RowRef<'_>| {
        let values = row.values()?.into_iter().zip(&types);
        let values: Vec<Value<'_>> = values.map(|(value, of)| conform(value.clone(), of).unwrap_or(value)).collect();
        Ok(Key::from_values(&values))
    };
    found.rows().map(key).collect()
}

/// Returns which keys are hidden by one that this job has written too, and not by a row of others.
async fn overwritten(
    context: &Context,
    entity: &EntityPlan,
    scopes: &[Scope],
    hidden: HashMap<Key, Key>,
) -> Result<HashSet<Key>> {
    let mut by_other: HashMap<Key, Vec<Key>> = HashMap::new();
    for (own, other) in hidden {
        by_other.entry(other).or_default().push(own);
    }
    let mut missing = HashSet::new();
    for scope in scopes {
        let mut after = None;
        while !by_other.is_empty()
            && let Some(blocks) = next_blocks(context, scope, &mut after).await?
        {
            for entry in blocks.into_iter().flat_map(|block| block.entries).filter(is_written) {
                missing.extend(by_other.remove(&target_key(entity, &entry.key)?).unwrap_or_default());
            }
        }
    }
    Ok(missing)
}

async fn compare_counts(context: &Context, entity: &EntityPlan, counters: &Counters) -> Result<()> {
    let mut snapshot = context.sink.as_source().open_snapshot().await?;
    let there = snapshot.count_rows(&entity.target, None).await?;
    let written = counters.held();
    if there >= written {
        return Ok(());
    }
    let message = format!(
        "{written} rows of the source are only {there} in the target, which takes some of their keys ({}) for equal; give another key",
        entity.target_key.join(", ")
    );
    Err(Error::new(ErrorKind::Mismatch, message).with("entity", &entity.name).with("table", &entity.target.name))
}
