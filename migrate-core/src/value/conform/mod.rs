//! Conforms a value to a column's type: exactly, or not at all.
//!
//! What counts as exact is said in `docs/types.md`, row by row. Nothing is ever rounded, cut, re-zoned or turned into NULL.

use super::{DataType, Value};
use std::fmt;

/// Why a value cannot be conformed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What was expected. Never holds the value, so that it may be logged.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Refusal {}

/// Returns the value as a column of type `target` holds it.
///
/// The result is what reading the cell back gives. A value that is already of that form is handed through without allocation.
/// Conforming twice is conforming once.
///
/// # Errors
/// A [`Refusal`] if the column cannot hold exactly this value.
#[inline]
pub fn conform<'a>(value: Value<'a>, target: &DataType) -> Result<Value<'a>, Refusal> {
    match (&value, target) {
        (Value::Null, _)
        | (Value::Int(_), DataType::Int64)
        | (Value::Float(_), DataType::Float64)
        | (Value::Bool(_), DataType::Bool)
        | (Value::Decimal(_), DataType::Decimal { precision: None, scale: None })
        | (Value::TimestampTz(_), DataType::TimestampTz { precision: None })
        | (Value::Timestamp(_), DataType::Timestamp { precision: None })
        | (Value::Time(_), DataType::Time { precision: None })
        | (Value::TimeTz(..), DataType::TimeTz { precision: None })
        | (Value::Date(_), DataType::Date)
        | (Value::Interval { .. }, DataType::Interval)
        | (Value::Bytes(_), DataType::Bytes)
        | (Value::Uuid(_), DataType::Uuid)
        | (Value::Json(_), DataType::Json)
        | (Value::Jsonb(_), DataType::Jsonb)
        | (Value::Typed(_), DataType::Other { .. }) => Ok(value),
        (Value::Int(v), DataType::Int32) if i32::try_from(*v).is_ok() => Ok(value),
        (Value::Int(v), DataType::Int16) if i16::try_from(*v).is_ok() => Ok(value),
        (Value::Text(v), DataType::Text { max_chars: None }) if !v.as_bytes().contains(&0) => Ok(value),
        _ => convert(value, target),
    }
}

/// Returns whether every value of a column of type `source` conforms to `target` as it is.
///
/// `source` is the type that values are decoded as. A page whose encoding hands out values of other kinds than its column's type
/// says, as SQLite's does, must be asked about as [`DataType::Dynamic`].
pub fn is_identity(source: &DataType, target: &DataType) -> bool {
    source == target
}

#[inline(never)]
fn convert<'a>(value: Value<'a>, target: &DataType) -> Result<Value<'a>, Refusal> {
    Err(Refusal { reason: format!("a {} cannot be held by a column of type {target}", value.kind()) })
}
