//! Writes values as PostgreSQL reads them: binary COPY where every column has a binary form here, text COPY otherwise.

use crate::codec::ENCODING;
use migrate_core::schema::TableSchema;
use migrate_core::value::{DataType, Page, RowRef, Value, text};
use migrate_core::{Error, ErrorKind, Result};

/// The signature, flags and extension length that start a binary COPY.
pub(crate) const BINARY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The tuple that ends a binary COPY.
pub(crate) const BINARY_TRAILER: &[u8] = &(-1i16).to_be_bytes();

/// How a cell of a type looks in binary COPY. Types of one form can hand their bytes to one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Bool,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    Numeric,
    Text,
    Bytes,
    Date,
    Time,
    TimeTz,
    Timestamp,
    TimestampTz,
    Interval,
    Uuid,
    Json,
    Jsonb,
}

impl Form {
    /// Returns the form, or `None` for types that travel as text.
    pub(crate) fn of(data_type: &DataType) -> Option<Form> {
        Some(match data_type {
            DataType::Bool => Form::Bool,
            DataType::Int16 => Form::Int16,
            DataType::Int32 => Form::Int32,
            DataType::Int64 => Form::Int64,
            DataType::Float32 => Form::Float32,
            DataType::Float64 => Form::Float64,
            DataType::Decimal { .. } => Form::Numeric,
            DataType::Text { .. } | DataType::Char { .. } | DataType::Enum { .. } => Form::Text,
            DataType::Bytes => Form::Bytes,
            DataType::Date => Form::Date,
            DataType::Time { .. } => Form::Time,
            DataType::TimeTz { .. } => Form::TimeTz,
            DataType::Timestamp { .. } => Form::Timestamp,
            DataType::TimestampTz { .. } => Form::TimestampTz,
            DataType::Interval => Form::Interval,
            DataType::Uuid => Form::Uuid,
            DataType::Json => Form::Json,
            DataType::Jsonb => Form::Jsonb,
            // Text is read by every type's own input function.
            _ => return None,
        })
    }
}

/// How the rows of a page are put on the wire for a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layout {
    /// The page's rows are binary COPY tuples as they stand.
    Raw,
    /// Binary COPY, cell by cell.
    Binary(Vec<Form>),
    /// Text COPY.
    Text,
}

impl Layout {
    /// Chooses the quickest layout that writes this page's columns into the table.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if the table lacks a column, or generates it.
    pub(crate) fn choose(page: &Page, table: &TableSchema) -> Result<Layout> {
        let mut raw = page.encoding() == ENCODING;
        let mut forms = Vec::with_capacity(page.columns().len());
        let mut binary = true;
        for column in page.columns().iter() {
            let target = table.column(&column.name).filter(|c| c.generated.is_none()).ok_or_else(|| {
                let message = "the target has no such column, or generates it";
                Error::new(ErrorKind::Schema, message).with("table", &table.name).with("column", &column.name)
            })?;
            match Form::of(&target.data_type) {
                Some(form) => {
                    raw = raw && Form::of(&column.data_type) == Some(form);
                    forms.push(form);
                }
                None => binary = false,
            }
        }
        Ok(match (binary, raw) {
            (false, _) => Layout::Text,
            (true, true) => Layout::Raw,
            (true, false) => Layout::Binary(forms),
        })
    }

    /// Whether the rows are sent in COPY's binary format.
    pub(crate) fn is_binary(&self) -> bool {
        !matches!(self, Layout::Text)
    }

    /// Appends one row. `ordinal` adds a leading 32-bit column with the row's place.
    ///
    /// # Errors
    /// [`ErrorKind::RowRejected`] if the row cannot be written, [`ErrorKind::Internal`] if a value was not conformed to its column.
    pub(crate) fn write_row(&self, page: &Page, row: RowRef<'_>, ordinal: Option<i32>, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Layout::Raw => match ordinal {
                None => out.extend_from_slice(row.data()),
                Some(ordinal) => {
                    binary_head(page.columns().len(), Some(ordinal), out)?;
                    out.extend_from_slice(row.data().get(2..).unwrap_or_default());
                }
            },
            Layout::Binary(forms) => {
                binary_head(page.columns().len(), ordinal, out)?;
                let mut cells = row.cells();
                for (column, form) in page.columns().iter().zip(forms) {
                    let cell = cells.next().ok_or_else(short_row)?;
                    let value = page.encoding().decode(&column.data_type, cell)?;
                    binary_cell(&value, *form, out).map_err(|e| e.with("column", &column.name))?;
                }
            }
            Layout::Text => {
                if let Some(ordinal) = ordinal {
                    out.extend_from_slice(ordinal.to_string().as_bytes());
                }
                let mut cells = row.cells();
                for (i, column) in page.columns().iter().enumerate() {
                    if i > 0 || ordinal.is_some() {
                        out.push(b'\t');
                    }
                    let cell = cells.next().ok_or_else(short_row)?;
                    text_cell(&page.encoding().decode(&column.data_type, cell)?, out);
                }
                out.push(b'\n');
            }
        }
        Ok(())
    }
}

fn short_row() -> Error {
    Error::new(ErrorKind::Corrupt, "a row has fewer cells than its page has columns")
}

