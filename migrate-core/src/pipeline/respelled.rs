//! Gone keys that the source has spelled anew.
//!
//! A target of another type may hold several of the source's spellings in one value: a uuid in either case, `1.0` and `1.00`. The
//! new spelling was then written onto the row of the old one, which is gone from the source and must not take the row with it. The same
//! holds in mode `append` where the target's own index takes both spellings for one: the row was then left there under the old one.

use super::context::{Context, Purpose};
use super::folded::spelled;
use super::shape::target_key;
use crate::diff::{Entry, LedgerBlock};
use crate::error::Result;
use crate::job::Mode;
use crate::plan::EntityPlan;
use crate::source::SourceCapabilities;
use crate::state::{Scope, StateChanges};
use crate::value::{DataType, Key};
use std::collections::{HashMap, HashSet};

/// Gone keys that are looked for together, by one reading of the ledger.
const AT_ONCE: usize = 65_536;
const ROWS_AT_ONCE: usize = 1_000;
const BLOCKS_AT_ONCE: usize = 16;

/// Takes those rows off the lists whose target key belongs to a row that the source still has.
///
/// `scopes` are all parts of one entity, as a key may be spelled anew into another part.
pub(super) async fn settle_respelled(context: &Context, entity: &EntityPlan, scopes: &[Scope]) -> Result<()> {
    if context.job.mode != Mode::Append && !may_fold(context.source.capabilities(), entity) {
        return Ok(());
    }
    let mut gone: HashMap<Key, Vec<(usize, i64)>> = HashMap::new();
    // A dry run leaves the ledger as it is, with the entries of the rows that are gone.
    let (dry, mut lost) = (context.purpose == Purpose::Preview, HashSet::new());
    for (place, scope) in scopes.iter().enumerate() {
        let mut before = None;
        loop {
            let rows = context.state.gone_rows(scope, before, ROWS_AT_ONCE).await?;
            let Some((last, _)) = rows.last() else { break };
            before = Some(*last);
            for (number, row) in &rows {
                let key = Key::from_bytes(&row.key);
                gone.entry(target_key(entity, &key)?).or_default().push((place, *number));
                if dry {
                    lost.insert(key);
                }
            }
            if gone.len() >= AT_ONCE {
                settle(context, entity, scopes, std::mem::take(&mut gone), std::mem::take(&mut lost)).await?;
            }
        }
    }
    settle(context, entity, scopes, gone, lost).await
}

/// Returns how the target spells the rows of a block that were left to it: in mode `append` a row that it takes for the same stays as it was.
async fn left_alone(context: &Context, entity: &EntityPlan, block: &LedgerBlock) -> Result<HashSet<Key>> {
    let left = block.entries.iter().filter(|entry| entry.checksum == Entry::UNKNOWN);
    let keys: Vec<Key> = left.map(|entry| target_key(entity, &entry.key)).collect::<Result<_>>()?;
    if keys.is_empty() {
        return Ok(HashSet::new());
    }
    let mut transaction = context.sink.begin(&context.fence).await?;
    let found = spelled(entity, transaction.as_mut(), &keys, false).await?;
    transaction.rollback().await?;
    Ok(found)
}

async fn settle(
    context: &Context,
    entity: &EntityPlan,
    scopes: &[Scope],
    mut gone: HashMap<Key, Vec<(usize, i64)>>,
    lost: HashSet<Key>,
) -> Result<()> {
    let mut stay: Vec<Vec<i64>> = vec![Vec::new(); scopes.len()];
    for scope in scopes {
        let mut after = None;
        while !gone.is_empty() {
            let blocks = context.state.ledger_blocks(scope, after, BLOCKS_AT_ONCE).await?;
            let Some(last) = blocks.last() else { break };
            after = Some(last.ordinal);
            for stored in &blocks {
                let block = LedgerBlock::unpack(stored)?;
                if context.job.mode == Mode::Append {
                    for key in left_alone(context, entity, &block).await? {
                        for (place, number) in gone.remove(&key).unwrap_or_default() {
                            stay[place].push(number);
                        }
                    }
                }
                for entry in block.entries.into_iter().filter(|entry| !lost.contains(&entry.key)) {
                    // What cannot be a key of the target was refused, and has no row there.
                    let Ok(key) = target_key(entity, &entry.key) else { continue };
                    for (place, number) in gone.remove(&key).unwrap_or_default() {
                        stay[place].push(number);
                    }
                }
            }
            context.check_cancelled()?;
        }
    }
    for (scope, settled) in scopes.iter().zip(stay).filter(|(_, settled)| !settled.is_empty()) {
        let transaction = context.sink.begin(&context.fence).await?;
        let changes = StateChanges { scope: Some(scope.clone()), gone_settled: settled, ..StateChanges::default() };
        transaction.commit(&changes).await?;
    }
    Ok(())
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
