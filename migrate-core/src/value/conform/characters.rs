//! Text, padded text, labels, and types that travel as text.

use super::Refusal;
use crate::value::{DataType, Value, text};
use std::borrow::Cow;

/// Returns the text of a value, which PostgreSQL can hold: what its own cast prints.
fn text_of<'a>(value: Value<'a>, target: &DataType) -> Result<Cow<'a, str>, Refusal> {
    match value {
        Value::Text(v) | Value::Json(v) | Value::Jsonb(v) | Value::Typed(v) => {
            if v.as_bytes().contains(&0) {
                Err(Refusal::new("text with a character U+0000, which PostgreSQL has not"))
            } else {
                Ok(v)
            }
        }
        Value::Bool(v) => Ok(Cow::Borrowed(if v { "true" } else { "false" })),
        Value::Int(_)
        | Value::Float(_)
        | Value::Decimal(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::TimeTz(..)
        | Value::Timestamp(_)
        | Value::TimestampTz(_)
        | Value::Interval { .. }
        | Value::Uuid(_) => Ok(Cow::Owned(text::to_text(&value).into_owned())),
        Value::Null | Value::Bytes(_) => Err(Refusal::kind(&value, target)),
    }
}

/// Returns whether the text has at most so many characters.
fn is_within(text: &str, chars: u32) -> bool {
    let chars = usize::try_from(chars).unwrap_or(usize::MAX);
    text.len() <= chars || text.chars().count() <= chars
}

pub(super) fn to_text<'a>(value: Value<'a>, target: &DataType, max_chars: Option<u32>) -> Result<Value<'a>, Refusal> {
    if value.is_null() {
        return Ok(value);
    }
    let text = text_of(value, target)?;
    match max_chars {
        Some(chars) if !is_within(&text, chars) => Err(Refusal::new(format!("text is longer than {chars} characters"))),
        Some(_) | None => Ok(Value::Text(text)),
    }
}

pub(super) fn to_char<'a>(value: Value<'a>, target: &DataType, chars: u32) -> Result<Value<'a>, Refusal> {
    if value.is_null() {
        return Ok(value);
    }
    let text = text_of(value, target)?;
    let count = text.chars().count();
    let width = usize::try_from(chars).unwrap_or(usize::MAX);
    if count == width {
        return Ok(Value::Text(text));
    }
    // Blanks at the end are padding, whose number the column decides.
    let mut content = text.trim_end_matches(' ').to_owned();
    let count = content.chars().count();
    if count > width {
        return Err(Refusal::new(format!("text is longer than {chars} characters")));
    }
    content.extend(std::iter::repeat_n(' ', width - count));
    Ok(Value::Text(Cow::Owned(content)))
}

pub(super) fn to_enum<'a>(value: Value<'a>, target: &DataType, labels: &[String]) -> Result<Value<'a>, Refusal> {
    let label = match value {
        Value::Null => return Ok(value),
        // SQLite makes an integer of a label that is one, in a column without text affinity.
        Value::Text(_) | Value::Typed(_) | Value::Int(_) => text_of(value, target)?,
        Value::Bool(_)
        | Value::Float(_)
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
        | Value::Jsonb(_) => return Err(Refusal::kind(&value, target)),
    };
    if labels.iter().any(|l| *l == label) {
        Ok(Value::Text(label))
    } else {
        Err(Refusal::new(format!("text is no label of {target}")))
    }
}

pub(super) fn to_typed<'a>(value: Value<'a>, target: &DataType, name: &str) -> Result<Value<'a>, Refusal> {
    let bare = bare_name(name);
    match value {
        Value::Null | Value::Typed(_) => Ok(value),
        // A text type of an extension takes what text takes.
        _ if bare == "citext" => text_of(value, target).map(Value::Typed),
        Value::Text(ref v) if bare == "money" && !is_money(v) => {
            // The server would round what it cannot hold.
            Err(Refusal::value(&value, "an amount of money as PostgreSQL prints it"))
        }
        Value::Text(_) => text_of(value, target).map(Value::Typed),
        Value::Int(_) if matches!(bare, "oid" | "xid" | "xid8" | "cid") => text_of(value, target).map(Value::Typed),
        Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
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
        | Value::Jsonb(_) => Err(Refusal::kind(&value, target)),
    }
}

/// Returns a type's name without its schema and quotes.
fn bare_name(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name).trim_matches('"')
}

/// Returns whether the text is `[-]$1,234.50`, as `lc_monetary = C` prints it.
fn is_money(text: &str) -> bool {
    let Some(amount) = text.strip_prefix('-').unwrap_or(text).strip_prefix('$') else { return false };
    let Some((units, cents)) = amount.split_once('.') else { return false };
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let mut groups = units.split(',');
    let first = groups.next().unwrap_or_default();
    (1..=3).contains(&first.len())
        && digits(first)
        && groups.all(|g| g.len() == 3 && digits(g))
        && cents.len() == 2
        && digits(cents)
}
