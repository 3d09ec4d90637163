//! Ids that the target would give: a plan shows whose they would be, and not what a dry run has put in their place.

use super::preview::EntityPreview;
use super::state::DryState;
use super::tally::shown_key;
use crate::pipeline::keymap::pretended;
use crate::plan::{EntityPlan, Plan};
use crate::value::Key;
use std::collections::HashMap;

/// Texts of samples by what they say.
type Texts<'a> = HashMap<String, Vec<&'a mut String>>;

/// Replaces the made-up ids in samples by `new id of …`, with the source's id.
pub(super) fn name_new_ids(plan: &Plan, state: &DryState, changes: &mut [EntityPreview]) {
    let mut shown: HashMap<&str, Texts<'_>> = HashMap::new();
    for preview in changes {
        let Some(entity) = plan.entity(&preview.name) else { continue };
        for sample in &mut preview.samples {
            let key = entity.target_key.iter().zip(&mut sample.key);
            let cells = sample.columns.iter_mut().filter_map(|cell| Some((&cell.column, cell.after.as_mut()?)));
            for (column, text) in key.chain(cells) {
                if let Some(of) = given_by(entity, column) {
                    shown.entry(of).or_default().entry(text.clone()).or_default().push(text);
                }
            }
        }
    }
    for (name, mut texts) in shown {
        let Some(own) = plan.entity(name).and_then(|entity| entity.generated.as_ref()) else { continue };
        state.each_mapped(name, |source, target| {
            let [id] = &shown_key(target)[..] else { return };
            if texts.contains_key(id) && *target == Key::from_values([&pretended(&own.target_type, source)]) {
                let named = format!("new id of {}", shown_key(source).join(", "));
                texts.remove(id).into_iter().flatten().for_each(|text| text.clone_from(&named));
            }
        });
    }
}

/// The entity whose ids, given by the target, a column of an entity's table holds.
fn given_by<'p>(entity: &'p EntityPlan, column: &str) -> Option<&'p str> {
    if entity.generated.as_ref().is_some_and(|own| own.target == column) {
        return Some(&entity.name);
    }
    entity.translations.iter().find(|translation| translation.target == column).map(|translation| translation.entity.as_str())
}
