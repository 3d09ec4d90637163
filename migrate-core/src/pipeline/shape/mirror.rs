//! Rows and keys as the other side has them.

use crate::error::{Error, ErrorKind, Result};
use crate::plan::{ColumnPlan, EntityPlan};
use crate::value::conform::conform;
use crate::value::{Key, Value};
use std::sync::Arc;

/// Returns the entity that reads the target's rows back through its own columns.
pub(crate) fn mirrored(mut entity: EntityPlan) -> EntityPlan {
    for column in &mut entity.columns {
        *column = ColumnPlan {
            source: Some(column.target.clone()),
            target: column.target.clone(),
            source_type: column.target_type.clone(),
            target_type: column.target_type.clone(),
            not_null: false,
            constant: None,
            unfit: None,
        };
    }
    (entity.generated, entity.translations) = (None, Vec::new());
    entity.source = entity.target.clone();
    entity.key.clone_from(&entity.target_key);
    entity.filter = None;
    entity.transform = None;
    entity.parsed_filter = None;
    entity.orphans = Arc::new([]);
    entity
}

/// Returns the target's spelling of a source key.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if the key is damaged or cannot be conformed, which a key that was written before can.
pub(crate) fn target_key(entity: &EntityPlan, key: &Key) -> Result<Key> {
    let column = |name: &String| entity.columns.iter().find(|c| c.source.as_ref() == Some(name));
    let values = key.values()?;
    let mut conformed = Vec::with_capacity(values.len());
    for (value, column) in values.into_iter().zip(entity.key.iter().filter_map(column)) {
        // A key holds a number in one spelling for all that are equal; the column has it with all places of its scale. Ids that the
        // target has given may be of a type of their own.
        let spelled = if column.unfit.is_some() { Ok(value) } else { conform(value, &column.source_type) };
        let value = spelled.and_then(|value| conform(value, &column.target_type)).map_err(|e| {
            Error::new(ErrorKind::Corrupt, format!("a key of the ledger does not fit the target: {}", e.reason))
                .with("entity", &entity.name)
        })?;
        conformed.push(value);
    }
    // Beyond the source's key there are constants only.
    for name in entity.target_key.iter().skip(entity.key.len()) {
        let constant = entity.columns.iter().find(|c| &c.target == name).and_then(|c| c.constant.clone());
        conformed.push(constant.unwrap_or(Value::Null));
    }
    Ok(Key::from_values(&conformed))
}
