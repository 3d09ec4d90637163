//! What happens to values on the way, as the job says it.

use super::secret::Secret;
use crate::error::{Error, ErrorKind, Result};
use crate::expression::Expression;
use crate::filter::Parameter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One step of an entity's transformation: gives a column a value. Steps run in order, on the source's columns; a column that is not
/// there is added. Besides `column` exactly one of the others is given; `type` and `pure` belong to `sql`.
///
/// A row that a step refuses is quarantined, with the column and the reason.
///
/// ```
/// use migrate_core::job::{Entity, Transform};
///
/// let entry = Entity::new("logbook_entries")
///     .with_transform(Transform::new("timestamp").from_unix(migrate_core::job::Unix::Milliseconds))
///     .with_transform(Transform::new("data").pack(["notes", "metadata"]));
/// assert_eq!(entry.transform.len(), 2);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with column and what becomes of it")]
#[non_exhaustive]
pub struct Transform {
    /// The column that gets the value.
    pub column: String,
    /// It has the value of this expression, which the source makes of each row: in its own SQL, over the table's own columns, with
    /// parameters written `:name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// The type that the expression's value becomes, exactly, as by `cast`. If not given, it is what the source says; a SQLite file says
    /// nothing.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub of_type: Option<String>,
    /// Whether the expression gives the same value for as long as its row says the same: it depends on no other row, no clock and no
    /// setting. If not, all rows are read in every run, since no row that was written tells of its changes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pure: bool,
    /// Its number becomes the moment that it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Unix>,
    /// Its moment becomes a number, or a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<MomentForm>,
    /// Its value becomes one of another type, exactly: `boolean`, `smallint`, `integer`, `bigint`, `real`, `double precision`, `numeric`,
    /// `text`, `bytea`, `date`, `time`, `timestamp`, `timestamptz`, `interval`, `uuid`, `json` or `jsonb`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cast: Option<String>,
    /// It has this value in every row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constant: Option<Parameter>,
    /// It has this value where it is NULL, or empty text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Parameter>,
    /// Its text is JSON, and becomes a JSON value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parse_json: Option<ParseJson>,
    /// These columns, which go, become one JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<Vec<String>>,
    /// It has the value of this column, which stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<String>,
    /// What is done to its text, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Vec<TextStep>>,
    /// Its values become others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<ValueMap>,
    /// Its text is cut at this separator, and becomes a JSON array of texts. Empty text becomes an empty array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// The texts of other columns, which stay, are joined; NULL is passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<Join>,
    /// Its value is hidden.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<Mask>,
}

/// What a number counts since 1970-01-01 00:00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Unix {
    /// Seconds.
    #[serde(rename = "unix_s")]
    Seconds,
    /// Milliseconds.
    #[serde(rename = "unix_ms")]
    Milliseconds,
}

/// What a moment becomes. One without a zone counts as UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MomentForm {
    /// The seconds since 1970-01-01 00:00:00 UTC.
    #[serde(rename = "unix_s")]
    UnixSeconds,
    /// The milliseconds since 1970-01-01 00:00:00 UTC.
    #[serde(rename = "unix_ms")]
    UnixMilliseconds,
    /// Text such as `2023-11-15T02:13:20.022Z`: in UTC, with three digits of a second, or with six where three would round.
    #[serde(rename = "iso8601")]
    Iso8601,
}

/// How text that should be JSON is taken.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParseJson {
    /// What becomes of text that is no JSON.
    #[serde(default)]
    pub on_error: OnError,
    /// The value in place of NULL and empty text, and of what is no JSON where that is not refused; NULL if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<serde_json::Value>,
}

/// What becomes of a value that a step cannot take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// Its row is quarantined.
    #[default]
    Refuse,
    /// It is replaced by the default.
    Default,
}

/// Something done to text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TextStep {
    /// White space at both ends goes.
    Trim,
    /// Small letters become capitals.
    Upper,
    /// Capitals become small letters.
    Lower,
    /// Text without a character becomes NULL.
    EmptyToNull,
}

/// Values that become others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValueMap {
    /// Each value, spelled as text, with what it becomes.
    pub values: BTreeMap<String, Parameter>,
    /// What becomes of a value that is not among them. NULL stays NULL.
    #[serde(default)]
    pub other: Other,
}

/// What becomes of a value that a map does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Other {
    /// Its row is quarantined.
    #[default]
    Refuse,
    /// It stays as it is.
    Keep,
    /// It becomes NULL.
    Null,
}

/// Columns whose texts are joined.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The columns, in order.
    pub columns: Vec<String>,
    /// What stands between two of them.
    #[serde(default)]
    pub separator: String,
}

/// How a value is hidden. NULL stays NULL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mask {
    /// It becomes `***`.
    Redact,
    /// It becomes the SHA-256 of its text, in 64 hexadecimal digits: equal values stay equal, and whoever guesses one can check it.
    Hash,
    /// It becomes the HMAC-SHA-256 of its text under this key, in 32 hexadecimal digits: equal values stay equal, and only who has the
    /// key can check a guess.
    Pseudonym {
        /// The key; best taken from the environment, `${NAME}`. Any other is shown, and recorded, as `***`.
        key: Secret,
    },
}

