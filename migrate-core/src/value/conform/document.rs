//! JSON.

use super::Refusal;
use super::number::is_negative_zero;
use crate::value::{DataType, Decimal, Value, jsonb, text};
use std::borrow::Cow;

/// JSON kept to the letter.
pub(super) fn to_json<'a>(value: Value<'a>, target: &DataType) -> Result<Value<'a>, Refusal> {
    match value {
        Value::Null | Value::Json(_) => Ok(value),
        Value::Jsonb(v) => Ok(Value::Json(v)),
        Value::Text(v) if jsonb::is_json(&v) => Ok(Value::Json(v)),
        Value::Text(_) => Err(Refusal::value(&value, "valid JSON")),
        // SQLite makes numbers of documents that are numbers, in a column declared JSON.
        Value::Bool(v) => Ok(Value::Json(Cow::Borrowed(if v { "true" } else { "false" }))),
        Value::Int(_) => Ok(Value::Json(Cow::Owned(text::to_text(&value).into_owned()))),
        Value::Float(v) if v.is_finite() => Ok(Value::Json(Cow::Owned(text::to_text(&value).into_owned()))),
        Value::Decimal(ref v) if v.is_finite() => Ok(Value::Json(Cow::Owned(v.to_text()))),
        Value::Float(_) | Value::Decimal(_) => Err(Refusal::new("JSON has no NaN and no infinity")),
        Value::Bytes(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::TimeTz(..)
        | Value::Timestamp(_)
        | Value::TimestampTz(_)
        | Value::Interval { .. }
        | Value::Uuid(_)
        | Value::Typed(_) => Err(Refusal::kind(&value, target)),
    }
}

/// JSON as `jsonb` prints it.
pub(super) fn to_jsonb<'a>(value: Value<'a>, target: &DataType) -> Result<Value<'a>, Refusal> {
    match value {
        Value::Null | Value::Jsonb(_) => Ok(value),
        Value::Text(v) => normalize(v, "text"),
        Value::Json(v) => normalize(v, "json"),
        Value::Bool(v) => Ok(Value::Jsonb(Cow::Borrowed(if v { "true" } else { "false" }))),
        Value::Int(_) => Ok(Value::Jsonb(Cow::Owned(text::to_text(&value).into_owned()))),
        Value::Float(v) if is_negative_zero(v) => Err(Refusal::new("jsonb has no negative zero")),
        Value::Float(v) if v.is_finite() => Ok(Value::Jsonb(Cow::Owned(Decimal::from_f64(v).to_text()))),
        Value::Decimal(ref v) if v.is_finite() => Ok(Value::Jsonb(Cow::Owned(v.to_text()))),
        Value::Float(_) | Value::Decimal(_) => Err(Refusal::new("JSON has no NaN and no infinity")),
        Value::Bytes(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::TimeTz(..)
        | Value::Timestamp(_)
        | Value::TimestampTz(_)
        | Value::Interval { .. }
        | Value::Uuid(_)
        | Value::Typed(_) => Err(Refusal::kind(&value, target)),
    }
}

fn normalize<'a>(text: Cow<'a, str>, kind: &str) -> Result<Value<'a>, Refusal> {
    let refused = |expected| Refusal::new(format!("expected {expected}, not this {kind}"));
    let normal = match text {
        Cow::Borrowed(text) => jsonb::normalize(text).map_err(refused)?,
        Cow::Owned(text) => match jsonb::normalize(&text).map_err(refused)? {
            Cow::Owned(normal) => Cow::Owned(normal),
            Cow::Borrowed(_) => Cow::Owned(text),
        },
    };
    Ok(Value::Jsonb(normal))
}
