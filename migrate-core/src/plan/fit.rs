//! Whether a type can fit another at all, judged by samples.

use crate::value::conform::conform;
use crate::value::{DataType, Decimal, Value};
use std::borrow::Cow;

/// How well values of one type fit a column of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// All samples do.
    Always,
    /// Some do: rows that do not are quarantined.
    Sometimes,
    /// None does.
    Never,
}

/// Judges a pair of types by values that are typical for the first. Columns whose cells carry their own type are judged row by row.
pub(super) fn fit(source: &DataType, target: &DataType) -> Fit {
    let samples = samples(source);
    let fitting = samples.iter().filter(|v| conform((*v).clone(), target).is_ok()).count();
    match fitting {
        n if n == samples.len() => Fit::Always,
        0 => Fit::Never,
        _ => Fit::Sometimes,
    }
}

fn samples(data_type: &DataType) -> Vec<Value<'static>> {
    let text = |t: &'static str| Value::Text(Cow::Borrowed(t));
    let integers = |all: &[i64]| all.iter().map(|i| Value::Int(*i)).collect::<Vec<_>>();
    match data_type {
        DataType::Bool => vec![Value::Bool(true), Value::Bool(false)],
        DataType::Int16 => integers(&[0, 1, i64::from(i16::MAX)]),
        DataType::Int32 => integers(&[0, 1, i64::from(i32::MAX)]),
        DataType::Int64 => integers(&[0, 1, i64::MAX]),
        DataType::Float32 | DataType::Float64 => {
            vec![Value::Float(0.0), Value::Float(1.0), Value::Float(0.1f32.into()), Value::Float(1e30)]
        }
        DataType::Decimal { precision, scale } => {
            let mut samples: Vec<Value<'static>> =
                vec![Value::Decimal(Decimal::from_i64(0)), Value::Decimal(Decimal::from_i64(1))];
            let digits = precision.map_or(40, |p| i64::from(p) - i64::from(scale.unwrap_or(0)));
            if digits > 0 {
                samples.extend(Decimal::parse(&"9".repeat(usize::try_from(digits).unwrap_or(1))).map(Value::Decimal));
            }
            if scale.is_none_or(|s| s > 0) {
                let zeros = scale.map_or(19, |s| usize::try_from(s - 1).unwrap_or(0));
                samples.extend(Decimal::parse(&format!("0.{}1", "0".repeat(zeros))).map(Value::Decimal));
            }
            samples
        }
        DataType::Text { max_chars: Some(n) } => {
            let long = "x".repeat((*n as usize).min(10_000));
            vec![text(""), text("x"), text("1"), text("2020-01-01"), Value::Text(Cow::Owned(long))]
        }
        DataType::Text { max_chars: None } => [
            "",
            "x",
            "1",
            "t",
            "2020-01-01",
            "00:00:00",
            "2020-01-01 00:00:00",
            "2020-01-01 00:00:00+00",
            "{}",
            "1 day",
            "00000000-0000-0000-0000-000000000000",
        ]
        .map(text)
        .to_vec(),
        DataType::Char { chars } => vec![text("1"), Value::Text(Cow::Owned("x".repeat((*chars as usize).min(10_000))))],
        DataType::Bytes => vec![Value::Bytes(Cow::Borrowed(b"")), Value::Bytes(Cow::Borrowed(b"\x00\xff"))],
        DataType::Date => vec![Value::Date(0), Value::Date(i32::MAX)],
        DataType::Time { .. } => vec![Value::Time(0), Value::Time(1_000_000)],
        DataType::TimeTz { .. } => vec![Value::TimeTz(0, 0)],
        DataType::Timestamp { .. } => vec![Value::Timestamp(0), Value::Timestamp(1_000_000)],
        DataType::TimestampTz { .. } => vec![Value::TimestampTz(0), Value::TimestampTz(1_000_000)],
        DataType::Interval => vec![Value::Interval { months: 1, days: 1, micros: 0 }],
        DataType::Uuid => vec![Value::Uuid([7; 16])],
        DataType::Json => vec![Value::Json(Cow::Borrowed("{ }"))],
        DataType::Jsonb => vec![Value::Jsonb(Cow::Borrowed("{}"))],
        DataType::Enum { labels, .. } => labels.iter().map(|l| Value::Text(Cow::Owned(l.clone()))).collect(),
        DataType::Other { .. } => vec![Value::Typed(Cow::Borrowed("x"))],
        DataType::Dynamic { .. } => vec![Value::Null],
    }
}