impl Transform {
    /// Creates a step for a column; say what becomes of it by one of the other methods.
    pub fn new(column: impl Into<String>) -> Self {
        Transform { column: column.into(), ..Transform::default() }
    }

    /// It has the value of this expression of the source's; see [`Transform::sql`]. It is taken to depend on anything unless
    /// [`Transform::pure`] says that it does not.
    #[must_use]
    pub fn sql(mut self, expression: impl Into<String>) -> Self {
        self.sql = Some(expression.into());
        self
    }

    /// The expression's value becomes one of this type; see [`Transform::cast`].
    #[must_use]
    pub fn of_type(mut self, name: impl Into<String>) -> Self {
        self.of_type = Some(name.into());
        self
    }

    /// The expression gives the same value for as long as its row says the same; see [`Transform::pure`].
    #[must_use]
    pub fn pure(mut self) -> Self {
        self.pure = true;
        self
    }

    /// Its number becomes the moment that it counts.
    #[must_use]
    pub fn from_unix(mut self, unit: Unix) -> Self {
        self.from = Some(unit);
        self
    }

    /// Its moment becomes a number.
    #[must_use]
    pub fn to_unix(mut self, unit: Unix) -> Self {
        self.to = Some(match unit {
            Unix::Seconds => MomentForm::UnixSeconds,
            Unix::Milliseconds => MomentForm::UnixMilliseconds,
        });
        self
    }

    /// Its moment becomes text such as `2023-11-15T02:13:20.022Z`.
    #[must_use]
    pub fn to_iso8601(mut self) -> Self {
        self.to = Some(MomentForm::Iso8601);
        self
    }

    /// Its value becomes one of another type; see [`Transform::cast`].
    #[must_use]
    pub fn cast_to(mut self, name: impl Into<String>) -> Self {
        self.cast = Some(name.into());
        self
    }

    /// It has this value in every row.
    #[must_use]
    pub fn constant(mut self, value: Parameter) -> Self {
        self.constant = Some(value);
        self
    }

    /// It has this value where it is NULL, or empty text.
    #[must_use]
    pub fn or(mut self, value: Parameter) -> Self {
        self.default = Some(value);
        self
    }

    /// Its text becomes a JSON value.
    #[must_use]
    pub fn parse_json(mut self, how: ParseJson) -> Self {
        self.parse_json = Some(how);
        self
    }

    /// These columns become one JSON object.
    #[must_use]
    pub fn pack(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.pack = Some(columns.into_iter().map(Into::into).collect());
        self
    }

    /// Its values become others.
    #[must_use]
    pub fn map(mut self, map: ValueMap) -> Self {
        self.map = Some(map);
        self
    }

    /// Its value is hidden.
    #[must_use]
    pub fn mask(mut self, mask: Mask) -> Self {
        self.mask = Some(mask);
        self
    }

    /// Returns the names of what it is told to do.
    fn kinds(&self) -> Vec<&'static str> {
        let given = [
            ("sql", self.sql.is_some()),
            ("from", self.from.is_some()),
            ("to", self.to.is_some()),
            ("cast", self.cast.is_some()),
            ("constant", self.constant.is_some()),
            ("default", self.default.is_some()),
            ("parse_json", self.parse_json.is_some()),
            ("pack", self.pack.is_some()),
            ("copy", self.copy.is_some()),
            ("text", self.text.is_some()),
            ("map", self.map.is_some()),
            ("split", self.split.is_some()),
            ("join", self.join.is_some()),
            ("mask", self.mask.is_some()),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
    }

    pub(super) fn check(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::new(ErrorKind::Config, message).with("field", "transform"));
        match self.kinds()[..] {
            [_] => {}
            [] => return wrong(format!("the step for the column \"{}\" does not say what becomes of it", self.column)),
            [first, second, ..] => {
                return wrong(format!(
                    "the step for the column \"{}\" says both {first} and {second}; give two steps",
                    self.column
                ));
            }
        }
        if let Some(sql) = &self.sql {
            Expression::check(sql).map_err(|error| error.with("column", &self.column).with("field", "transform"))?;
        } else if let Some(name) =
            [("type", self.of_type.is_some()), ("pure", self.pure)].iter().find_map(|(name, given)| given.then_some(name))
        {
            return wrong(format!("the step for the column \"{}\" says {name}, which belongs to sql", self.column));
        }
        let empty = [&self.pack, &self.join.as_ref().map(|join| join.columns.clone())].into_iter().flatten().any(Vec::is_empty);
        if empty || self.split.as_ref().is_some_and(String::is_empty) {
            return wrong(format!("the step for the column \"{}\" names nothing to take", self.column));
        }
        match &self.mask {
            Some(Mask::Pseudonym { key }) if key.expose().is_empty() => {
                wrong(format!("the key of the pseudonyms of the column \"{}\" is empty", self.column))
            }
            Some(Mask::Pseudonym { key }) if key.is_lost() => wrong(format!(
                "the key of the pseudonyms of the column \"{}\" is what a hidden key is recorded as; give the key itself",
                self.column
            )),
            _ => Ok(()),
        }
    }
}
