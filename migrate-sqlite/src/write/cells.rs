//! One row in the form in which SQLite stores it.

use crate::codec;
use crate::error::SqliteContext;
use migrate_core::value::{Encoding, PageColumn, RowRef, Value, text};
use migrate_core::{Error, ErrorKind, Result};
use rusqlite::Connection;
use rusqlite::types::{ToSqlOutput, ValueRef};
use std::borrow::Cow;
use std::ops::Range;

/// A cell: a number, bytes of the page, or bytes that were written for it.
#[derive(Debug, Clone)]
pub(super) enum Cell<'p> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'p [u8]),
    Blob(&'p [u8]),
    /// Text that is not in the page; its place in the scratch text.
    Scratch(Range<usize>),
    /// A blob that is not in the page; its place among the owned ones.
    Owned(usize),
}

/// The cells of one row, used again for the next.
#[derive(Debug, Default)]
pub(super) struct Cells<'p> {
    cells: Vec<Cell<'p>>,
    scratch: String,
    owned: Vec<Vec<u8>>,
    /// Whether the file keeps texts as UTF-16, into which what is no UTF-8 cannot be turned without a change.
    utf16: bool,
}

impl<'p> Cells<'p> {
    /// Makes room for rows that go into a file.
    pub(super) fn of(connection: &Connection) -> Result<Self> {
        let encoding: String =
            connection.query_row("PRAGMA main.encoding", [], |row| row.get(0)).during("asking for the file's encoding")?;
        Ok(Cells { utf16: encoding != "UTF-8", ..Cells::default() })
    }

    /// Takes a row of a page; `written` says which of its columns are written.
    ///
    /// # Errors
    /// Whatever decoding a cell of the page gives, with the column's name.
    #[inline]
    pub(super) fn load(&mut self, row: RowRef<'p>, columns: &[PageColumn], written: &[bool], encoding: Encoding) -> Result<()> {
        self.cells.clear();
        self.scratch.clear();
        self.owned.clear();
        let raw = encoding == codec::ENCODING;
        let mut count = 0;
        for ((cell, column), written) in row.cells().zip(columns).zip(written) {
            count += 1;
            if !written {
                continue;
            }
            let Some(bytes) = cell else {
                self.cells.push(Cell::Null);
                continue;
            };
            let cell = if raw {
                match codec::raw(bytes)? {
                    ValueRef::Null => Cell::Null,
                    ValueRef::Integer(v) => Cell::Integer(v),
                    ValueRef::Real(v) => Cell::Real(v),
                    ValueRef::Text(v) if self.utf16 && std::str::from_utf8(v).is_err() => {
                        return Err(Error::new(
                            ErrorKind::RowRejected,
                            "text that is not UTF-8, which a file of UTF-16 cannot hold",
                        )
                        .with("column", &column.name));
                    }
                    ValueRef::Text(v) => Cell::Text(v),
                    ValueRef::Blob(v) => Cell::Blob(v),
                }
            } else if let Some(text) = encoding.text_bytes(&column.data_type, bytes) {
                // SQLite stores bytes: texts that were decoded when the page was shaped need no second look.
                Cell::Text(text)
            } else {
                let value = encoding.decode(&column.data_type, Some(bytes)).map_err(|e| e.with("column", &column.name))?;
                self.store(value)
            };
            self.cells.push(cell);
        }
        if count == columns.len() {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Corrupt, "a row has fewer cells than its page has columns"))
        }
    }

    /// The storage form of a value; the same as [`codec::bind`] gives, without an allocation.
    #[inline]
    fn store(&mut self, value: Value<'p>) -> Cell<'p> {
        match value {
            Value::Null => Cell::Null,
            Value::Bool(v) => Cell::Integer(i64::from(v)),
            Value::Int(v) => Cell::Integer(v),
            Value::Float(v) if v.is_nan() => Cell::Text(b"NaN"),
            Value::Float(v) => Cell::Real(v),
            Value::Text(v) | Value::Json(v) | Value::Jsonb(v) | Value::Typed(v) => match v {
                Cow::Borrowed(v) => Cell::Text(v.as_bytes()),
                Cow::Owned(v) => self.write(|scratch| scratch.push_str(&v)),
            },
            Value::Bytes(Cow::Borrowed(v)) => Cell::Blob(v),
            Value::Bytes(Cow::Owned(v)) => {
                self.owned.push(v);
                Cell::Owned(self.owned.len() - 1)
            }
            other @ (Value::Decimal(_)
            | Value::Date(_)
            | Value::Time(_)
            | Value::TimeTz(..)
            | Value::Timestamp(_)
            | Value::TimestampTz(_)
            | Value::Interval { .. }
            | Value::Uuid(_)) => self.write(|scratch| text::push_text(&other, scratch)),
        }
    }

    #[inline]
    fn write(&mut self, write: impl FnOnce(&mut String)) -> Cell<'p> {
        let start = self.scratch.len();
        write(&mut self.scratch);
        Cell::Scratch(start..self.scratch.len())
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Cell<'p>> {
        self.cells.iter()
    }

    /// The bytes of a text or blob of this row.
    #[inline]
    pub(super) fn bytes<'s>(&'s self, cell: &'s Cell<'p>) -> &'s [u8] {
        match cell {
            Cell::Text(bytes) | Cell::Blob(bytes) => bytes,
            Cell::Scratch(place) => &self.scratch.as_bytes()[place.clone()],
            Cell::Owned(place) => &self.owned[*place],
            Cell::Null | Cell::Integer(_) | Cell::Real(_) => &[],
        }
    }

    /// One cell as rusqlite binds and compares it.
    pub(super) fn get(&self, place: usize) -> ValueRef<'_> {
        match &self.cells[place] {
            Cell::Null => ValueRef::Null,
            Cell::Integer(v) => ValueRef::Integer(*v),
            Cell::Real(v) => ValueRef::Real(*v),
            blob @ (Cell::Blob(_) | Cell::Owned(_)) => ValueRef::Blob(self.bytes(blob)),
            text @ (Cell::Text(_) | Cell::Scratch(_)) => ValueRef::Text(self.bytes(text)),
        }
    }

    /// One cell as a parameter.
    pub(super) fn parameter(&self, place: usize) -> ToSqlOutput<'_> {
        ToSqlOutput::Borrowed(self.get(place))
    }
}

/// Whether two cells are the same to the letter: storage class and content, the sign of zero included.
pub(super) fn same(a: ValueRef<'_>, b: ValueRef<'_>) -> bool {
    match (a, b) {
        (ValueRef::Real(a), ValueRef::Real(b)) => a.to_bits() == b.to_bits(),
        (a, b) => a == b,
    }
}
