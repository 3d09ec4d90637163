//! What one step makes of its inputs.

use super::json;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Parameter;
use crate::job::{Mask, MomentForm, OnError, Other, TextStep, Transform, Unix};
use crate::schema::ColumnSchema;
use crate::state::to_hex;
use crate::value::conform::conform;
use crate::value::{DataType, Value, text};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// 2000-01-01, from which values count microseconds, in seconds since 1970-01-01.
const EPOCH: i64 = 946_684_800;

/// What is done.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    FromUnix(Unix),
    To(MomentForm),
    Cast(DataType),
    Constant(Value<'static>),
    Default(Value<'static>),
    ParseJson { on_error: OnError, default: Value<'static> },
    Pack(Vec<String>),
    Copy,
    Text(Vec<TextStep>),
    Map { values: BTreeMap<String, Value<'static>>, other: Other },
    Split(String),
    Join(String),
    Redact,
    Hash,
    Pseudonym(Key),
}

/// A key that is not shown.
#[derive(Clone)]
pub(super) struct Key(Vec<u8>);

impl Key {
    fn pseudonym(&self, text: &str) -> std::result::Result<String, String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).map_err(|error| error.to_string())?;
        mac.update(text.as_bytes());
        let code: [u8; 32] = mac.finalize().into_bytes().into();
        Ok(to_hex(&code[..16]))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(***)")
    }
}

/// Returns what a step does, and the type that it makes; `None` if it leaves the input's. `packed` names what it packs.
pub(super) fn operation(
    step: &Transform,
    packed: Vec<String>,
    input: Option<&ColumnSchema>,
) -> Result<(Operation, Option<DataType>)> {
    if step.sql.is_some() {
        // The source has made the value.
        return Ok(match &step.of_type {
            Some(name) => {
                let data_type = named_type(name).map_err(|error| error.with("column", &step.column))?;
                (Operation::Cast(data_type.clone()), Some(data_type))
            }
            None => (Operation::Copy, None),
        });
    }
    if let Some(unit) = step.from {
        return Ok((Operation::FromUnix(unit), Some(DataType::TimestampTz { precision: None })));
    }
    if let Some(form) = step.to {
        let made = match form {
            MomentForm::UnixSeconds | MomentForm::UnixMilliseconds => DataType::Int64,
            MomentForm::Iso8601 => DataType::TEXT,
        };
        return Ok((Operation::To(form), Some(made)));
    }
    if let Some(name) = &step.cast {
        let data_type = named_type(name)?;
        return Ok((Operation::Cast(data_type.clone()), Some(data_type)));
    }
    if let Some(value) = &step.constant {
        return Ok((Operation::Constant(value_of(value)), Some(type_of(value))));
    }
    if let Some(value) = &step.default {
        return Ok((Operation::Default(value_of(value)), None));
    }
    if let Some(how) = &step.parse_json {
        let default = how.default.as_ref().map_or(Value::Null, |json| Value::Json(Cow::Owned(json.to_string())));
        return Ok((Operation::ParseJson { on_error: how.on_error, default }, Some(DataType::Json)));
    }
    if step.pack.is_some() {
        return Ok((Operation::Pack(packed), Some(DataType::Json)));
    }
    if step.copy.is_some() {
        return Ok((Operation::Copy, None));
    }
    if let Some(steps) = &step.text {
        return Ok((Operation::Text(steps.clone()), Some(DataType::TEXT)));
    }
    if let Some(map) = &step.map {
        let types: Vec<DataType> = map.values.values().map(type_of).collect();
        let same = types.windows(2).all(|pair| pair[0] == pair[1]);
        let made = match (map.other, types.first()) {
            (Other::Refuse | Other::Null, Some(first)) if same => Some(first.clone()),
            (Other::Keep, Some(first)) if same && input.is_some_and(|c| &c.data_type == first) => None,
            _ => Some(DataType::TEXT),
        };
        let values = map.values.iter().map(|(from, to)| (from.clone(), value_of(to))).collect();
        return Ok((Operation::Map { values, other: map.other }, made));
    }
    if let Some(separator) = &step.split {
        return Ok((Operation::Split(separator.clone()), Some(DataType::Json)));
    }
    if let Some(join) = &step.join {
        return Ok((Operation::Join(join.separator.clone()), Some(DataType::TEXT)));
    }
    match &step.mask {
        Some(Mask::Redact) => Ok((Operation::Redact, Some(DataType::TEXT))),
        Some(Mask::Hash) => Ok((Operation::Hash, Some(DataType::TEXT))),
        Some(Mask::Pseudonym { key }) => {
            let key = key.substitute("key of the pseudonyms", &|variable| std::env::var(variable).ok());
            let key = key.map_err(|error| error.with("column", &step.column))?;
            Ok((Operation::Pseudonym(Key(key.expose().as_bytes().to_vec())), Some(DataType::TEXT)))
        }
        None => Err(Error::new(ErrorKind::Config, format!("the step for \"{}\" does nothing", step.column))),
    }
}

impl Operation {
    /// Returns whether a row that is not refused may get NULL; `input` says whether its input may be NULL.
    pub(super) fn may_make_null(&self, input: bool) -> bool {
        match self {
            Operation::Constant(_) | Operation::Default(_) | Operation::Pack(_) | Operation::Join(_) => false,
            // Empty text becomes the default, too.
            Operation::ParseJson { default, .. } => default.is_null(),
            Operation::Text(steps) => input || steps.contains(&TextStep::EmptyToNull),
            Operation::Map { other, .. } => input || *other == Other::Null,
            Operation::FromUnix(_)
            | Operation::To(_)
            | Operation::Cast(_)
            | Operation::Copy
            | Operation::Split(_)
            | Operation::Redact
            | Operation::Hash
            | Operation::Pseudonym(_) => input,
        }
    }

    /// Returns what tells this key of pseudonyms from another one, and does not show it; `None` for what has no key.
    pub(super) fn key_print(&self) -> Option<String> {
        match self {
            Operation::Pseudonym(key) => key.pseudonym("migrate: which key it is").ok(),
            Operation::FromUnix(_)
            | Operation::To(_)
            | Operation::Cast(_)
            | Operation::Constant(_)
            | Operation::Default(_)
            | Operation::ParseJson { .. }
            | Operation::Pack(_)
            | Operation::Copy
            | Operation::Text(_)
            | Operation::Map { .. }
            | Operation::Split(_)
            | Operation::Join(_)
            | Operation::Redact
            | Operation::Hash => None,
        }
    }

    /// Makes a value of the inputs, or says why not.
    pub(super) fn apply<'v>(&self, inputs: &[&Value<'v>]) -> std::result::Result<Value<'v>, String> {
        let input = || inputs.first().copied().cloned().unwrap_or(Value::Null);
        let null = inputs.first().is_none_or(|value| value.is_null());
        match self {
            Operation::Constant(value) => return Ok(value.clone()),
            Operation::Pack(names) => return json::object(names, inputs).map(|object| Value::Json(Cow::Owned(object))),
            Operation::Join(separator) => {
                let texts: Vec<Cow<'_, str>> = inputs.iter().filter(|v| !v.is_null()).map(|v| text::to_text(v)).collect();
                return Ok(Value::Text(Cow::Owned(texts.join(separator))));
            }
            Operation::Copy => return Ok(input()),
            Operation::Default(value) => return Ok(if null || is_empty(inputs) { value.clone() } else { input() }),
            Operation::ParseJson { on_error, default } => {
                if null || is_empty(inputs) {
                    return Ok(default.clone());
                }
                return match (conform(input(), &DataType::Json), on_error) {
                    (Ok(value), _) => Ok(value),
                    (Err(_), OnError::Default) => Ok(default.clone()),
                    (Err(refusal), OnError::Refuse) => Err(refusal.reason),
                };
            }
            _ if null => return Ok(Value::Null),
            _ => {}
        }
        match self {
            Operation::FromUnix(unit) => {
                let Ok(Value::Int(number)) = conform(input(), &DataType::Int64) else {
                    return Err("expected a whole number that counts from 1970".to_owned());
                };
                let micros = match unit {
                    Unix::Seconds => number.checked_mul(1_000_000),
                    Unix::Milliseconds => number.checked_mul(1_000),
                };
                micros
                    .and_then(|micros| micros.checked_sub(EPOCH * 1_000_000))
                    .map(Value::TimestampTz)
                    .ok_or_else(|| "the number is further from 1970 than a moment can be".to_owned())
            }
            Operation::To(form) => {
                let Ok(Value::TimestampTz(micros) | Value::Timestamp(micros)) = moment(input()) else {
                    return Err("expected a moment".to_owned());
                };
                written(micros, *form)
            }
            Operation::Cast(data_type) => conform(input(), data_type).map_err(|refusal| refusal.reason),
            Operation::Text(steps) => {
                let mut value = text::to_text(&input()).into_owned();
                for step in steps {
                    match step {
                        TextStep::Trim => value = value.trim().to_owned(),
                        TextStep::Upper => value = value.to_uppercase(),
                        TextStep::Lower => value = value.to_lowercase(),
                        TextStep::EmptyToNull if value.is_empty() => return Ok(Value::Null),
                        TextStep::EmptyToNull => {}
                    }
                }
                Ok(Value::Text(Cow::Owned(value)))
            }
            Operation::Map { values, other } => match (values.get(text::to_text(&input()).as_ref()), other) {
                (Some(value), _) => Ok(value.clone()),
                (None, Other::Keep) => Ok(input()),
                (None, Other::Null) => Ok(Value::Null),
                (None, Other::Refuse) => Err("the map does not have this value".to_owned()),
            },
            Operation::Split(separator) => {
                let whole = input();
                let whole = text::to_text(&whole);
                let parts: Vec<&str> = if whole.is_empty() { Vec::new() } else { whole.split(separator.as_str()).collect() };
                serde_json::to_string(&parts).map(|json| Value::Json(Cow::Owned(json))).map_err(|error| error.to_string())
            }
            Operation::Redact => Ok(Value::Text(Cow::Borrowed("***"))),
            Operation::Hash => {
                let digest: [u8; 32] = Sha256::digest(text::to_text(&input()).as_bytes()).into();
                Ok(Value::Text(Cow::Owned(to_hex(&digest))))
            }
            Operation::Pseudonym(key) => key.pseudonym(&text::to_text(&input())).map(|code| Value::Text(Cow::Owned(code))),
            Operation::Constant(_)
            | Operation::Pack(_)
            | Operation::Join(_)
            | Operation::Copy
            | Operation::Default(_)
            | Operation::ParseJson { .. } => Ok(input()),
        }
    }
}

