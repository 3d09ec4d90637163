//! Which columns need no conforming at all.

use crate::value::{Affinity, DataType};

/// Returns whether every value of a column of type `source` conforms to `target` as it is.
///
/// `source` is the type that values are decoded as: a page whose encoding hands out values of other kinds than its column's type
/// says, as SQLite's does, must be asked about as [`DataType::Dynamic`]. Only canonical values are compared; the same value may
/// have another width on the wire.
pub fn is_identity(source: &DataType, target: &DataType) -> bool {
    match (source, target) {
        (DataType::Bool, DataType::Bool)
        | (DataType::Int16, DataType::Int16 | DataType::Int32 | DataType::Int64)
        | (DataType::Int32, DataType::Int32 | DataType::Int64)
        | (DataType::Int64, DataType::Int64)
        | (DataType::Float32, DataType::Float32 | DataType::Float64)
        | (DataType::Float64, DataType::Float64)
        | (DataType::Bytes, DataType::Bytes)
        | (DataType::Date, DataType::Date)
        | (DataType::Interval, DataType::Interval)
        | (DataType::Uuid, DataType::Uuid)
        | (DataType::Json, DataType::Json)
        | (DataType::Jsonb, DataType::Jsonb)
        | (DataType::Other { .. }, DataType::Other { .. }) => true,
        (DataType::Decimal { .. }, DataType::Decimal { precision: None, scale: None }) => true,
        (DataType::Decimal { precision: from, scale: a }, DataType::Decimal { precision: to, scale: b }) => {
            let same_scale = match (from.is_some() || a.is_some(), to.is_some() || b.is_some()) {
                (true, true) => a.unwrap_or(0) == b.unwrap_or(0),
                (false, true) | (true, false) | (false, false) => false,
            };
            same_scale && fits(*from, *to)
        }
        (DataType::Text { max_chars: from }, DataType::Text { max_chars: to }) => fits(*from, *to),
        (DataType::Char { chars }, DataType::Text { max_chars }) => max_chars.is_none_or(|to| *chars <= to),
        (DataType::Char { chars: from }, DataType::Char { chars: to }) => from == to,
        (DataType::Enum { .. }, DataType::Text { max_chars: None }) => true,
        (DataType::Enum { labels: from, .. }, DataType::Enum { labels: to, .. }) => from.iter().all(|label| to.contains(label)),
        (DataType::Time { precision: from }, DataType::Time { precision: to })
        | (DataType::TimeTz { precision: from }, DataType::TimeTz { precision: to })
        | (DataType::Timestamp { precision: from }, DataType::Timestamp { precision: to })
        | (DataType::TimestampTz { precision: from }, DataType::TimestampTz { precision: to }) => {
            from.unwrap_or(6) <= to.unwrap_or(6)
        }
        (DataType::Dynamic { affinity: from }, DataType::Dynamic { affinity: to }) => from == to || *to == Affinity::Blob,
        (DataType::Int16 | DataType::Int32 | DataType::Int64, DataType::Dynamic { affinity }) => {
            matches!(affinity, Affinity::Integer | Affinity::Numeric | Affinity::StrictInteger | Affinity::Blob)
        }
        (DataType::Text { .. } | DataType::Char { .. } | DataType::Enum { .. }, DataType::Dynamic { affinity }) => {
            matches!(affinity, Affinity::Text | Affinity::StrictText | Affinity::Blob)
        }
        (DataType::Bytes, DataType::Dynamic { affinity }) => match affinity {
            Affinity::Integer | Affinity::Numeric | Affinity::Real | Affinity::Text | Affinity::Blob | Affinity::StrictBlob => {
                true
            }
            Affinity::StrictInteger | Affinity::StrictReal | Affinity::StrictText => false,
        },
        // Saying no costs time only: each value is then looked at.
        _ => false,
    }
}

/// Whether whatever is within the first limit is within the second; `None` is no limit.
fn fits(from: Option<u32>, to: Option<u32>) -> bool {
    match (from, to) {
        (_, None) => true,
        (Some(from), Some(to)) => from <= to,
        (None, Some(_)) => false,
    }
}
