//! Cells of a page in SQLite's own terms, and values in the form in which SQLite stores them.
//!
//! ```text
//! cell = tag: u8, payload
//! 0x01   integer: i64 big-endian
//! 0x02   real: the IEEE 754 bits, big-endian
//! 0x03   text: the bytes as they are stored, which need not be UTF-8
//! 0x04   blob: the bytes
//! ```

use migrate_core::error::{Error, ErrorKind, Result};
use migrate_core::value::{DataType, Encoding, PageBuilder, Value, text};
use rusqlite::types::{ToSqlOutput, ValueRef};
use std::borrow::Cow;

/// The encoding of pages that are read from SQLite: each cell carries its storage class.
pub const ENCODING: Encoding = Encoding::new("sqlite", decode);

/// The tag of an integer.
pub(crate) const INTEGER: u8 = 1;
/// The tag of a real.
pub(crate) const REAL: u8 = 2;
/// The tag of a text.
pub(crate) const TEXT: u8 = 3;
/// The tag of a blob.
pub(crate) const BLOB: u8 = 4;

/// Cells above this size get exactly the room they need, so that a huge one does not double the page.
const HUGE: usize = 1 << 20;

/// Appends a cell as SQLite holds it.
#[inline]
pub(crate) fn push(page: &mut PageBuilder, cell: ValueRef<'_>) -> Result<()> {
    match cell {
        ValueRef::Null => {
            page.push_null();
            Ok(())
        }
        ValueRef::Integer(v) => page.push_cell_with(|out| fixed(out, INTEGER, v.to_be_bytes())),
        ValueRef::Real(v) => page.push_cell_with(|out| fixed(out, REAL, v.to_bits().to_be_bytes())),
        ValueRef::Text(v) => page.push_cell_with(|out| sized(out, TEXT, v)),
        ValueRef::Blob(v) => page.push_cell_with(|out| sized(out, BLOB, v)),
    }
}

#[inline]
fn fixed(out: &mut Vec<u8>, tag: u8, payload: [u8; 8]) {
    let mut cell = [tag; 9];
    cell[1..].copy_from_slice(&payload);
    out.extend_from_slice(&cell);
}

#[inline]
fn sized(out: &mut Vec<u8>, tag: u8, payload: &[u8]) {
    if payload.len() > HUGE {
        out.reserve_exact(payload.len() + 1);
    }
    out.push(tag);
    out.extend_from_slice(payload);
}

/// Decodes a cell; its storage class decides, whatever the column's type says.
fn decode<'a>(_: &DataType, cell: &'a [u8]) -> Result<Value<'a>> {
    let value = match raw(cell)? {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(v) => Value::Int(v),
        ValueRef::Real(v) => Value::Float(v),
        ValueRef::Text(v) => match std::str::from_utf8(v) {
            Ok(text) => Value::Text(Cow::Borrowed(text)),
            Err(_) => return Err(Error::new(ErrorKind::RowRejected, "the text is not valid UTF-8")),
        },
        ValueRef::Blob(v) => Value::Bytes(Cow::Borrowed(v)),
    };
    Ok(value)
}

/// Reads a cell of this encoding as SQLite would hand it out, so that it can be bound as it is.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if the bytes are not of this encoding.
#[inline]
pub(crate) fn raw(cell: &[u8]) -> Result<ValueRef<'_>> {
    let corrupt = || Error::new(ErrorKind::Corrupt, "a cell is not in the encoding of SQLite pages");
    let (tag, payload) = cell.split_first().ok_or_else(corrupt)?;
    let eight = || <[u8; 8]>::try_from(payload).map_err(|_| corrupt());
    Ok(match *tag {
        INTEGER => ValueRef::Integer(i64::from_be_bytes(eight()?)),
        REAL => ValueRef::Real(f64::from_bits(u64::from_be_bytes(eight()?))),
        TEXT => ValueRef::Text(payload),
        BLOB => ValueRef::Blob(payload),
        _ => return Err(corrupt()),
    })
}