fn binary_head(columns: usize, ordinal: Option<i32>, out: &mut Vec<u8>) -> Result<()> {
    let count = columns + usize::from(ordinal.is_some());
    let count =
        i16::try_from(count).map_err(|_| Error::new(ErrorKind::Unsupported, "a row has too many columns for PostgreSQL"))?;
    out.extend_from_slice(&count.to_be_bytes());
    if let Some(ordinal) = ordinal {
        fixed(&ordinal.to_be_bytes(), out);
    }
    Ok(())
}

#[inline]
fn fixed<const N: usize>(bytes: &[u8; N], out: &mut Vec<u8>) {
    out.extend_from_slice(&(N as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

#[inline]
fn sized(prefix: &[u8], bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let length = i32::try_from(prefix.len() + bytes.len())
        .map_err(|_| Error::new(ErrorKind::RowRejected, "a cell is larger than PostgreSQL can take"))?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(prefix);
    out.extend_from_slice(bytes);
    Ok(())
}

#[inline]
fn binary_cell(value: &Value<'_>, form: Form, out: &mut Vec<u8>) -> Result<()> {
    match (value, form) {
        (Value::Null, _) => out.extend_from_slice(&(-1i32).to_be_bytes()),
        (Value::Bool(v), Form::Bool) => fixed(&[u8::from(*v)], out),
        (Value::Int(v), Form::Int64) => fixed(&v.to_be_bytes(), out),
        (Value::Int(v), Form::Int32) => fixed(&i32::try_from(*v).map_err(|_| unfit(value, form))?.to_be_bytes(), out),
        (Value::Int(v), Form::Int16) => fixed(&i16::try_from(*v).map_err(|_| unfit(value, form))?.to_be_bytes(), out),
        (Value::Float(v), Form::Float64) => fixed(&v.to_be_bytes(), out),
        // Conformed values are exact in four bytes.
        (Value::Float(v), Form::Float32) => fixed(&(*v as f32).to_be_bytes(), out),
        (Value::Decimal(v), Form::Numeric) => sized(&[], v.as_bytes(), out)?,
        (Value::Text(v) | Value::Typed(v), Form::Text) => sized(&[], v.as_bytes(), out)?,
        (Value::Bytes(v), Form::Bytes) => sized(&[], v, out)?,
        (Value::Date(v), Form::Date) => fixed(&v.to_be_bytes(), out),
        (Value::Time(v), Form::Time) | (Value::Timestamp(v), Form::Timestamp) | (Value::TimestampTz(v), Form::TimestampTz) => {
            fixed(&v.to_be_bytes(), out);
        }
        (Value::TimeTz(micros, zone), Form::TimeTz) => {
            out.extend_from_slice(&12u32.to_be_bytes());
            out.extend_from_slice(&micros.to_be_bytes());
            out.extend_from_slice(&zone.to_be_bytes());
        }
        (Value::Interval { months, days, micros }, Form::Interval) => {
            out.extend_from_slice(&16u32.to_be_bytes());
            out.extend_from_slice(&micros.to_be_bytes());
            out.extend_from_slice(&days.to_be_bytes());
            out.extend_from_slice(&months.to_be_bytes());
        }
        (Value::Uuid(v), Form::Uuid) => fixed(v, out),
        (Value::Json(v), Form::Json) => sized(&[], v.as_bytes(), out)?,
        // The version of jsonb's wire form.
        (Value::Jsonb(v), Form::Jsonb) => sized(&[1], v.as_bytes(), out)?,
        _ => return Err(unfit(value, form)),
    }
    Ok(())
}

fn unfit(value: &Value<'_>, form: Form) -> Error {
    Error::new(ErrorKind::Internal, format!("a {} reached a column that takes {form:?}", value.kind()))
}

fn text_cell(value: &Value<'_>, out: &mut Vec<u8>) {
    if value.is_null() {
        out.extend_from_slice(b"\\N");
        return;
    }
    if let Value::Bytes(bytes) = value {
        // Straight into the buffer: a large cell's hexadecimal form is twice its size already.
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        out.reserve(3 + 2 * bytes.len());
        out.extend_from_slice(b"\\\\x");
        out.extend(bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]));
        return;
    }
    let text = text::to_text(value);
    let mut rest = text.as_bytes();
    // Most texts need no escape at all.
    while let Some(at) = rest.iter().position(|b| matches!(b, b'\\' | b'\n' | b'\r' | b'\t')) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(match rest[at] {
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            _ => b"\\\\",
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn text_of(value: Value<'_>) -> String {
        let mut out = Vec::new();
        text_cell(&value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_cells_keep_null_and_the_letters_for_it_apart() {
        assert_eq!(text_of(Value::Null), "\\N");
        assert_eq!(text_of(Value::Text(Cow::Borrowed("\\N"))), "\\\\N");
        assert_eq!(text_of(Value::Text(Cow::Borrowed(""))), "");
        assert_eq!(text_of(Value::Bytes(Cow::Borrowed(&[0, 0xa5]))), "\\\\x00a5");
        assert_eq!(text_of(Value::Text(Cow::Borrowed("\\."))), "\\\\.");
        assert_eq!(text_of(Value::Typed(Cow::Borrowed("a\tb\r\nü"))), "a\\tb\\r\\nü");
    }

    #[test]
    fn a_value_that_was_not_conformed_is_an_error_and_not_a_wrong_cell() {
        let mut out = Vec::new();
        let error = binary_cell(&Value::Int(1 << 40), Form::Int32, &mut out).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(binary_cell(&Value::Int(1), Form::Text, &mut out).is_err());
    }
}
