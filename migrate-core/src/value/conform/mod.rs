//! Conforms a value to a column's type: exactly, or not at all.
//!
//! What counts as exact is said in `docs/types.md`, row by row. Nothing is ever rounded, cut, re-zoned or turned into NULL, and no
//! server's cast decides.

mod characters;
mod document;
mod dynamic;
mod identity;
mod moment;
mod number;
#[cfg(test)]
mod tests;

pub use identity::is_identity;

use super::{Affinity, DataType, Value, text};
use std::fmt;

/// Why a value cannot be conformed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What was expected. Never holds the value, so that it may be logged.
    pub reason: String,
}

impl Refusal {
    fn new(reason: impl Into<String>) -> Self {
        Refusal { reason: reason.into() }
    }

    /// The target has no exact form for values of this kind.
    #[cold]
    fn kind(value: &Value<'_>, target: &DataType) -> Self {
        Refusal { reason: format!("a value of kind {} has no exact form in a column of type {target}", value.kind()) }
    }

    /// The kind is right but this value is not.
    #[cold]
    fn value(value: &Value<'_>, expected: impl fmt::Display) -> Self {
        Refusal { reason: format!("expected {expected}, not this {}", value.kind()) }
    }
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
/// Conforming twice is conforming once. NULL conforms to everything: whether a column takes it is the column's business.
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
        // What a SQLite column never changes.
        (Value::Text(_), DataType::Dynamic { affinity: Affinity::Text | Affinity::Blob | Affinity::StrictText })
        | (
            Value::Int(_),
            DataType::Dynamic { affinity: Affinity::Integer | Affinity::Numeric | Affinity::Blob | Affinity::StrictInteger },
        ) => Ok(value),
        _ => convert(value, target),
    }
}

#[inline(never)]
fn convert<'a>(value: Value<'a>, target: &DataType) -> Result<Value<'a>, Refusal> {
    match target {
        DataType::Bool => number::to_bool(value, target),
        DataType::Int16 => number::to_int(value, target, i64::from(i16::MIN)..=i64::from(i16::MAX)),
        DataType::Int32 => number::to_int(value, target, i64::from(i32::MIN)..=i64::from(i32::MAX)),
        DataType::Int64 => number::to_int(value, target, i64::MIN..=i64::MAX),
        DataType::Float32 => number::to_float(value, target, true),
        DataType::Float64 => number::to_float(value, target, false),
        DataType::Decimal { precision, scale } => number::to_decimal(value, target, *precision, *scale),
        DataType::Text { max_chars } => characters::to_text(value, target, *max_chars),
        DataType::Char { chars } => characters::to_char(value, target, *chars),
        DataType::Enum { labels, .. } => characters::to_enum(value, target, labels),
        DataType::Other { name } => characters::to_typed(value, target, name),
        DataType::Bytes => match value {
            Value::Null | Value::Bytes(_) => Ok(value),
            Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Decimal(_)
            | Value::Text(_)
            | Value::Date(_)
            | Value::Time(_)
            | Value::TimeTz(..)
            | Value::Timestamp(_)
            | Value::TimestampTz(_)
            | Value::Interval { .. }
            | Value::Uuid(_)
            | Value::Json(_)
            | Value::Jsonb(_)
            | Value::Typed(_) => Err(Refusal::kind(&value, target)),
        },
        DataType::Date => moment::to_date(value, target),
        DataType::Time { precision } => moment::to_moment(value, target, text::Moment::Time, *precision),
        DataType::TimeTz { precision } => moment::to_moment(value, target, text::Moment::TimeTz, *precision),
        DataType::Timestamp { precision } => moment::to_moment(value, target, text::Moment::Timestamp, *precision),
        DataType::TimestampTz { precision } => moment::to_moment(value, target, text::Moment::TimestampTz, *precision),
        DataType::Interval | DataType::Uuid => moment::to_parsed(value, target),
        DataType::Json => document::to_json(value, target),
        DataType::Jsonb => document::to_jsonb(value, target),
        DataType::Dynamic { affinity } => dynamic::to_cell(value, target, *affinity),
    }
}
