//! JSON made of values, without rounding any.

use crate::value::{Value, text};
use std::borrow::Cow;

/// Spells values as the members of one object.
pub(super) fn object(names: &[String], values: &[&Value<'_>]) -> Result<String, String> {
    let mut json = String::from("{");
    for (place, (name, value)) in names.iter().zip(values).enumerate() {
        if place > 0 {
            json.push(',');
        }
        json.push_str(&string(name)?);
        json.push(':');
        json.push_str(&member(value).map_err(|reason| format!("{name}: {reason}"))?);
    }
    json.push('}');
    Ok(json)
}

/// Numbers stay numbers with all their digits, JSON stays JSON, all else becomes text.
fn member<'v>(value: &'v Value<'_>) -> Result<Cow<'v, str>, String> {
    Ok(match value {
        Value::Null => Cow::Borrowed("null"),
        Value::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
        Value::Int(value) => Cow::Owned(value.to_string()),
        Value::Json(json) | Value::Jsonb(json) => Cow::Borrowed(json),
        Value::Float(number) if !number.is_finite() => return Err("JSON has no infinite numbers, and no NaN".to_owned()),
        Value::Float(_) => text::to_text(value),
        Value::Decimal(_) => {
            let digits = text::to_text(value);
            if digits.ends_with(|c: char| c.is_ascii_digit()) {
                digits
            } else {
                return Err("JSON has no infinite numbers, and no NaN".to_owned());
            }
        }
        other => Cow::Owned(string(&text::to_text(other))?),
    })
}

fn string(text: &str) -> Result<String, String> {
    serde_json::to_string(text).map_err(|error| error.to_string())
}
