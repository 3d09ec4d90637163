//! Gone keys that the source has spelled anew.
//!
//! A target of another type may hold several of the source's spellings in one value: a uuid in either case, `1.0` and `1.00`. The
//! new spelling was then written onto the row of the old one, which is gone from the source and must not take the row with it. The same
//! holds in mode `append` where the target's own index takes both spellings for one: the row was then left there under the old one.
//!
//! ```text
//! append, killed:   source a  ──▶ target a, inserted by this execution
//! append, resumed:  source A' ──▶ left alone, as a is there       a is gone, and this execution's own: A' takes its row over
//! walked again:     source A' ──▶ target A', inserted by this execution
//! ```

use super::context::{Context, Purpose};
use super::folded::spelled;
use super::keymap::{target_keys, target_keys_if_any};
use super::strategy::looking_at_all_rows;
use crate::diff::{Entry, LedgerBlock};
use crate::error::Result;
use crate::job::Mode;
use crate::plan::EntityPlan;
use crate::sink::Outcome;
use crate::source::SourceCapabilities;
use crate::state::{Scope, StateChanges};
use crate::value::{DataType, Key};
use std::collections::{HashMap, HashSet};

/// Gone keys that are looked for together, by one reading of the ledger.
const AT_ONCE: usize = 65_536;
const ROWS_AT_ONCE: usize = 1_000;
const BLOCKS_AT_ONCE: usize = 16;

/// A gone row that is looked for.
struct Gone {
    /// Which of the scopes has it on its list, and its number there.
    place: usize,
    number: i64,
    /// Whether this execution has brought it itself.
    own: bool,
}

/// Takes those rows off the lists whose target key belongs to a row that the source still has.
///
/// `scopes` are all parts of one entity, as a key may be spelled anew into another part. Returns whether source rows have taken over what
/// this execution had inserted under another spelling: these are to be walked again.
pub(super) async fn settle_respelled(context: &Context, entity: &EntityPlan, scopes: &[Scope]) -> Result<bool> {
    if context.job.mode != Mode::Append && !may_fold(context.source.capabilities(), entity) {
        return Ok(false);
    }
    let mut gone: HashMap<Key, Vec<Gone>> = HashMap::new();
    // A dry run leaves the ledger as it is, with the entries of the rows that are gone.
    let (dry, mut lost) = (context.purpose == Purpose::Preview, HashSet::new());
    let mut taken_over = false;
    for (place, scope) in scopes.iter().enumerate() {
        let mut before = None;
        loop {
            let rows = context.state.gone_rows(scope, before, ROWS_AT_ONCE).await?;
            let Some((last, _)) = rows.last() else { break };
            before = Some(*last);
            let keys: Vec<Key> = rows.iter().map(|(_, row)| Key::from_bytes(&row.key)).collect();
            let targets = target_keys(context.state.as_ref(), &context.job.name, entity, &keys).await?;
            for ((number, row), target) in rows.iter().zip(targets) {
                let Some(target) = target else { continue };
                gone.entry(target).or_default().push(Gone { place, number: *number, own: row.own });
            }
            if dry {
                lost.extend(keys);
            }
            if gone.len() >= AT_ONCE {
                taken_over |= settle(context, entity, scopes, std::mem::take(&mut gone), std::mem::take(&mut lost)).await?;
            }
        }
    }
    Ok(taken_over | settle(context, entity, scopes, gone, lost).await?)
}

/// Returns the rows of a block that were left to the target, which holds them under the key of a gone row: in mode `append` a row that it
/// takes for the same stays as it was. Each with its place in the block, and that key as the target spells it. `keys` are the rows' own, as
/// the target would spell them.
async fn left_alone(
    context: &Context,
    entity: &EntityPlan,
    block: &LedgerBlock,
    keys: &[Option<Key>],
    gone: &HashMap<Key, Vec<Gone>>,
) -> Result<Vec<(usize, Key)>> {
    let left = block.entries.iter().zip(keys).enumerate().filter(|(_, (entry, _))| entry.checksum == Entry::UNKNOWN);
    let left: Vec<(usize, Key)> = left.filter_map(|(at, (_, key))| Some((at, key.clone()?))).collect();
    if left.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<Key> = left.iter().map(|(_, key)| key.clone()).collect();
    let mut transaction = context.sink.begin(&context.fence).await?;
    let found = spelled(entity, transaction.as_mut(), &keys, false).await?;
    let mut pairs = Vec::new();
    if found.iter().any(|key| gone.contains_key(key)) {
        for (at, key) in left {
            // Only one by one does the target tell which of them it holds under another spelling.
            let there = match found.contains(&key) {
                true => Some(key),
                false => spelled(entity, transaction.as_mut(), &[key], false).await?.into_iter().next(),
            };
            pairs.extend(there.filter(|key| gone.contains_key(key)).map(|key| (at, key)));
        }
    }
    transaction.rollback().await?;
    Ok(pairs)
}

