//! SQLite's own columns: what a column of each affinity makes of a value, and which of it loses something.
//!
//! SQLite changes values by its rules when they are stored (<https://www.sqlite.org/datatype3.html>). The same is done here before,
//! so that what is written, checksummed and read back later is one value; what SQLite would alter with a loss is refused.

use super::Refusal;
use super::number::{float_of, is_negative_zero, whole};
use crate::value::{Affinity, DataType, Decimal, Value, text};
use std::borrow::Cow;

pub(super) fn to_cell<'a>(value: Value<'a>, target: &DataType, affinity: Affinity) -> Result<Value<'a>, Refusal> {
    let cell = plain_cell(value, affinity)?;
    match affinity {
        Affinity::Blob => Ok(cell),
        Affinity::Text => Ok(as_text(cell)),
        Affinity::Integer | Affinity::Numeric => as_number(cell),
        Affinity::Real => as_real(cell),
        Affinity::StrictInteger => strict(as_number(cell)?, target, |v| matches!(v, Value::Int(_))),
        Affinity::StrictReal => strict(as_real(cell)?, target, |v| matches!(v, Value::Float(_))),
        Affinity::StrictText => strict(as_text(cell), target, |v| matches!(v, Value::Text(_))),
        Affinity::StrictBlob => strict(cell, target, |v| matches!(v, Value::Bytes(_))),
    }
}

fn strict<'a>(cell: Value<'a>, target: &DataType, takes: impl Fn(&Value<'_>) -> bool) -> Result<Value<'a>, Refusal> {
    if cell.is_null() || takes(&cell) { Ok(cell) } else { Err(Refusal::kind(&cell, target)) }
}

/// Brings a value to one of SQLite's own kinds: NULL, integer, real, text and bytes.
fn plain_cell<'a>(value: Value<'a>, affinity: Affinity) -> Result<Value<'a>, Refusal> {
    match value {
        Value::Null | Value::Int(_) | Value::Text(_) | Value::Bytes(_) => Ok(value),
        Value::Bool(v) => Ok(Value::Int(i64::from(v))),
        Value::Float(v) if v.is_nan() => Err(Refusal::new("SQLite has no NaN; it would store NULL")),
        Value::Float(_) => Ok(value),
        Value::Decimal(v) => match affinity {
            Affinity::Integer | Affinity::Numeric | Affinity::Real | Affinity::StrictInteger | Affinity::StrictReal => {
                decimal_cell(&v)
            }
            Affinity::Text | Affinity::Blob | Affinity::StrictText | Affinity::StrictBlob => {
                Ok(Value::Text(Cow::Owned(v.to_text())))
            }
        },
        Value::Json(v) | Value::Jsonb(v) | Value::Typed(v) => Ok(Value::Text(v)),
        Value::Date(_)
        | Value::Time(_)
        | Value::TimeTz(..)
        | Value::Timestamp(_)
        | Value::TimestampTz(_)
        | Value::Interval { .. }
        | Value::Uuid(_) => Ok(Value::Text(Cow::Owned(text::to_text(&value).into_owned()))),
    }
}

/// A decimal in a column of numbers: an integer, or else the real that stands for it.
fn decimal_cell<'a>(decimal: &Decimal<'_>) -> Result<Value<'a>, Refusal> {
    if let Some(int) = decimal.to_i64() {
        return Ok(Value::Int(int));
    }
    match decimal.to_f64_exact() {
        Some(real) if !real.is_nan() => Ok(Value::Float(real)),
        Some(_) => Err(Refusal::new("SQLite has no NaN; it would store NULL")),
        None => Err(Refusal::new("decimal has more digits than one of SQLite's numbers keeps")),
    }
}

/// TEXT affinity: numbers become text.
fn as_text(cell: Value<'_>) -> Value<'_> {
    match cell {
        Value::Int(_) => Value::Text(Cow::Owned(text::to_text(&cell).into_owned())),
        Value::Float(v) => Value::Text(Cow::Owned(text::sqlite_float(v))),
        other => other,
    }
}

/// INTEGER and NUMERIC affinity: whole reals become integers, and text that is a number becomes that number.
fn as_number(cell: Value<'_>) -> Result<Value<'_>, Refusal> {
    match cell {
        Value::Float(v) if is_negative_zero(v) => Err(Refusal::new("the column would drop the sign of a negative zero")),
        // SQLite leaves the smallest integer a real.
        Value::Float(v) => Ok(whole(v).filter(|int| *int > i64::MIN).map_or(cell, Value::Int)),
        Value::Text(v) if looks_numeric(&v) => match text::read_integer(&v) {
            Some(int) => Ok(Value::Int(int)),
            None => match spelled_real(&v) {
                Some(real) if !is_negative_zero(real) && whole(real).is_none_or(|int| int == i64::MIN) => Ok(Value::Float(real)),
                _ => Err(respelled()),
            },
        },
        other => Ok(other),
    }
}

/// REAL affinity: integers become reals, and text that is a number becomes that number.
fn as_real(cell: Value<'_>) -> Result<Value<'_>, Refusal> {
    match cell {
        Value::Float(v) if is_negative_zero(v) => Err(Refusal::new("the column would drop the sign of a negative zero")),
        Value::Int(v) => match float_of(v) {
            Some(real) => Ok(Value::Float(real)),
            None => Err(Refusal::new("integer has more digits than a real keeps")),
        },
        Value::Text(v) if looks_numeric(&v) => match spelled_real(&v) {
            Some(real) if !is_negative_zero(real) => Ok(Value::Float(real)),
            _ => Err(respelled()),
        },
        other => Ok(other),
    }
}

fn respelled() -> Refusal {
    Refusal::new("the column would make a number of this text and lose its spelling")
}

/// The real that a text spells as one of the two engines prints it.
fn spelled_real(spelling: &str) -> Option<f64> {
    let real = text::read_float(spelling, false)?;
    (text::to_text(&Value::Float(real)) == spelling || text::sqlite_float(real) == spelling).then_some(real)
}

/// Returns whether SQLite takes a text for a number when a column's affinity asks for one: blanks around
/// `[+-]digits[.digits][e[+-]digits]`, where one side of the point may be empty.
fn looks_numeric(text: &str) -> bool {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r');
    let digits = |text: &[u8]| text.iter().take_while(|b| b.is_ascii_digit()).count();
    let signed = |text: &[u8]| usize::from(matches!(text.first(), Some(b'+' | b'-')));
    let text = text.trim_matches(blank).as_bytes();
    let mut rest = &text[signed(text)..];
    let integer = digits(rest);
    rest = &rest[integer..];
    let mut fraction = 0;
    if let [b'.', tail @ ..] = rest {
        fraction = digits(tail);
        rest = &tail[fraction..];
    }
    if integer + fraction == 0 {
        return false;
    }
    match rest {
        [] => true,
        [b'e' | b'E', exponent @ ..] => {
            let exponent = &exponent[signed(exponent)..];
            !exponent.is_empty() && digits(exponent) == exponent.len()
        }
        _ => false,
    }
}