/// Returns a value in the form in which it is stored: booleans as 0 and 1, NaN as the text `NaN` (SQLite would make it NULL), what
/// SQLite has no storage class for as its text form.
pub(crate) fn bind<'v>(value: &'v Value<'_>) -> ToSqlOutput<'v> {
    match value {
        Value::Null => ToSqlOutput::Borrowed(ValueRef::Null),
        Value::Bool(v) => ToSqlOutput::Borrowed(ValueRef::Integer(i64::from(*v))),
        Value::Int(v) => ToSqlOutput::Borrowed(ValueRef::Integer(*v)),
        Value::Float(v) if v.is_nan() => ToSqlOutput::Borrowed(ValueRef::Text(b"NaN")),
        Value::Float(v) => ToSqlOutput::Borrowed(ValueRef::Real(*v)),
        Value::Text(v) => ToSqlOutput::Borrowed(ValueRef::Text(v.as_bytes())),
        Value::Bytes(v) => ToSqlOutput::Borrowed(ValueRef::Blob(v)),
        Value::Decimal(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::TimeTz(..)
        | Value::Timestamp(_)
        | Value::TimestampTz(_)
        | Value::Interval { .. }
        | Value::Uuid(_)
        | Value::Json(_)
        | Value::Jsonb(_)
        | Value::Typed(_) => match text::to_text(value) {
            Cow::Borrowed(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Cow::Owned(text) => ToSqlOutput::Owned(rusqlite::types::Value::Text(text)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migrate_core::value::PageColumn;
    use proptest::prelude::*;

    fn round(cell: ValueRef<'_>) -> Vec<Option<Vec<u8>>> {
        let column = PageColumn { name: "c".to_owned(), data_type: DataType::TEXT };
        let mut page = PageBuilder::new([column].into(), ENCODING);
        page.begin_row();
        push(&mut page, cell).expect("small");
        page.end_row();
        page.row(0).cells().map(|c| c.map(<[u8]>::to_vec)).collect()
    }

    proptest! {
        #[test]
        fn every_cell_survives_to_the_bit(int: i64, bits: u64, bytes: Vec<u8>) {
            let real = f64::from_bits(bits);
            for cell in [ValueRef::Integer(int), ValueRef::Real(real), ValueRef::Text(&bytes), ValueRef::Blob(&bytes)] {
                let cells = round(cell);
                let back = raw(cells[0].as_deref().expect("not NULL")).expect("the encoding");
                match (cell, back) {
                    (ValueRef::Real(a), ValueRef::Real(b)) => prop_assert_eq!(a.to_bits(), b.to_bits()),
                    (a, b) => prop_assert_eq!(a, b),
                }
            }
            prop_assert_eq!(round(ValueRef::Null), vec![None]);
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
            let _ = ENCODING.decode(&DataType::TEXT, Some(&bytes));
        }
    }

    #[test]
    fn text_that_is_not_utf8_is_the_rows_fault() {
        let error = ENCODING.decode(&DataType::TEXT, Some(&[TEXT, 0xff])).expect_err("not UTF-8");
        assert_eq!(error.kind(), ErrorKind::RowRejected);
        assert_eq!(ENCODING.decode(&DataType::Bool, Some(&[TEXT, 0])).expect("a zero byte is text"), Value::Text("\0".into()));
    }

    #[test]
    fn values_are_bound_in_their_storage_form() {
        let connection = rusqlite::Connection::open_in_memory().expect("memory");
        let shown = |value: Value<'_>| -> String {
            let sql = "SELECT typeof(?1) || ' ' || CASE typeof(?1) WHEN 'blob' THEN hex(?1) ELSE ?1 END";
            connection.query_row(sql, [bind(&value)], |row| row.get(0)).expect("a bound value")
        };
        assert_eq!(shown(Value::Bool(true)), "integer 1");
        assert_eq!(shown(Value::Float(f64::NAN)), "text NaN");
        assert_eq!(shown(Value::Float(1.0)), "real 1.0");
        assert_eq!(shown(Value::Bytes(b"\x01".into())), "blob 01");
        assert_eq!(shown(Value::Date(0)), "text 2000-01-01");
        assert_eq!(shown(Value::Json("{}".into())), "text {}");
    }
}
