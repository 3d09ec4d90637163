//! Lets rows exchange unique values: those that hold a value which another row is to get give it up first.
//!
//! Engines check a unique value row by row, even within one UPDATE, so two rows that swap theirs refuse each other for ever. The rows are
//! parked: their unique columns are emptied, or filled with values that nothing else has, and the ledger forgets them in the same commit. A
//! process killed at this point leaves rows that the next run writes whole, as it does with everything that the ledger does not know.

use super::context::Context;
use super::keymap::target_keys;
use super::update::column_sums;
use crate::diff::{Entry, LedgerBlock};
use crate::error::{ErrorKind, Result};
use crate::job::Level;
use crate::plan::EntityPlan;
use crate::sink::{WriteMode, WriteRequest};
use crate::source::PageRequest;
use crate::state::{Scope, StateChanges, StoredBlock, TargetState, to_hex};
use crate::value::canonical::checksum;
use crate::value::conform::conform;
use crate::value::{DataType, Encoding, Key, Page, PageBuilder, PageColumn, Value};
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

/// Rows that are parked at most: each is read back and written by itself.
const MOST: usize = 1_000;
/// Ledger blocks that are looked at together.
const BLOCKS_AT_ONCE: usize = 64;

/// Rows that were parked, with the values that they gave up.
#[derive(Debug)]
pub(super) struct Parked {
    /// Key columns and parked columns, as they were.
    before: Page,
    keys: Vec<Key>,
    /// What the ledger knew of their columns, by the source's keys.
    known: HashMap<Key, Box<[u8]>>,
}

/// Parks the target's rows of these keys; `None` if there was none that can be.
pub(super) async fn park(context: &Context, entity: &EntityPlan, scope: &Scope, keys: &[Key]) -> Result<Option<Parked>> {
    let columns = columns_to_park(entity);
    if columns.is_empty() || keys.len() > MOST {
        return Ok(None);
    }
    let mut names = entity.target_key.clone();
    names.extend(columns.iter().map(|(name, _, _)| name.clone()));
    let types: Option<Vec<PageColumn>> = names
        .iter()
        .map(|name| Some(PageColumn { name: name.clone(), data_type: entity.target.column(name)?.data_type.clone() }))
        .collect();
    let Some(types) = types else { return Ok(None) };
    let targets = target_keys(context.state.as_ref(), &context.job.name, entity, keys).await?;
    let targets: HashMap<&Key, Key> = keys.iter().zip(targets).filter_map(|(key, target)| Some((key, target?))).collect();
    let wanted: Vec<Key> = targets.values().cloned().collect();
    let mut transaction = context.sink.begin(&context.fence).await?;
    let found = transaction.read_rows(&PageRequest::new(&entity.target, &names, &entity.target_key), &wanted).await?;
    let (mut page, mut before) = (
        PageBuilder::new(types.clone().into(), Encoding::CANONICAL),
        PageBuilder::new(types.clone().into(), Encoding::CANONICAL),
    );
    let mut parked_keys = Vec::new();
    for row in found.rows() {
        let values = row.values()?.into_iter().zip(&types);
        let values: Vec<Value<'static>> =
            values.map(|(value, column)| conform(value.clone(), &column.data_type).unwrap_or(value).into_owned()).collect();
        let (own_key, _) = values.split_at(entity.target_key.len());
        let own = Key::from_values(own_key);
        let seed = checksum(own.as_bytes());
        parked_keys.push(own);
        before.begin_row();
        values.iter().try_for_each(|value| before.push_value(value))?;
        before.end_row();
        page.begin_row();
        own_key.iter().try_for_each(|value| page.push_value(value))?;
        for (_, data_type, nullable) in &columns {
            page.push_value(&parked(data_type, *nullable, &seed))?;
        }
        page.end_row();
    }
    let page = page.finish(None);
    if page.is_empty() {
        transaction.rollback().await?;
        return Ok(None);
    }
    let request =
        WriteRequest { table: &entity.target, key: &entity.target_key, page: &page, rows: None, mode: WriteMode::Upsert };
    transaction.write(request).await?;
    // What a column is parked as is no change that somebody has made to the target.
    let places: Vec<Option<usize>> =
        columns.iter().map(|(name, ..)| entity.columns.iter().position(|c| &c.target == name)).collect();
    let known = Mutex::new(HashMap::new());
    let blocks = forget(context.state.as_ref(), scope, &keys.iter().collect(), |entry| {
        if let Some(sums) = &entry.columns {
            known.lock().unwrap_or_else(PoisonError::into_inner).insert(entry.key.clone(), sums.clone());
        }
        let (Some(sums), Some(key)) = (&mut entry.columns, targets.get(&entry.key)) else { return };
        let seed = checksum(key.as_bytes());
        for (place, (_, data_type, nullable)) in places.iter().zip(&columns) {
            let own = column_sums(&[parked(data_type, *nullable, &seed)]);
            if let Some(sum) = place.and_then(|place| sums.get_mut(place * own.len()..(place + 1) * own.len())) {
                sum.copy_from_slice(&own);
            }
        }
    })
    .await?;
    let changes = StateChanges { scope: Some(scope.clone()), blocks, ..StateChanges::default() };
    transaction.commit(&changes).await?;
    let known = known.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Some(Parked { before: before.finish(None), keys: parked_keys, known }))
}

