//! Truth values, integers, floats and decimals.

use super::Refusal;
use crate::value::{DataType, Decimal, Misfit, Value, text};
use std::ops::RangeInclusive;

/// 2^63: whole floats below it in magnitude cast to integers exactly.
const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

/// Returns the integer that a float is; -0.0 is none, for its sign would be lost.
pub(super) fn whole(float: f64) -> Option<i64> {
    let whole = float.fract() == 0.0 && (-TWO_TO_63..TWO_TO_63).contains(&float) && !is_negative_zero(float);
    whole.then_some(float as i64)
}

pub(super) fn is_negative_zero(float: f64) -> bool {
    float.to_bits() == (-0.0f64).to_bits()
}

/// Returns the float that an integer is, if there is one.
pub(super) fn float_of(int: i64) -> Option<f64> {
    let float = int as f64;
    (float as i128 == i128::from(int)).then_some(float)
}

pub(super) fn to_bool<'a>(value: Value<'a>, target: &DataType) -> Result<Value<'a>, Refusal> {
    match &value {
        Value::Null | Value::Bool(_) => Ok(value),
        Value::Int(0) => Ok(Value::Bool(false)),
        Value::Int(1) => Ok(Value::Bool(true)),
        Value::Int(_) => Err(Refusal::value(&value, "0 or 1 for a truth value")),
        Value::Text(v) => match v.as_ref() {
            "0" => Ok(Value::Bool(false)),
            "1" => Ok(Value::Bool(true)),
            v if v.eq_ignore_ascii_case("t") || v.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
            v if v.eq_ignore_ascii_case("f") || v.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
            _ => Err(Refusal::value(&value, "true, false, t, f, 1 or 0 for a truth value")),
        },
        Value::Float(_)
        | Value::Decimal(_)
        | Value::Bytes(_)
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
    }
}

pub(super) fn to_int<'a>(value: Value<'a>, target: &DataType, range: RangeInclusive<i64>) -> Result<Value<'a>, Refusal> {
    let int = match &value {
        Value::Null => return Ok(value),
        Value::Bool(v) => Some(i64::from(*v)),
        Value::Int(v) => Some(*v),
        Value::Float(v) => whole(*v),
        Value::Decimal(v) => v.to_i64(),
        Value::Text(v) => text::read_integer(v),
        Value::Bytes(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::TimeTz(..)
        | Value::Timestamp(_)
        | Value::TimestampTz(_)
        | Value::Interval { .. }
        | Value::Uuid(_)
        | Value::Json(_)
        | Value::Jsonb(_)
        | Value::Typed(_) => return Err(Refusal::kind(&value, target)),
    };
    match int {
        Some(int) if range.contains(&int) => Ok(Value::Int(int)),
        Some(_) => Err(Refusal::new(format!("{} does not fit a {target}", value.kind()))),
        None => Err(Refusal::value(&value, format_args!("a whole number that fits a {target}"))),
    }
}

pub(super) fn to_float<'a>(value: Value<'a>, target: &DataType, narrow: bool) -> Result<Value<'a>, Refusal> {
    let fits = |float: &f64| !narrow || float.is_nan() || f64::from(*float as f32) == *float;
    let float = match &value {
        Value::Null => return Ok(value),
        Value::Float(v) => Some(*v).filter(fits),
        Value::Int(v) => float_of(*v).filter(fits),
        Value::Decimal(v) if narrow => v.to_f32_exact().map(f64::from).or_else(|| v.to_f64_exact().filter(fits)),
        Value::Decimal(v) => v.to_f64_exact(),
        Value::Text(v) => text::read_float(v, narrow),
        Value::Bool(_)
        | Value::Bytes(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::TimeTz(..)
        | Value::Timestamp(_)
        | Value::TimestampTz(_)
        | Value::Interval { .. }
        | Value::Uuid(_)
        | Value::Json(_)
        | Value::Jsonb(_)
        | Value::Typed(_) => return Err(Refusal::kind(&value, target)),
    };
    match float {
        Some(float) => Ok(Value::Float(float)),
        None => Err(Refusal::value(&value, format_args!("a number that a {target} stands for exactly"))),
    }
}

pub(super) fn to_decimal<'a>(
    value: Value<'a>,
    target: &DataType,
    precision: Option<u32>,
    scale: Option<i32>,
) -> Result<Value<'a>, Refusal> {
    let kind = value.kind();
    let fitted = match value {
        Value::Null => return Ok(value),
        Value::Decimal(v) => v.fit(precision, scale),
        Value::Int(v) => Decimal::from_i64(v).fit(precision, scale),
        Value::Float(v) if is_negative_zero(v) => return Err(Refusal::new("a decimal has no negative zero")),
        Value::Float(v) => Decimal::fit_f64(v, precision, scale),
        Value::Text(ref v) => match text::read_decimal(v) {
            Some(decimal) => decimal.fit(precision, scale),
            None => return Err(Refusal::value(&value, "a decimal as digits[.digits]")),
        },
        Value::Bool(_)
        | Value::Bytes(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::TimeTz(..)
        | Value::Timestamp(_)
        | Value::TimestampTz(_)
        | Value::Interval { .. }
        | Value::Uuid(_)
        | Value::Json(_)
        | Value::Jsonb(_)
        | Value::Typed(_) => return Err(Refusal::kind(&value, target)),
    };
    fitted.map(Value::Decimal).map_err(|misfit| {
        Refusal::new(match misfit {
            Misfit::TooLarge => format!("{kind} has more digits before the point than a {target} holds"),
            Misfit::TooFine => format!("{kind} has more digits behind the point than a {target} keeps"),
            Misfit::Infinite => format!("a {target} holds no infinity"),
        })
    })
}