async fn settle(
    context: &Context,
    entity: &EntityPlan,
    scopes: &[Scope],
    mut gone: HashMap<Key, Vec<Gone>>,
    lost: HashSet<Key>,
) -> Result<bool> {
    let mut taken_over = false;
    for (at, scope) in scopes.iter().enumerate() {
        let mut after = None;
        while !gone.is_empty() {
            let blocks = context.state.ledger_blocks(scope, after, BLOCKS_AT_ONCE).await?;
            let Some(last) = blocks.last() else { break };
            after = Some(last.ordinal);
            let mut stay: Vec<Vec<i64>> = vec![Vec::new(); scopes.len()];
            let mut changed = Vec::new();
            for stored in &blocks {
                let mut block = LedgerBlock::unpack(stored)?;
                // What cannot be a key of the target was refused, and has no row there.
                let keys = block.entries.iter().map(|entry| entry.key.clone()).collect();
                let keys = target_keys_if_any(context.state.as_ref(), &context.job.name, entity, keys).await?;
                if context.job.mode == Mode::Append {
                    let (mut inherits, this) = (false, block.execution == context.execution);
                    for (heir, key) in left_alone(context, entity, &block, &keys, &gone).await? {
                        let rows = gone.remove(&key).unwrap_or_default();
                        if this && rows.iter().any(|row| row.own) {
                            inherits |= take_over(&mut block.entries[heir]);
                        }
                        rows.iter().for_each(|row| stay[row.place].push(row.number));
                    }
                    if inherits {
                        changed.push(block.pack());
                    }
                }
                let there = block.entries.iter().zip(&keys).filter(|(entry, _)| !lost.contains(&entry.key));
                for key in there.filter_map(|(_, key)| key.as_ref()) {
                    gone.remove(key).unwrap_or_default().iter().for_each(|row| stay[row.place].push(row.number));
                }
            }
            taken_over |= !changed.is_empty();
            let mut changes = StateChanges { scope: Some(scope.clone()), ..StateChanges::default() };
            if !changed.is_empty() {
                // The source knows of no change to rows that have taken others over.
                changes.checkpoint = looking_at_all_rows(context, scope).await?;
                changes.blocks = changed;
            }
            changes.gone_settled = std::mem::take(&mut stay[at]);
            commit(context, scopes, stay, changes).await?;
            context.check_cancelled()?;
        }
    }
    Ok(taken_over)
}

/// Makes a row that was left to the target the heir of one that this execution has inserted, whose content is then written anew; false
/// if it was left before, to others.
fn take_over(heir: &mut Entry) -> bool {
    let own = heir.outcome == Outcome::Skipped;
    if own {
        (heir.outcome, heir.checksum) = (Outcome::Inserted, Entry::DISTRUSTED);
    }
    own
}

/// Takes rows off the lists, and changes the state of one scope, in one transaction.
async fn commit(context: &Context, scopes: &[Scope], stay: Vec<Vec<i64>>, changes: StateChanges) -> Result<()> {
    if changes.gone_settled.is_empty() && changes.blocks.is_empty() && stay.iter().all(Vec::is_empty) {
        return Ok(());
    }
    let mut transaction = context.sink.begin(&context.fence).await?;
    for (scope, gone_settled) in scopes.iter().zip(stay).filter(|(_, settled)| !settled.is_empty()) {
        transaction.put_state(StateChanges { scope: Some(scope.clone()), gone_settled, ..StateChanges::default() }).await?;
    }
    transaction.commit(&changes).await
}

/// Whether two keys of the source can be one key of the target.
pub(super) fn may_fold(source: SourceCapabilities, entity: &EntityPlan) -> bool {
    // An id that is replaced is replaced by one that no other id is.
    entity.key.iter().filter(|name| entity.map_of(name).is_none()).any(|name| {
        let column = entity.columns.iter().find(|c| c.source.as_ref() == Some(name));
        let from = entity.source.column(name).map(|c| &c.data_type);
        column.zip(from).is_none_or(|(column, from)| !keeps_apart(source.typed_cells, from, &column.target_type))
    })
}

/// Whether conforming keeps what differs apart, for the pairs that keys are mostly made of.
fn keeps_apart(typed_cells: bool, from: &DataType, to: &DataType) -> bool {
    use crate::value::Affinity::{Integer, StrictInteger, StrictText, Text};
    let integer = |data_type: &DataType| {
        matches!(
            data_type,
            DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Dynamic { affinity: Integer | StrictInteger }
        )
    };
    let text = |data_type: &DataType| {
        matches!(data_type, DataType::Text { max_chars: None } | DataType::Dynamic { affinity: Text | StrictText })
    };
    // Two spellings of one moment are one value of a column that a file declares TIMESTAMPTZ_TEXT, and two cells of it.
    let same = from == to && (typed_cells || matches!(from, DataType::Dynamic { .. }));
    same || (integer(from) && integer(to)) || (text(from) && text(to))
}
