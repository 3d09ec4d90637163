//! Dates, times, timestamps, intervals and UUIDs.

use super::Refusal;
use crate::value::text::{self, DAY, Moment};
use crate::value::{DataType, Value};

pub(super) fn to_date<'a>(value: Value<'a>, target: &DataType) -> Result<Value<'a>, Refusal> {
    match &value {
        Value::Null | Value::Date(_) => Ok(value),
        Value::Timestamp(i64::MAX) => Ok(Value::Date(i32::MAX)),
        Value::Timestamp(i64::MIN) => Ok(Value::Date(i32::MIN)),
        Value::Timestamp(v) => match i32::try_from(v / DAY) {
            Ok(days) if v % DAY == 0 => Ok(Value::Date(days)),
            _ => Err(Refusal::value(&value, "midnight for a date")),
        },
        Value::Text(v) => read(v, Moment::Date),
        Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Decimal(_)
        | Value::Bytes(_)
        | Value::Time(_)
        | Value::TimeTz(..)
        | Value::TimestampTz(_)
        | Value::Interval { .. }
        | Value::Uuid(_)
        | Value::Json(_)
        | Value::Jsonb(_)
        | Value::Typed(_) => Err(Refusal::kind(&value, target)),
    }
}

/// Conforms to a time or timestamp. Kinds with and without a zone never turn into one another: the zone would be made up.
pub(super) fn to_moment<'a>(
    value: Value<'a>,
    target: &DataType,
    kind: Moment,
    precision: Option<u32>,
) -> Result<Value<'a>, Refusal> {
    let value = match (value, kind) {
        (value @ Value::Null, _) => return Ok(value),
        (value @ Value::Time(_), Moment::Time)
        | (value @ Value::TimeTz(..), Moment::TimeTz)
        | (value @ Value::Timestamp(_), Moment::Timestamp)
        | (value @ Value::TimestampTz(_), Moment::TimestampTz) => value,
        (Value::Text(v), kind) => read(&v, kind)?,
        (Value::Date(days), Moment::Timestamp) => match days {
            i32::MAX => Value::Timestamp(i64::MAX),
            i32::MIN => Value::Timestamp(i64::MIN),
            _ => match i64::from(days).checked_mul(DAY).filter(|micros| text::timestamp_in_range(*micros)) {
                Some(micros) => Value::Timestamp(micros),
                None => return Err(Refusal::new("date lies beyond the last timestamp")),
            },
        },
        (value, Moment::Date | Moment::Time | Moment::TimeTz | Moment::Timestamp | Moment::TimestampTz) => {
            return Err(Refusal::kind(&value, target));
        }
    };
    if text::fits_fraction(&value, precision) {
        Ok(value)
    } else {
        Err(Refusal::new(format!("{} has more digits of a second than a {target} keeps", value.kind())))
    }
}

/// Conforms to a type that is read from its own text only.
pub(super) fn to_parsed<'a>(value: Value<'a>, target: &DataType) -> Result<Value<'a>, Refusal> {
    match (&value, target) {
        (Value::Null, _) | (Value::Interval { .. }, DataType::Interval) | (Value::Uuid(_), DataType::Uuid) => Ok(value),
        (Value::Text(v), target) => text::parse(v, target)
            .ok_or_else(|| Refusal::value(&value, format_args!("the text of one {target}, in a listed form"))),
        (_, target) => Err(Refusal::kind(&value, target)),
    }
}

fn read(text: &str, kind: Moment) -> Result<Value<'static>, Refusal> {
    text::read_moment(text, kind).map_err(|expected| Refusal::new(format!("expected {expected}, not this text")))
}