/// Gives rows that are refused all the same what they had before they were parked, as far as nothing else has it by now.
pub(super) async fn unpark(
    context: &Context,
    entity: &EntityPlan,
    scope: &Scope,
    parked: &Parked,
    refused: &[Key],
) -> Result<()> {
    let targets = target_keys(context.state.as_ref(), &context.job.name, entity, refused).await?;
    let refused: HashMap<Key, &Key> = targets.into_iter().zip(refused).filter_map(|(target, key)| Some((target?, key))).collect();
    let rows = parked.keys.iter().zip(0u32..).filter_map(|(key, place)| Some((place, *refused.get(key)?)));
    let rows: Vec<(u32, &Key)> = rows.collect();
    if rows.is_empty() || give_back(context, entity, scope, parked, &rows, true).await? {
        return Ok(());
    }
    let mut given = Vec::with_capacity(rows.len());
    for row in rows {
        if give_back(context, entity, scope, parked, &[row], false).await? {
            given.push(row.1);
        } else {
            let message = "a refused row has lost a unique value to another one; quarantine has the row that should be there";
            context.log(Level::Warn, &entity.name, message);
        }
    }
    let blocks = known_again(context, scope, parked, &given.into_iter().collect()).await?;
    let transaction = context.sink.begin(&context.fence).await?;
    transaction.commit(&StateChanges { scope: Some(scope.clone()), blocks, ..StateChanges::default() }).await
}

