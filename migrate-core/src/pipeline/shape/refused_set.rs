//! The sets that refused rows belong to: they are left as they are.

use super::RowRefusal;
use super::recipe::Recipe;
use super::replaced::InPlace;
use super::row::{RowOutcome, Taken, take};
use crate::error::Result;
use crate::pipeline::keymap::Replaced;
use crate::plan::{EntityPlan, SetPlan};
use crate::value::conform::conform;
use crate::value::{Key, RowRef, Value};

/// Adds to a refusal what tells the row's set.
pub(super) fn with_set(
    outcome: RowOutcome,
    entity: &EntityPlan,
    recipe: &Recipe,
    row: RowRef<'_>,
    replaced: Option<InPlace<'_>>,
) -> Result<RowOutcome> {
    match (outcome, &entity.set) {
        (Err(refusal), Some(set)) => {
            let set = set_of_refused(entity, set, &refusal, (recipe, row, replaced))?;
            Ok(Err(RowRefusal { set, ..refusal }))
        }
        (outcome, _) => Ok(outcome),
    }
}

/// Returns what tells the set of a refused row, as it would be written; `None` if that is among what was refused.
fn set_of_refused(
    entity: &EntityPlan,
    set: &SetPlan,
    refusal: &RowRefusal,
    (recipe, row, replaced): (&Recipe, RowRef<'_>, Option<InPlace<'_>>),
) -> Result<Option<Key>> {
    let Taken { values, bereft, .. } = take(entity, recipe, row)?;
    let mut told = Vec::with_capacity(set.target.len());
    for name in &set.target {
        let Some(at) = entity.columns.iter().position(|column| &column.target == name) else { continue };
        let (step, column) = (&recipe.steps[at], &entity.columns[at]);
        let instead = bereft.instead.iter().find(|(place, _)| *place == at);
        let value = match (instead, replaced.and_then(|replaced| replaced.cell(at)), step.from) {
            (Some((_, value)), _, _) | (None, Some(Replaced::Value(value) | Replaced::OfRow { value, .. }), _) => {
                Some(value.clone())
            }
            (None, Some(Replaced::Missing { late: true }), _) => Some(Value::Null),
            (None, Some(Replaced::Missing { late: false }), _) => None,
            (None, None, Some(place)) if step.identity => values[place].clone(),
            (None, None, Some(place)) => values[place].clone().and_then(|value| conform(value, &column.target_type).ok()),
            (None, None, None) => Some(column.constant.clone().unwrap_or(Value::Null)),
        };
        // A step that refuses a value leaves NULL in its place.
        let names = [Some(&column.target), column.source.as_ref()];
        let is_refused = refusal.column.as_ref().is_some_and(|refused| names.contains(&Some(refused)));
        match value.filter(|value| !(is_refused && value.is_null())) {
            Some(value) => told.push(value),
            None => return Ok(None),
        }
    }
    Ok(Some(Key::from_values(&told)))
}
