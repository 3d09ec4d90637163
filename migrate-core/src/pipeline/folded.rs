//! Rows that the source holds apart and the target takes for one, since its key folds case, accents or blanks.

use super::context::Context;
use super::distrust::distrust;
use super::shape::target_key;
use super::update::shown;
use crate::diff::{Entry, LedgerBlock};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::EntityPlan;
use crate::sink::Outcome;
use crate::source::PageRequest;
use crate::state::{Counters, Scope};
use crate::value::conform::conform;
use crate::value::{DataType, Key, Value};
use std::collections::HashSet;

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
    let mut missing: HashSet<Key> = HashSet::new();
    let mut scopes = Vec::new();
    for (partition, _) in context.state.checkpoints(&context.job.name, &entity.name).await? {
        let scope = Scope { job: context.job.name.clone(), entity: entity.name.clone(), partition };
        let mut after = None;
        loop {
            let stored = context.state.ledger_blocks(&scope, after, BLOCKS_AT_ONCE).await?;
            let Some(last) = stored.last() else { break };
            after = Some(last.ordinal);
            for block in &stored {
                find_missing(context, entity, LedgerBlock::unpack(block)?, &mut missing).await?;
            }
            context.check_cancelled()?;
        }
        scopes.push(scope);
    }
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

/// Adds the keys of a block that the target does not hold to the letter.
async fn find_missing(context: &Context, entity: &EntityPlan, block: LedgerBlock, missing: &mut HashSet<Key>) -> Result<()> {
    let entries = block.entries.into_iter().filter(|e| e.checksum != Entry::UNKNOWN && e.outcome != Outcome::Skipped);
    let mut pairs = Vec::new();
    for entry in entries {
        pairs.push((target_key(entity, &entry.key)?, entry.key));
    }
    let wanted: Vec<Key> = pairs.iter().map(|(target, _)| target.clone()).collect();
    let planned = |name: &String| entity.columns.iter().find(|c| &c.target == name).map(|c| &c.target_type);
    let types: Vec<&DataType> = entity.target_key.iter().filter_map(planned).collect();
    let request = PageRequest::new(&entity.target, &entity.target_key, &entity.target_key).to_the_letter();
    let mut transaction = context.sink.begin(&context.fence).await?;
    let found = transaction.read_rows(&request, &wanted).await;
    transaction.rollback().await?;
    let mut there = HashSet::new();
    for row in found?.rows() {
        let values = row.values()?.into_iter().zip(&types);
        let values: Vec<Value<'_>> = values.map(|(value, of)| conform(value.clone(), of).unwrap_or(value)).collect();
        there.insert(Key::from_values(&values));
    }
    let lost = pairs.into_iter().filter(|(target, _)| !there.contains(target)).map(|(_, own)| own);
    missing.extend(lost.take(MOST.saturating_sub(missing.len())));
    Ok(())
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
