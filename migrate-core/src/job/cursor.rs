//! The column of a source's table that says when each row was changed last.

use crate::error::{Error, ErrorKind, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A column that is never lower in a row that was changed later, such as `updated_at` or a counter, for [`super::Strategy::Cursor`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CursorColumn {
    /// The source's column.
    pub column: String,
    /// How far before the greatest value that was read the next run begins; nothing before it if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
}

impl CursorColumn {
    /// Names the column.
    pub fn new(column: impl Into<String>) -> Self {
        CursorColumn { column: column.into(), overlap: None }
    }

    /// Lets each run begin so far before the greatest value that the last one read.
    #[must_use]
    pub fn with_overlap(mut self, overlap: Overlap) -> Self {
        self.overlap = Some(overlap);
        self
    }
}

/// How far before the greatest value a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// So many seconds, in a column of moments.
    Seconds(u64),
    /// So much, in a column of integers.
    Units(u32),
}

const UNITS: [(char, u64); 4] = [('s', 1), ('m', 60), ('h', 60 * 60), ('d', 24 * 60 * 60)];

impl std::str::FromStr for Overlap {
    type Err = Error;

    /// Reads a span such as `90s`, `10m`, `2h` or `1d`.
    fn from_str(text: &str) -> Result<Self> {
        let span = UNITS.iter().find_map(|(unit, seconds)| {
            let number: u32 = text.trim().strip_suffix(*unit)?.trim().parse().ok()?;
            Some(Overlap::Seconds(u64::from(number) * seconds))
        });
        span.ok_or_else(|| {
            let message = format!("\"{text}\" is no span of time, such as 90s, 10m, 2h or 1d");
            Error::new(ErrorKind::Config, message)
        })
    }
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a span of time such as \"10m\", or a number for a column of integers")]
enum OverlapText {
    Units(u32),
    Text(String),
}

impl Serialize for Overlap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Overlap::Seconds(seconds) => OverlapText::Text(format!("{seconds}s")),
            Overlap::Units(units) => OverlapText::Units(*units),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Overlap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match OverlapText::deserialize(deserializer)? {
            OverlapText::Units(units) => Ok(Overlap::Units(units)),
            OverlapText::Text(text) => text.parse().map_err(|error: Error| de::Error::custom(error.message())),
        }
    }
}

impl JsonSchema for Overlap {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Overlap".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        OverlapText::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlap_is_a_span_of_time_or_a_number() {
        let read = |text: &str| serde_json::from_str::<CursorColumn>(text);
        for (text, overlap) in [
            (r#"{"column":"at"}"#, None),
            (r#"{"column":"at","overlap":"10m"}"#, Some(Overlap::Seconds(600))),
            (r#"{"column":"at","overlap":"2d"}"#, Some(Overlap::Seconds(172_800))),
            (r#"{"column":"at","overlap":7}"#, Some(Overlap::Units(7))),
        ] {
            let cursor = read(text).expect("a cursor");
            assert_eq!(cursor.overlap, overlap, "{text}");
            let again = serde_json::to_string(&cursor).expect("it serializes");
            assert_eq!(read(&again).expect("its own form"), cursor);
        }
        for wrong in [r#"{"column":"at","overlap":"soon"}"#, r#"{"column":"at","overlap":-1}"#, r#"{"overlap":1}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
