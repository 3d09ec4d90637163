//! Names of rows of the target that have no id at the source any more, while others are known by it: the walk that finds it out gives them.

use crate::error::Result;
use crate::value::{Key, Value};
use std::borrow::Cow;

/// What such a name begins with.
const MARK: &[u8] = b"row of the target ";

/// Returns a name of a row of the target, by its id there, that no row of the source has.
pub(in crate::pipeline) fn name_of(target: &Key) -> Value<'static> {
    Value::Bytes(Cow::Owned([MARK, target.as_bytes()].concat()))
}

/// Returns the keys that rows of the source may have: those without such a name. Not every column could be asked for one.
pub(crate) fn without_names(keys: &[Key]) -> Result<Vec<Key>> {
    let is_name = |value: &Value<'_>| matches!(value, Value::Bytes(bytes) if bytes.starts_with(MARK));
    let mut left = Vec::with_capacity(keys.len());
    for key in keys {
        if !key.values()?.iter().any(is_name) {
            left.push(key.clone());
        }
    }
    Ok(left)
}
