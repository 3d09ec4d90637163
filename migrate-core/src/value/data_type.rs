//! The logical type of a column, which values are conformed to.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a column holds, whatever the engine calls it.
///
/// Values are conformed to the target column's type before they are checksummed and written. `None` as a precision, scale or
/// length means that the column sets no limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DataType {
    /// Truth values.
    Bool,
    /// 16-bit integers.
    Int16,
    /// 32-bit integers.
    Int32,
    /// 64-bit integers.
    Int64,
    /// 32-bit IEEE floats.
    Float32,
    /// 64-bit IEEE floats.
    Float64,
    /// Exact decimals.
    Decimal {
        /// Digits in all, if limited.
        precision: Option<u32>,
        /// Digits after the point (PostgreSQL allows negative ones), if fixed.
        scale: Option<i32>,
    },
    /// Text.
    Text {
        /// Characters at most, if limited.
        max_chars: Option<u32>,
    },
    /// Text padded with blanks to a fixed length.
    Char {
        /// Characters.
        chars: u32,
    },
    /// Raw bytes.
    Bytes,
    /// Calendar days.
    Date,
    /// Times of day.
    Time {
        /// Digits of the second's fraction, 0 to 6; `None` is 6.
        precision: Option<u32>,
    },
    /// Times of day with a zone offset.
    TimeTz {
        /// Digits of the second's fraction, 0 to 6; `None` is 6.
        precision: Option<u32>,
    },
    /// Local timestamps.
    Timestamp {
        /// Digits of the second's fraction, 0 to 6; `None` is 6.
        precision: Option<u32>,
    },
    /// Instants.
    TimestampTz {
        /// Digits of the second's fraction, 0 to 6; `None` is 6.
        precision: Option<u32>,
    },
    /// Spans of months, days and microseconds.
    Interval,
    /// UUIDs.
    Uuid,
    /// JSON kept to the letter.
    Json,
    /// JSON in PostgreSQL's `jsonb` form.
    Jsonb,
    /// One of a list of labels; travels as text.
    Enum {
        /// The type's name, schema-qualified where needed.
        name: String,
        /// The labels in their order.
        labels: Vec<String>,
    },
    /// A type that travels as its own text, such as `inet`, `int4range` or `text[]`.
    Other {
        /// The type as the engine spells it, modifiers included.
        name: String,
    },
    /// A column whose cells carry their own type, as in SQLite.
    Dynamic {
        /// What the column does to values that are stored in it.
        affinity: Affinity,
    },
}

/// What a SQLite column does to the values stored in it; see <https://www.sqlite.org/datatype3.html#type_affinity>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Affinity {
    /// Converts well-formed numbers to integers where that is exact, else to reals.
    Integer,
    /// Like [`Affinity::Integer`].
    Numeric,
    /// Converts numbers to reals.
    Real,
    /// Converts numbers to text.
    Text,
    /// Keeps everything as it is.
    Blob,
    /// A STRICT table's `INTEGER` column: integers only.
    StrictInteger,
    /// A STRICT table's `REAL` column: reals only; integers become reals.
    StrictReal,
    /// A STRICT table's `TEXT` column: text only.
    StrictText,
    /// A STRICT table's `BLOB` column: bytes only.
    StrictBlob,
}

impl DataType {
    /// Text of any length.
    pub const TEXT: DataType = DataType::Text { max_chars: None };
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = |f: &mut fmt::Formatter<'_>, name: &str, precision: &Option<u32>| match precision {
            Some(p) => write!(f, "{name}({p})"),
            None => f.write_str(name),
        };
        match self {
            DataType::Bool => f.write_str("boolean"),
            DataType::Int16 => f.write_str("16-bit integer"),
            DataType::Int32 => f.write_str("32-bit integer"),
            DataType::Int64 => f.write_str("64-bit integer"),
            DataType::Float32 => f.write_str("32-bit float"),
            DataType::Float64 => f.write_str("64-bit float"),
            DataType::Decimal { precision: Some(p), scale } => write!(f, "decimal({p},{})", scale.unwrap_or(0)),
            DataType::Decimal { precision: None, .. } => f.write_str("decimal"),
            DataType::Text { max_chars: Some(n) } => write!(f, "text({n})"),
            DataType::Text { max_chars: None } => f.write_str("text"),
            DataType::Char { chars } => write!(f, "char({chars})"),
            DataType::Bytes => f.write_str("bytes"),
            DataType::Date => f.write_str("date"),
            DataType::Time { precision } => fraction(f, "time", precision),
            DataType::TimeTz { precision } => fraction(f, "time with zone", precision),
            DataType::Timestamp { precision } => fraction(f, "timestamp", precision),
            DataType::TimestampTz { precision } => fraction(f, "timestamp with zone", precision),
            DataType::Interval => f.write_str("interval"),
            DataType::Uuid => f.write_str("uuid"),
            DataType::Json => f.write_str("json"),
            DataType::Jsonb => f.write_str("jsonb"),
            DataType::Enum { name, .. } => write!(f, "enum {name}"),
            DataType::Other { name } => f.write_str(name),
            DataType::Dynamic { affinity } => write!(f, "dynamic ({affinity:?})"),
        }
    }
}