fn is_empty(inputs: &[&Value<'_>]) -> bool {
    matches!(inputs.first(), Some(Value::Text(text)) if text.is_empty())
}

/// Takes text for the moment that it spells.
fn moment(value: Value<'_>) -> std::result::Result<Value<'_>, String> {
    match value {
        Value::TimestampTz(_) | Value::Timestamp(_) => Ok(value),
        other => conform(other, &DataType::TimestampTz { precision: None }).map_err(|refusal| refusal.reason),
    }
}

/// Writes a moment, given in microseconds since 2000-01-01.
fn written(micros: i64, form: MomentForm) -> std::result::Result<Value<'static>, String> {
    if [i64::MIN, i64::MAX].contains(&micros) {
        return Err("an infinite moment has no such form".to_owned());
    }
    let per = match form {
        MomentForm::UnixSeconds => 1_000_000,
        MomentForm::UnixMilliseconds => 1_000,
        MomentForm::Iso8601 => return text::iso8601(micros).map(|text| Value::Text(Cow::Owned(text))).ok_or_else(far),
    };
    let since = micros.checked_add(EPOCH * 1_000_000).ok_or_else(far)?;
    if since % per == 0 { Ok(Value::Int(since / per)) } else { Err("the moment falls between two numbers".to_owned()) }
}

fn far() -> String {
    "the moment is too far from 1970".to_owned()
}

fn value_of(parameter: &Parameter) -> Value<'static> {
    match parameter {
        Parameter::Bool(v) => Value::Bool(*v),
        Parameter::Int(v) => Value::Int(*v),
        Parameter::Float(v) => Value::Float(*v),
        Parameter::Text(v) => Value::Text(Cow::Owned(v.clone())),
    }
}

