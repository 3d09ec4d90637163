//! The text forms of values: exactly what PostgreSQL prints, and back.
//!
//! The forms are those of a session with `DateStyle = ISO`, `IntervalStyle = postgres`, `TimeZone = UTC`,
//! `extra_float_digits = 1` and `bytea_output = hex`.

mod bytes;
mod calendar;
mod float;
mod interval;
mod moment;
mod read;
#[cfg(test)]
mod tests;

pub(crate) use float::{read_float, sqlite_float};
pub(crate) use moment::{DAY, fits_fraction, iso8601, timestamp_in_range};
pub(crate) use read::{Moment, read_decimal, read_integer, read_moment};

use super::{DataType, Value, jsonb};
use std::borrow::Cow;

/// Returns the text that PostgreSQL prints for a value; empty for NULL, which has none.
///
/// A truth value is `t` or `f`, as in COPY; a 32-bit float prints as the double that it was widened to, which reads back to it.
pub fn to_text<'v>(value: &'v Value<'_>) -> Cow<'v, str> {
    match value {
        Value::Null => Cow::Borrowed(""),
        Value::Bool(true) => Cow::Borrowed("t"),
        Value::Bool(false) => Cow::Borrowed("f"),
        Value::Text(v) | Value::Json(v) | Value::Jsonb(v) | Value::Typed(v) => Cow::Borrowed(v),
        Value::Int(_)
        | Value::Float(_)
        | Value::Decimal(_)
        | Value::Bytes(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::TimeTz(..)
        | Value::Timestamp(_)
        | Value::TimestampTz(_)
        | Value::Interval { .. }
        | Value::Uuid(_) => {
            let mut out = String::with_capacity(32);
            push_text(value, &mut out);
            Cow::Owned(out)
        }
    }
}

/// Appends what [`to_text`] returns.
pub fn push_text(value: &Value<'_>, out: &mut String) {
    match value {
        Value::Null => {}
        Value::Bool(v) => out.push(if *v { 't' } else { 'f' }),
        Value::Int(v) => float::push_int(*v, out),
        Value::Float(v) => float::push_float(*v, out),
        Value::Decimal(v) => v.push_text(out),
        Value::Text(v) | Value::Json(v) | Value::Jsonb(v) | Value::Typed(v) => out.push_str(v),
        Value::Bytes(v) => bytes::push_bytes(v, out),
        Value::Date(v) => moment::push_date(*v, out),
        Value::Time(v) => moment::push_time(*v, out),
        Value::TimeTz(v, zone) => {
            moment::push_time(*v, out);
            moment::push_zone(*zone, out);
        }
        Value::Timestamp(v) => moment::push_timestamp(*v, "", out),
        Value::TimestampTz(v) => moment::push_timestamp(*v, "+00", out),
        Value::Interval { months, days, micros } => interval::push_interval(*months, *days, *micros, out),
        Value::Uuid(v) => bytes::push_uuid(v, out),
    }
}

/// Reads back what [`to_text`] printed for a value of a type; `None` if the text is not of that form or does not fit the type.
///
/// A few other spellings of the same value are read too; `docs/types.md` lists them. Text of a [`DataType::Dynamic`] column
/// stays text.
pub fn parse(text: &str, data_type: &DataType) -> Option<Value<'static>> {
    let moment = |target| read_moment(text, target).ok();
    match data_type {
        DataType::Bool => match text {
            "t" | "true" => Some(Value::Bool(true)),
            "f" | "false" => Some(Value::Bool(false)),
            _ => None,
        },
        DataType::Int16 => read_integer(text).filter(|v| i16::try_from(*v).is_ok()).map(Value::Int),
        DataType::Int32 => read_integer(text).filter(|v| i32::try_from(*v).is_ok()).map(Value::Int),
        DataType::Int64 => read_integer(text).map(Value::Int),
        DataType::Float32 => read_float(text, true).map(Value::Float),
        DataType::Float64 => read_float(text, false).map(Value::Float),
        DataType::Decimal { precision, scale } => {
            read_decimal(text).and_then(|d| d.fit(*precision, *scale).ok()).map(Value::Decimal)
        }
        DataType::Text { .. } | DataType::Char { .. } | DataType::Dynamic { .. } => {
            Some(Value::Text(Cow::Owned(text.to_owned())))
        }
        DataType::Enum { labels, .. } => labels.iter().any(|l| l == text).then(|| Value::Text(Cow::Owned(text.to_owned()))),
        DataType::Bytes => bytes::parse_bytes(text).map(|v| Value::Bytes(Cow::Owned(v))),
        DataType::Date => moment(Moment::Date),
        DataType::Time { precision } => moment(Moment::Time).filter(|v| fits_fraction(v, *precision)),
        DataType::TimeTz { precision } => moment(Moment::TimeTz).filter(|v| fits_fraction(v, *precision)),
        DataType::Timestamp { precision } => moment(Moment::Timestamp).filter(|v| fits_fraction(v, *precision)),
        DataType::TimestampTz { precision } => moment(Moment::TimestampTz).filter(|v| fits_fraction(v, *precision)),
        DataType::Interval => interval::parse_interval(text),
        DataType::Uuid => bytes::parse_uuid(text).map(Value::Uuid),
        DataType::Json => jsonb::is_json(text).then(|| Value::Json(Cow::Owned(text.to_owned()))),
        DataType::Jsonb => jsonb::normalize(text).ok().map(|v| Value::Jsonb(Cow::Owned(v.into_owned()))),
        DataType::Other { .. } => Some(Value::Typed(Cow::Owned(text.to_owned()))),
    }
}
