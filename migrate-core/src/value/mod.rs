//! Values, rows, keys and pages: what travels from a source to a sink.
//!
//! A [`Value`] is one cell. A [`Page`] holds many rows in one byte arena, in the encoding of the adapter that read it, and
//! decodes its cells lazily. [`canonical`] is the one byte form that checksums are made of.

pub mod canonical;
#[cfg(test)]
mod canonical_tests;
pub mod conform;
mod data_type;
mod decimal;
pub mod jsonb;
mod key;
mod page;
pub mod text;

pub use data_type::{Affinity, DataType};
pub use decimal::{Decimal, Misfit};
pub use key::{Key, KeyRange};
pub use page::{Cells, Encoding, Page, PageBuilder, PageColumn, RowRef};

use std::borrow::Cow;

/// One cell, borrowed from a page where possible.
///
/// Dates count days, times and timestamps microseconds, from 2000-01-01 as PostgreSQL does; `MIN` and `MAX` are -infinity and
/// infinity. What has no variant of its own travels as [`Value::Typed`] in its text form; the column's [`DataType`] names the type.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// SQL NULL.
    Null,
    /// A truth value.
    Bool(bool),
    /// A signed integer of any width up to 64 bits.
    Int(i64),
    /// A double; a 4-byte float widens exactly.
    Float(f64),
    /// An exact decimal with its scale, NaN and the infinities included.
    Decimal(Decimal<'a>),
    /// Text in UTF-8.
    Text(Cow<'a, str>),
    /// Raw bytes.
    Bytes(Cow<'a, [u8]>),
    /// Days since 2000-01-01.
    Date(i32),
    /// Microseconds since midnight; 24:00:00 is allowed.
    Time(i64),
    /// Microseconds since midnight, and the zone as seconds west of Greenwich (PostgreSQL's sign).
    TimeTz(i64, i32),
    /// Microseconds since 2000-01-01 00:00 of some local clock.
    Timestamp(i64),
    /// Microseconds since 2000-01-01 00:00 UTC.
    TimestampTz(i64),
    /// A span of months, days and microseconds, which do not convert into one another.
    Interval {
        /// Whole months.
        months: i32,
        /// Whole days.
        days: i32,
        /// Microseconds.
        micros: i64,
    },
    /// A UUID.
    Uuid([u8; 16]),
    /// JSON kept to the letter.
    Json(Cow<'a, str>),
    /// JSON as PostgreSQL's `jsonb` prints it.
    Jsonb(Cow<'a, str>),
    /// Anything else, as the text that its own type prints; the column's type names it.
    Typed(Cow<'a, str>),
}

impl Value<'_> {
    /// Copies what is borrowed, so that the value outlives its page.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Null => Value::Null,
            Value::Bool(v) => Value::Bool(v),
            Value::Int(v) => Value::Int(v),
            Value::Float(v) => Value::Float(v),
            Value::Decimal(v) => Value::Decimal(v.into_owned()),
            Value::Text(v) => Value::Text(Cow::Owned(v.into_owned())),
            Value::Bytes(v) => Value::Bytes(Cow::Owned(v.into_owned())),
            Value::Date(v) => Value::Date(v),
            Value::Time(v) => Value::Time(v),
            Value::TimeTz(v, z) => Value::TimeTz(v, z),
            Value::Timestamp(v) => Value::Timestamp(v),
            Value::TimestampTz(v) => Value::TimestampTz(v),
            Value::Interval { months, days, micros } => Value::Interval { months, days, micros },
            Value::Uuid(v) => Value::Uuid(v),
            Value::Json(v) => Value::Json(Cow::Owned(v.into_owned())),
            Value::Jsonb(v) => Value::Jsonb(Cow::Owned(v.into_owned())),
            Value::Typed(v) => Value::Typed(Cow::Owned(v.into_owned())),
        }
    }

    /// Returns whether this is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Returns the variant's name, for messages; never the content.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Int(_) => "integer",
            Value::Float(_) => "float",
            Value::Decimal(_) => "decimal",
            Value::Text(_) => "text",
            Value::Bytes(_) => "bytes",
            Value::Date(_) => "date",
            Value::Time(_) => "time",
            Value::TimeTz(..) => "time with zone",
            Value::Timestamp(_) => "timestamp",
            Value::TimestampTz(_) => "timestamp with zone",
            Value::Interval { .. } => "interval",
            Value::Uuid(_) => "uuid",
            Value::Json(_) => "json",
            Value::Jsonb(_) => "jsonb",
            Value::Typed(_) => "typed text",
        }
    }
}

/// One owned row, cell by cell.
pub type Row = Vec<Value<'static>>;