fn type_of(parameter: &Parameter) -> DataType {
    match parameter {
        Parameter::Bool(_) => DataType::Bool,
        Parameter::Int(_) => DataType::Int64,
        Parameter::Float(_) => DataType::Float64,
        Parameter::Text(_) => DataType::TEXT,
    }
}

fn named_type(name: &str) -> Result<DataType> {
    const NAMES: [&str; 17] = [
        "boolean",
        "smallint",
        "integer",
        "bigint",
        "real",
        "double precision",
        "numeric",
        "text",
        "bytea",
        "date",
        "time",
        "timestamp",
        "timestamptz",
        "interval",
        "uuid",
        "json",
        "jsonb",
    ];
    Ok(match name {
        "boolean" => DataType::Bool,
        "smallint" => DataType::Int16,
        "integer" => DataType::Int32,
        "bigint" => DataType::Int64,
        "real" => DataType::Float32,
        "double precision" => DataType::Float64,
        "numeric" => DataType::Decimal { precision: None, scale: None },
        "text" => DataType::TEXT,
        "bytea" => DataType::Bytes,
        "date" => DataType::Date,
        "time" => DataType::Time { precision: None },
        "timestamp" => DataType::Timestamp { precision: None },
        "timestamptz" => DataType::TimestampTz { precision: None },
        "interval" => DataType::Interval,
        "uuid" => DataType::Uuid,
        "json" => DataType::Json,
        "jsonb" => DataType::Jsonb,
        other => {
            let hint = crate::hint::nearest(other, NAMES);
            let message = format!("there is no type \"{other}\" to cast to{hint}; it is one of {}", NAMES.join(", "));
            return Err(Error::new(ErrorKind::Config, message));
        }
    })
}
