//! Finds the columns that a target's triggers alter, by reading back what was written.

use crate::error::Result;
use crate::plan::EntityPlan;
use crate::sink::SinkTransaction;
use crate::source::PageRequest;
use crate::value::conform::conform;
use crate::value::{Key, Page, Value, canonical};
use std::collections::{BTreeSet, HashMap};

/// Rows of each page that are read back where not all are.
pub(super) const SAMPLE: usize = 200;

/// Returns the columns of rows just written that do not hold what was written to them; so many rows are read back at most.
///
/// Rows that a trigger has kept out or sent elsewhere say nothing about columns.
pub(super) async fn altered(
    entity: &EntityPlan,
    transaction: &mut dyn SinkTransaction,
    page: &Page,
    rows: &[u32],
    most: usize,
) -> Result<BTreeSet<String>> {
    let columns: Vec<String> = entity.columns.iter().map(|c| c.target.clone()).collect();
    let places: Vec<usize> = entity.target_key.iter().filter_map(|k| columns.iter().position(|c| c == k)).collect();
    if places.is_empty() {
        return Ok(BTreeSet::new());
    }
    let bytes = |value: &Value<'_>| {
        let mut bytes = Vec::new();
        canonical::encode_value(value, &mut bytes);
        bytes
    };
    let conformed = |values: Vec<Value<'_>>| -> Vec<Value<'static>> {
        let values = values.into_iter().zip(&entity.columns);
        values.map(|(value, c)| conform(value.clone(), &c.target_type).unwrap_or(value).into_owned()).collect()
    };
    let key_of = |values: &[Value<'static>]| Key::from_values(places.iter().map(|place| &values[*place]));
    let mut written: HashMap<Key, Vec<Value<'static>>> = HashMap::new();
    for row in rows.iter().take(most) {
        let values = conformed(page.row(*row as usize).values()?);
        written.insert(key_of(&values), values);
    }
    let keys: Vec<Key> = written.keys().cloned().collect();
    let found = transaction.read_rows(&PageRequest::new(&entity.target, &columns, &entity.target_key), &keys).await?;
    let mut altered = BTreeSet::new();
    for row in found.rows() {
        let values = conformed(row.values()?);
        let Some(expected) = written.get(&key_of(&values)) else { continue };
        let pairs = columns.iter().zip(values.iter().zip(expected));
        altered.extend(pairs.filter(|(_, (is, was))| bytes(is) != bytes(was)).map(|(column, _)| column.clone()));
    }
    Ok(altered)
}
