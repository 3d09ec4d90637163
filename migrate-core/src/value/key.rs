//! Row keys and ranges of keys.

use super::{Value, canonical};
use crate::error::Result;
use smallvec::SmallVec;
use std::fmt;

/// The key of one row: the canonical encodings of its key columns, back to back, in a spelling that is the same for all
/// values that a unique index takes for equal.
///
/// The bytes are for equality only; order is the source's business. `Display` and `Debug` never print the content.
#[derive(PartialEq, Eq, Hash, Default)]
pub struct Key(SmallVec<[u8; INLINE]>);

/// Bytes that a key holds without an allocation: two integers, or a UUID.
const INLINE: usize = 24;

impl Key {
    /// Builds a key from the values of the key columns.
    ///
    /// Spellings that PostgreSQL's and SQLite's unique indexes take for equal become one: -0.0 and 0.0, decimals that differ in
    /// their scale only, and numbers of different types with the same integer value.
    pub fn from_values<'v>(values: impl IntoIterator<Item = &'v Value<'v>>) -> Self {
        let mut bytes = SmallVec::new();
        for value in values {
            match value {
                Value::Decimal(decimal) => match decimal.to_i64() {
                    Some(int) => canonical::encode_into(&Value::Int(int), &mut bytes),
                    None => canonical::encode_into(&Value::Decimal(decimal.trimmed()), &mut bytes),
                },
                Value::Float(float) => match exact_int(*float) {
                    Some(int) => canonical::encode_into(&Value::Int(int), &mut bytes),
                    None => canonical::encode_into(value, &mut bytes),
                },
                other => canonical::encode_into(other, &mut bytes),
            }
        }
        Key(bytes)
    }

    /// Takes bytes that [`Key::as_bytes`] gave.
    pub fn from_bytes(bytes: impl AsRef<[u8]>) -> Self {
        Key(SmallVec::from_slice(bytes.as_ref()))
    }

    /// Returns the bytes, to be stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the value of a key that is one integer.
    pub(crate) fn as_int(&self) -> Option<i64> {
        canonical::only_int(&self.0)
    }

    /// Decodes the values of the key columns.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] if the bytes were not made by [`Key::from_values`].
    pub fn values(&self) -> Result<Vec<Value<'_>>> {
        let mut rest = self.0.as_slice();
        let mut values = Vec::new();
        while !rest.is_empty() {
            values.push(canonical::decode_value(&mut rest)?);
        }
        Ok(values)
    }
}

impl Clone for Key {
    fn clone(&self) -> Self {
        // As one copy: the derived one goes byte by byte.
        Key(SmallVec::from_slice(&self.0))
    }
}

fn exact_int(float: f64) -> Option<i64> {
    // Below 2^63 in magnitude the cast is exact for whole numbers.
    (float.fract() == 0.0 && float.abs() < 9_223_372_036_854_775_808.0).then_some(float as i64)
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} bytes)", self.0.len())
    }
}

/// The keys `(after, up_to]` in the source's own order; `None` is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// The last key that does not belong to the range.
    pub after: Option<Key>,
    /// The last key that does.
    pub up_to: Option<Key>,
}

impl KeyRange {
    /// All keys.
    pub const ALL: KeyRange = KeyRange { after: None, up_to: None };
}
