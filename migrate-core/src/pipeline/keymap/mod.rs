//! Replaces ids of the source by those that the target has given.
//!
//! ```text
//! page ──▶ its ids and references ──▶ one question for each key map ──▶ shape, with what was found in their place
//!                 │ new rows of an entity whose ids the target gives
//!                 └──▶ ids are drawn from the target ──▶ rows and key map, one commit
//! ```
//!
//! What follows sees the target's ids alone: the ledger's checksums, the columns of mode `update`, and a comparison of both sides. So a
//! row whose parent has another id now is a row that has changed. The source's keys stay what the ledger is ordered by.

mod draw;
mod found;
mod given;
mod names;
mod spell;
mod translate;

pub(super) use draw::{draw_from, giving, ids_of, pretended};
pub(crate) use found::{Replaced, RowIds, Translated};
pub(super) use given::{Given, Run};
pub(super) use names::name_of;
pub(crate) use names::without_names;
pub(crate) use spell::{source_keys, target_keys, target_keys_if_any, with_ids};
pub(super) use translate::Known;
pub(crate) use translate::Translator;

use crate::error::{Error, ErrorKind, Result};
use crate::plan::{EntityPlan, GeneratedPlan};
use crate::state::TargetState;
use crate::value::canonical::{self, Checksum};
use crate::value::{Key, Page, Value};
use std::collections::HashMap;

/// Rows at most of the transactions of one entity, where each brings an entry of a key map.
pub(super) const MAPPED_ROWS: usize = 16_384;
/// Keys that are looked up together.
const AT_ONCE: usize = 8_192;

/// Returns what the key map of an entity has for ids of the source.
pub(super) async fn mapped(state: &dyn TargetState, job: &str, entity: &str, sources: &[Key]) -> Result<HashMap<Key, Key>> {
    or_none(state.mapped(job, entity, sources).await)
}

/// Returns what the key map of an entity has for ids of the target.
pub(super) async fn mapped_back(state: &dyn TargetState, job: &str, entity: &str, targets: &[Key]) -> Result<HashMap<Key, Key>> {
    or_none(state.mapped_back(job, entity, targets).await)
}

/// A plan, or a comparison, may find state tables of an older version, or none: they know no key map, and a run adds it, empty.
fn or_none(found: Result<HashMap<Key, Key>>) -> Result<HashMap<Key, Key>> {
    match found {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(HashMap::new()),
        other => other,
    }
}

/// Returns the cells of a column as keys; NULL is none, and neither is what cannot be decoded: its row is refused.
pub(super) fn keys_of(page: &Page, column: &str) -> Result<Vec<Option<Key>>> {
    let place =
        page.column_index(column).ok_or_else(|| Error::new(ErrorKind::Internal, format!("a page lacks the column {column}")))?;
    let (encoding, data_type) = (page.encoding(), &page.columns()[place].data_type);
    let mut keys = Vec::with_capacity(page.row_count());
    for row in page.rows() {
        let value = encoding.decode(data_type, row.cells().nth(place).flatten()).unwrap_or(Value::Null);
        keys.push((!value.is_null()).then(|| Key::from_values([&value])));
    }
    Ok(keys)
}

fn only_value(key: &Key) -> Result<Value<'static>> {
    let value = key.values()?.into_iter().next().map(Value::into_owned);
    value.ok_or_else(|| Error::new(ErrorKind::Corrupt, "an entry of the key map holds no id"))
}

/// A row without an id is refused for its key, or has none that anybody refers to.
fn no_id() -> Key {
    Key::from_values([&Value::Null])
}

/// Returns the rows' own ids at the source.
fn sources_of(page: &Page, own: &GeneratedPlan) -> Result<Vec<Key>> {
    Ok(keys_of(page, &own.source)?.into_iter().map(|key| key.unwrap_or_else(no_id)).collect())
}

/// A checksum that stands for a row's id at the source, where the target gives another one beside the key: there it is part of no row, yet a
/// row that has another one is to be looked at again.
pub(super) fn mask(entity: &EntityPlan, ids: Option<&RowIds>, row: u32) -> Checksum {
    let beside_key = ids.filter(|_| entity.generated_beside_key().is_some());
    beside_key.and_then(|ids| ids.source(row)).map_or([0; 16], |source| canonical::checksum(source.as_bytes()))
}

/// Puts an id's checksum on a row's, or takes it off again.
pub(super) fn masked(mut checksum: Checksum, mask: &Checksum) -> Checksum {
    checksum.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    checksum
}
