//! One row: decoded, transformed, conformed and encoded.

use super::RowRefusal;
use super::recipe::Recipe;
use super::replaced::InPlace;
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::keymap::Replaced;
use crate::pipeline::orphans::Bereft;
use crate::plan::EntityPlan;
use crate::value::conform::conform;
use crate::value::{DataType, PageBuilder, RowRef, Value, canonical};
use std::borrow::Cow;

const PARENT_UNKNOWN: &str = "the row that it refers to is not in the target, so that no id is known for it";
const NULL_REFUSED: &str = "the column refuses NULL";

pub(super) type RowOutcome = std::result::Result<(), RowRefusal>;

/// What a row is made into.
pub(super) struct Made<'m> {
    pub(super) page: &'m mut PageBuilder,
    pub(super) canonical: &'m mut Vec<u8>,
    pub(super) lacks_parent: bool,
    pub(super) is_orphan: bool,
}

impl Made<'_> {
    fn push(&mut self, value: &Value<'_>) -> Result<()> {
        canonical::encode_value(value, self.canonical);
        self.page.push_value(value)
    }
}

/// A row's values, as they are before each is conformed to its column.
pub(super) struct Taken<'p> {
    pub(super) values: Vec<Option<Value<'p>>>,
    pub(super) bereft: Bereft,
    pub(super) outcome: RowOutcome,
}

/// Computes the canonical bytes of a row that is the target's as it stands.
pub(super) fn checksum_whole<'p>(
    entity: &EntityPlan,
    recipe: &Recipe,
    row: RowRef<'p>,
    keys: &mut Vec<Value<'p>>,
    canonical: &mut Vec<u8>,
) -> Result<RowOutcome> {
    keys.clear();
    canonical.clear();
    let mut outcome = Ok(());
    let mut cells = row.cells();
    for (i, column) in entity.columns.iter().enumerate() {
        let cell =
            cells.next().ok_or_else(|| Error::new(ErrorKind::Corrupt, "a row has fewer cells than its page has columns"))?;
        let value = match recipe.decode(i, cell) {
            Ok(value) => value,
            Err(error) => match (decoding(error)?, cell) {
                // A column that takes cells as they are takes also what has no value, such as text that is not UTF-8.
                (_, Some(bytes)) if matches!(column.target_type, DataType::Dynamic { .. }) && !recipe.key.contains(&i) => {
                    Value::Bytes(Cow::Borrowed(bytes))
                }
                (reason, _) => {
                    outcome = Err(refusal(&column.target, reason));
                    Value::Null
                }
            },
        };
        if value.is_null() && column.not_null && outcome.is_ok() && entity.target.triggers.is_empty() {
            outcome = Err(refusal(&column.target, NULL_REFUSED.to_owned()));
        }
        canonical::encode_value(&value, canonical);
        if recipe.key.contains(&i) {
            keys.push(value);
        }
    }
    recipe.put_in_key_order(keys);
    Ok(outcome)
}

/// Decodes a row, and takes its values through the entity's transformation.
pub(super) fn take<'p>(entity: &EntityPlan, recipe: &Recipe, row: RowRef<'p>) -> Result<Taken<'p>> {
    // One walk over the cells: `recipe.steps` mostly follows their order, so values are decoded once and kept by place.
    let mut values: Vec<Option<Value<'p>>> = Vec::with_capacity(recipe.sources.len());
    let mut outcome: RowOutcome = Ok(());
    let mut cells = row.cells();
    for i in 0..recipe.sources.len() {
        let cell =
            cells.next().ok_or_else(|| Error::new(ErrorKind::Corrupt, "a row has fewer cells than its page has columns"))?;
        match recipe.decode(i, cell) {
            Ok(value) => values.push(Some(value)),
            Err(error) => {
                let reason = decoding(error)?;
                outcome = outcome.and(Err(refusal(&recipe.sources[i].name, reason)));
                values.push(None);
            }
        }
    }
    let bereft = recipe.orphans.as_ref().and_then(|rules| rules.look(&values)).unwrap_or_default();
    if let Some((column, reason)) = &bereft.refused {
        outcome = outcome.and(Err(refusal(column, reason.clone())));
    }
    if let Some(transform) = &entity.transform {
        // What could not be decoded is NULL to the steps; its row is refused all the same, with its key.
        let row = values.into_iter().map(|value| value.unwrap_or(Value::Null)).collect();
        let (row, refused) = transform.apply(row);
        values = row.into_iter().map(Some).collect();
        if let Some(refused) = refused {
            outcome = outcome.and(Err(refusal(&refused.column, refused.reason)));
        }
    }
    Ok(Taken { values, bereft, outcome })
}

/// Makes a row of the target, and takes the key of the source's.
pub(super) fn conform_row<'p>(
    entity: &EntityPlan,
    recipe: &Recipe,
    row: RowRef<'p>,
    replaced: Option<InPlace<'_>>,
    keys: &mut Vec<Value<'p>>,
    made: &mut Made<'_>,
) -> Result<RowOutcome> {
    keys.clear();
    let Taken { mut values, bereft, outcome } = take(entity, recipe, row)?;
    for &place in &recipe.key {
        keys.push(values[place].clone().unwrap_or(Value::Null));
    }
    if outcome.is_err() {
        return Ok(outcome);
    }
    for (at, (step, column)) in recipe.steps.iter().zip(&entity.columns).enumerate() {
        if let Some((_, value)) = bereft.instead.iter().find(|(place, _)| *place == at) {
            made.is_orphan = true;
            made.push(value)?;
            continue;
        }
        if let Some(replaced) = replaced.and_then(|replaced| replaced.cell(at)) {
            let value = match replaced {
                Replaced::Value(value) | Replaced::OfRow { value, .. } => value,
                // Written without it for now, and again once it is there.
                Replaced::Missing { late: true } if !column.not_null => {
                    made.lacks_parent = true;
                    &Value::Null
                }
                Replaced::Missing { .. } => {
                    made.lacks_parent = true;
                    return Ok(Err(refusal(&column.target, PARENT_UNKNOWN.to_owned())));
                }
            };
            if value.is_null() && column.not_null && entity.target.triggers.is_empty() {
                return Ok(Err(refusal(&column.target, NULL_REFUSED.to_owned())));
            }
            made.push(value)?;
            continue;
        }
        let value = match (step.from, &column.constant) {
            (Some(place), _) => values[place].take().unwrap_or(Value::Null),
            (None, Some(constant)) => constant.clone(),
            (None, None) => Value::Null,
        };
        let value = if step.identity || step.from.is_none() {
            value
        } else {
            match conform(value, &column.target_type) {
                Ok(value) => value,
                Err(error) => return Ok(Err(refusal(&column.target, error.reason))),
            }
        };
        if value.is_null() && column.not_null && entity.target.triggers.is_empty() {
            return Ok(Err(refusal(&column.target, NULL_REFUSED.to_owned())));
        }
        if value.is_null() {
            made.push(&value)?;
        } else {
            let before = made.page.bytes();
            made.page.push_value(&value)?;
            made.canonical.extend_from_slice(made.page.tail(before + 4));
        }
    }
    Ok(Ok(()))
}

/// A cell that the adapter cannot decode refuses its row; damaged bytes fail the run.
fn decoding(error: Error) -> Result<String> {
    if error.kind() == ErrorKind::RowRejected { Ok(error.message().to_owned()) } else { Err(error) }
}

fn refusal(column: &str, reason: String) -> RowRefusal {
    RowRefusal { column: Some(column.to_owned()), reason, set: None }
}
