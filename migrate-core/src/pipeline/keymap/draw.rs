//! Ids that the target gives, and such as are made up where nothing is written.

use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::batch::Batch;
use crate::pipeline::context::{Context, Purpose};
use crate::plan::{EntityPlan, GeneratedPlan};
use crate::sink::SinkTransaction;
use crate::source::PageRequest;
use crate::value::canonical;
use crate::value::conform::conform;
use crate::value::{DataType, Key, Value};
use std::collections::HashMap;

/// How ids are given to rows that are new to the key map.
pub(in crate::pipeline) enum Give<'a> {
    /// They are drawn from the target.
    Draw(&'a Context, &'a mut Batch),
    /// Some that no row has, as nothing is written.
    Pretend,
}

/// Returns how ids are given in a run, and in one that only looks.
pub(in crate::pipeline) fn giving<'a>(context: &'a Context, batch: &'a mut Batch) -> Give<'a> {
    match context.purpose {
        Purpose::Run => Give::Draw(context, batch),
        Purpose::Preview | Purpose::Adopt => Give::Pretend,
    }
}

/// Draws ids that no row of the target has.
pub(super) async fn draw(
    context: &Context,
    batch: &mut Batch,
    entity: &EntityPlan,
    own: &GeneratedPlan,
    count: usize,
    loads: bool,
) -> Result<Vec<Value<'static>>> {
    let transaction = batch.transaction(context).await?;
    if loads {
        return transaction.reserve(&entity.target, &own.target, count).await;
    }
    draw_from(context, transaction.as_mut(), entity, own, count).await
}

/// Draws ids that no row of the target has, also where rows came with numbers of their own.
pub(in crate::pipeline) async fn draw_from(
    context: &Context,
    transaction: &mut dyn SinkTransaction,
    entity: &EntityPlan,
    own: &GeneratedPlan,
    count: usize,
) -> Result<Vec<Value<'static>>> {
    let column = std::slice::from_ref(&own.target);
    let mut drawn: Vec<Value<'static>> = Vec::with_capacity(count);
    while drawn.len() < count {
        let mut some = transaction.reserve(&entity.target, &own.target, count - drawn.len()).await?;
        // A sequence may lie behind the rows.
        let keys: Vec<Key> = some.iter().map(|value| Key::from_values([value])).collect();
        let taken = transaction.existing(&entity.target, column, &keys).await?;
        let mut keys = keys.iter();
        some.retain(|_| keys.next().is_some_and(|key| !taken.contains(key)));
        drawn.extend(some);
        context.check_cancelled()?;
    }
    Ok(drawn)
}

/// An id that no row has, but for a very small chance, and the same one each time.
pub(in crate::pipeline) fn pretended(data_type: &DataType, source: &Key) -> Value<'static> {
    let seed = canonical::checksum(source.as_bytes());
    let number = i64::from_be_bytes([seed[0], seed[1], seed[2], seed[3], seed[4], seed[5], seed[6], seed[7]]);
    match data_type {
        DataType::Int16 => Value::Int(i64::from(i16::MIN) + (number & 0x0fff)),
        DataType::Int32 => Value::Int(i64::from(i32::MIN) + (number & 0x00ff_ffff)),
        DataType::Int64 | DataType::Dynamic { .. } => Value::Int(i64::MIN + (number & 0x00ff_ffff_ffff_ffff)),
        DataType::Uuid => Value::Uuid(seed),
        DataType::Bytes => Value::Bytes(seed.to_vec().into()),
        _ => Value::Text(crate::state::to_hex(&seed).into()),
    }
}

/// Returns the ids that the target's rows of these keys have, by key.
pub(in crate::pipeline) async fn ids_of(
    transaction: &mut dyn SinkTransaction,
    entity: &EntityPlan,
    own: &GeneratedPlan,
    keys: &[Key],
) -> Result<HashMap<Key, Key>> {
    let mut columns = entity.target_key.clone();
    columns.push(own.target.clone());
    let types: Vec<Option<&DataType>> = columns.iter().map(|name| entity.target.column(name).map(|c| &c.data_type)).collect();
    let request = PageRequest::new(&entity.target, &columns, &entity.target_key);
    let page = transaction.read_rows(&request, keys).await?;
    let mut found = HashMap::with_capacity(keys.len());
    for row in page.rows() {
        let values = row.values()?.into_iter().zip(&types);
        let values: Vec<Value<'_>> = values
            .map(|(value, data_type)| match data_type {
                Some(data_type) => conform(value.clone(), data_type).unwrap_or(value),
                None => value,
            })
            .collect();
        let (id, key) = values.split_last().ok_or_else(|| Error::new(ErrorKind::Internal, "a row without its id"))?;
        found.insert(Key::from_values(key), Key::from_values([id]));
    }
    Ok(found)
}
