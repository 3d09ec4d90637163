//! Keys of the source as the target spells them, and back.

use super::{AT_ONCE, mapped, mapped_back, only_value};
use crate::error::Result;
use crate::pipeline::shape::target_key;
use crate::plan::EntityPlan;
use crate::state::TargetState;
use crate::value::{Key, Value};
use std::collections::{HashMap, HashSet};

/// Returns the target's spelling of keys of the source, ids in them replaced; `None` where nothing is known of such an id, so that the
/// target has no row of the key.
///
/// # Errors
/// As [`target_key`], and those of the target's state.
pub(crate) async fn target_keys(
    state: &dyn TargetState,
    job: &str,
    entity: &EntityPlan,
    keys: &[Key],
) -> Result<Vec<Option<Key>>> {
    let replaced = with_ids(state, job, entity, &entity.key, keys.to_vec()).await?;
    replaced.into_iter().map(|key| key.map(|key| target_key(entity, &key)).transpose()).collect()
}

/// The same, where some may be none that the target can hold: it has no row of these either.
///
/// # Errors
/// Those of the target's state.
pub(crate) async fn target_keys_if_any(
    state: &dyn TargetState,
    job: &str,
    entity: &EntityPlan,
    keys: Vec<Key>,
) -> Result<Vec<Option<Key>>> {
    let replaced = with_ids(state, job, entity, &entity.key, keys).await?;
    Ok(replaced.into_iter().map(|key| target_key(entity, &key?).ok()).collect())
}

/// Replaces the ids in values that rows of the source have in some of their columns; `None` where nothing is known of one.
///
/// # Errors
/// Those of the target's state.
pub(crate) async fn with_ids(
    state: &dyn TargetState,
    job: &str,
    entity: &EntityPlan,
    columns: &[String],
    keys: Vec<Key>,
) -> Result<Vec<Option<Key>>> {
    let beside_key = |name: &str| entity.generated_beside_key().is_some_and(|own| own.source == name);
    let map_of = |name: &str| if beside_key(name) { Some(entity.name.as_str()) } else { entity.map_of(name) };
    if !columns.iter().any(|name| map_of(name).is_some()) {
        return Ok(keys.into_iter().map(Some).collect());
    }
    let mut rows: Vec<Option<Vec<Value<'static>>>> = Vec::with_capacity(keys.len());
    for key in &keys {
        rows.push(Some(key.values()?.into_iter().map(Value::into_owned).collect()));
    }
    for (place, name) in columns.iter().enumerate() {
        let Some(map) = map_of(name) else { continue };
        let source = |row: &Option<Vec<Value<'static>>>| Some(Key::from_values([row.as_ref()?.get(place)?]));
        let wanted: Vec<Key> = rows.iter().filter_map(source).collect::<HashSet<_>>().into_iter().collect();
        let mut known = HashMap::new();
        for some in wanted.chunks(AT_ONCE) {
            known.extend(mapped(state, job, map, some).await?);
        }
        for row in &mut rows {
            let target = source(row).and_then(|source| known.get(&source)).map(only_value).transpose()?;
            match (row.as_mut().and_then(|row| row.get_mut(place)), target) {
                (Some(value), Some(target)) => *value = target,
                _ => *row = None,
            }
        }
    }
    Ok(rows.into_iter().map(|row| row.map(|row| Key::from_values(&row))).collect())
}

/// Returns the source's spelling of keys of the target, ids in them put back; `None` where the key map does not know one, so that the row
/// is none of the job's.
///
/// # Errors
/// Those of the target's state.
pub(crate) async fn source_keys(
    state: &dyn TargetState,
    job: &str,
    entity: &EntityPlan,
    keys: &[Key],
) -> Result<Vec<Option<Key>>> {
    let mut rows: Vec<Option<Vec<Value<'static>>>> = Vec::with_capacity(keys.len());
    for key in keys {
        rows.push(Some(key.values()?.into_iter().take(entity.key.len()).map(Value::into_owned).collect()));
    }
    for (place, name) in entity.key.iter().enumerate() {
        let Some(map) = entity.map_of(name) else { continue };
        let target = |row: &Option<Vec<Value<'static>>>| Some(Key::from_values([row.as_ref()?.get(place)?]));
        let wanted: Vec<Key> = rows.iter().filter_map(target).collect::<HashSet<_>>().into_iter().collect();
        let mut known = HashMap::new();
        for some in wanted.chunks(AT_ONCE) {
            known.extend(mapped_back(state, job, map, some).await?);
        }
        for row in &mut rows {
            let source = target(row).and_then(|target| known.get(&target)).map(only_value).transpose()?;
            match (row.as_mut().and_then(|row| row.get_mut(place)), source) {
                (Some(value), Some(source)) => *value = source,
                _ => *row = None,
            }
        }
    }
    Ok(rows.into_iter().map(|row| row.map(|row| Key::from_values(&row))).collect())
}