/// Gives rows back what they had, all or none, and with `ledger` what was known of it. Returns false where the target refuses that.
async fn give_back(
    context: &Context,
    entity: &EntityPlan,
    scope: &Scope,
    parked: &Parked,
    rows: &[(u32, &Key)],
    ledger: bool,
) -> Result<bool> {
    let mut transaction = context.sink.begin(&context.fence).await?;
    let places: Vec<u32> = rows.iter().map(|(place, _)| *place).collect();
    let request = WriteRequest {
        table: &entity.target,
        key: &entity.target_key,
        page: &parked.before,
        rows: Some(&places),
        mode: WriteMode::Upsert,
    };
    let mut changes = StateChanges::default();
    if ledger {
        changes.scope = Some(scope.clone());
        changes.blocks = known_again(context, scope, parked, &rows.iter().map(|(_, key)| *key).collect()).await?;
    }
    let done = match transaction.write(request).await {
        Ok(_) => transaction.commit(&changes).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::RowRejected | ErrorKind::Constraint) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the ledger blocks of rows that have back what they had: it is no change that somebody has made to the target.
async fn known_again(context: &Context, scope: &Scope, parked: &Parked, keys: &HashSet<&Key>) -> Result<Vec<StoredBlock>> {
    forget(context.state.as_ref(), scope, keys, |entry| {
        if let Some(known) = parked.known.get(&entry.key) {
            entry.columns = Some(known.clone());
        }
    })
    .await
}

/// The columns, one for each unique constraint beside the key's, with their types and whether they may be NULL.
fn columns_to_park(entity: &EntityPlan) -> Vec<(String, DataType, bool)> {
    let table = &entity.target;
    let keys = table.unique_keys.iter().map(|key| key.columns.clone());
    let indexes = table.indexes.iter().filter(|index| index.unique);
    let indexes = indexes.map(|index| index.parts.iter().filter_map(|part| part.column.clone()).collect::<Vec<_>>());
    let mut columns: Vec<(String, DataType, bool)> = Vec::new();
    for constraint in keys.chain(indexes).chain(table.primary_key.iter().map(|key| key.columns.clone())) {
        let written = |name: &&String| !entity.target_key.contains(*name) && entity.columns.iter().any(|c| &c.target == *name);
        let candidates: Vec<_> = constraint.iter().filter(written).filter_map(|name| table.column(name)).collect();
        let fits =
            |nullable: bool| candidates.iter().find(|c| c.nullable == nullable && (nullable || can_be_parked(&c.data_type)));
        if let Some(column) = fits(true).or_else(|| fits(false))
            && !columns.iter().any(|(name, _, _)| name == &column.name)
        {
            columns.push((column.name.clone(), column.data_type.clone(), column.nullable));
        }
    }
    columns
}

/// Whether a column that refuses NULL can hold a value that nothing else has.
fn can_be_parked(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Int32 | DataType::Int64 | DataType::Text { .. } | DataType::Dynamic { .. } | DataType::Uuid | DataType::Bytes
    )
}

/// A value that nothing else has, but for a very small chance: then the row is refused, as it was before.
fn parked(data_type: &DataType, nullable: bool, seed: &[u8; 16]) -> Value<'static> {
    let number = i64::from_be_bytes([seed[0], seed[1], seed[2], seed[3], seed[4], seed[5], seed[6], seed[7]]);
    match data_type {
        _ if nullable => Value::Null,
        DataType::Int32 => Value::Int(i64::from(i32::MIN) + (number & 0x00ff_ffff)),
        DataType::Int64 => Value::Int(i64::MIN + (number & 0x00ff_ffff_ffff_ffff)),
        DataType::Uuid => Value::Uuid(*seed),
        DataType::Bytes => Value::Bytes(seed.to_vec().into()),
        _ => Value::Text(to_hex(&seed[..6]).into()),
    }
}

/// Returns the ledger blocks that know these keys, changed to know nothing of their rows' content but what `keep` leaves.
pub(crate) async fn forget(
    state: &dyn TargetState,
    scope: &Scope,
    keys: &HashSet<&Key>,
    keep: impl Fn(&mut Entry),
) -> Result<Vec<StoredBlock>> {
    let (mut after, mut blocks) = (None, Vec::new());
    loop {
        let stored = state.ledger_blocks(scope, after, BLOCKS_AT_ONCE).await?;
        let Some(last) = stored.last() else { return Ok(blocks) };
        after = Some(last.ordinal);
        for stored in &stored {
            let mut block = LedgerBlock::unpack(stored)?;
            let mut changed = false;
            for entry in block.entries.iter_mut().filter(|entry| keys.contains(&entry.key)) {
                let columns = entry.columns.take();
                entry.distrust();
                entry.columns = columns;
                keep(entry);
                changed = true;
            }
            if changed {
                blocks.push(block.pack());
            }
        }
    }
}
