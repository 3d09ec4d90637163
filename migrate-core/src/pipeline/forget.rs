//! Takes rows that go from the target out of the key map.

use super::context::Context;
use super::keymap::{ids_of, target_keys};
use crate::error::Result;
use crate::plan::EntityPlan;
use crate::sink::SinkTransaction;
use crate::state::{KeyMapChanges, Scope, StateChanges};
use crate::value::Key;
use std::collections::HashMap;

/// Rows of an entity that are about to go.
pub(super) struct Leaving<'e> {
    entity: &'e EntityPlan,
    /// Their keys, at the source and in the target.
    sources: Vec<Key>,
    going: Vec<Key>,
    /// The ids that the target has given them beside their keys.
    ids: HashMap<Key, Key>,
}

impl<'e> Leaving<'e> {
    /// Looks at rows before they go.
    pub(super) async fn look(
        entity: &'e EntityPlan,
        transaction: &mut dyn SinkTransaction,
        sources: Vec<Key>,
        going: Vec<Key>,
    ) -> Result<Self> {
        let ids = match entity.generated_beside_key() {
            Some(generated) if !going.is_empty() => ids_of(transaction, entity, generated, &going).await?,
            Some(_) | None => HashMap::new(),
        };
        Ok(Leaving { entity, sources, going, ids })
    }

    /// Forgets those that have gone; what a trigger has kept is still known.
    pub(super) async fn forget(self, context: &Context, scope: &Scope, transaction: &mut dyn SinkTransaction) -> Result<()> {
        let Leaving { entity, sources, going, ids } = self;
        if entity.generated.is_none() || going.is_empty() {
            return Ok(());
        }
        let stays = transaction.existing(&entity.target, &entity.target_key, &going).await?;
        let key_map = match entity.generated_beside_key() {
            Some(_) => {
                let gone = ids.into_iter().filter(|(key, _)| !stays.contains(key)).map(|(_, id)| id);
                KeyMapChanges { gone_targets: gone.collect(), ..KeyMapChanges::default() }
            }
            None => {
                let targets = target_keys(context.state.as_ref(), &context.job.name, entity, &sources).await?;
                let gone =
                    sources.into_iter().zip(targets).filter(|(_, target)| target.as_ref().is_none_or(|t| !stays.contains(t)));
                KeyMapChanges { gone: gone.map(|(source, _)| source).collect(), ..KeyMapChanges::default() }
            }
        };
        context.given.forget(&entity.name, &key_map);
        transaction.put_state(StateChanges { scope: Some(scope.clone()), key_map, ..StateChanges::default() }).await
    }
}
