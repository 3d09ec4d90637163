//! PostgreSQL's binary cell forms, decoded without copying.

use migrate_core::value::{DataType, Decimal, Encoding, Value};
use migrate_core::{Error, ErrorKind, Result};
use std::borrow::Cow;

/// Cells as PostgreSQL's binary COPY sends them; types without a [`Value`] variant of their own as their UTF-8 text.
pub const ENCODING: Encoding = Encoding::new("postgres-binary", decode).with_text_bytes(text_bytes);

fn text_bytes<'a>(data_type: &DataType, cell: &'a [u8]) -> Option<&'a [u8]> {
    match data_type {
        DataType::Text { .. } | DataType::Char { .. } | DataType::Enum { .. } | DataType::Json | DataType::Other { .. } => {
            Some(cell)
        }
        DataType::Jsonb => cell.split_first().filter(|(version, _)| **version == 1).map(|(_, rest)| rest),
        _ => None,
    }
}

/// Decodes one cell that is not NULL.
#[inline]
fn decode<'a>(data_type: &DataType, cell: &'a [u8]) -> Result<Value<'a>> {
    Ok(match data_type {
        DataType::Bool => match cell {
            [byte] => Value::Bool(*byte != 0),
            _ => return Err(malformed("boolean")),
        },
        DataType::Int16 | DataType::Int32 | DataType::Int64 => Value::Int(int(cell)?),
        DataType::Float64 | DataType::Float32 => Value::Float(float(cell)?),
        DataType::Decimal { .. } => Value::Decimal(Decimal::from_bytes(Cow::Borrowed(cell))?),
        DataType::Text { .. } | DataType::Char { .. } | DataType::Enum { .. } => Value::Text(text(cell)?),
        DataType::Bytes => Value::Bytes(Cow::Borrowed(cell)),
        DataType::Date => Value::Date(i32::from_be_bytes(fixed(cell, "date")?)),
        DataType::Time { .. } => Value::Time(i64::from_be_bytes(fixed(cell, "time")?)),
        DataType::TimeTz { .. } => {
            let all: [u8; 12] = fixed(cell, "time with time zone")?;
            let (micros, zone) = halves::<8, 4>(&all)?;
            Value::TimeTz(i64::from_be_bytes(micros), i32::from_be_bytes(zone))
        }
        DataType::Timestamp { .. } => Value::Timestamp(i64::from_be_bytes(fixed(cell, "timestamp")?)),
        DataType::TimestampTz { .. } => Value::TimestampTz(i64::from_be_bytes(fixed(cell, "timestamp")?)),
        DataType::Interval => {
            let all: [u8; 16] = fixed(cell, "interval")?;
            let (micros, rest) = halves::<8, 8>(&all)?;
            let (days, months) = halves::<4, 4>(&rest)?;
            let (days, months) = (i32::from_be_bytes(days), i32::from_be_bytes(months));
            Value::Interval { months, days, micros: i64::from_be_bytes(micros) }
        }
        DataType::Uuid => Value::Uuid(fixed(cell, "uuid")?),
        DataType::Json => Value::Json(text(cell)?),
        DataType::Jsonb => match cell.split_first() {
            // The version of the wire form; there has only ever been 1.
            Some((1, rest)) => Value::Jsonb(text(rest)?),
            _ => return Err(malformed("jsonb")),
        },
        DataType::Other { .. } => Value::Typed(text(cell)?),
        other => return Err(Error::new(ErrorKind::Corrupt, format!("PostgreSQL has no cells of the type {other}"))),
    })
}

#[inline]
fn int(cell: &[u8]) -> Result<i64> {
    match cell.len() {
        8 => Ok(i64::from_be_bytes(fixed(cell, "bigint")?)),
        4 => Ok(i64::from(i32::from_be_bytes(fixed(cell, "integer")?))),
        2 => Ok(i64::from(i16::from_be_bytes(fixed(cell, "smallint")?))),
        _ => Err(malformed("integer")),
    }
}

#[inline]
fn float(cell: &[u8]) -> Result<f64> {
    match cell.len() {
        8 => Ok(f64::from_be_bytes(fixed(cell, "double precision")?)),
        4 => Ok(f64::from(f32::from_be_bytes(fixed(cell, "real")?))),
        _ => Err(malformed("float")),
    }
}

#[inline]
fn text(cell: &[u8]) -> Result<Cow<'_, str>> {
    // A database in SQL_ASCII holds whatever bytes it was given.
    std::str::from_utf8(cell).map(Cow::Borrowed).map_err(|_| {
        Error::new(ErrorKind::RowRejected, "a text is not UTF-8, as may be in a database with the encoding SQL_ASCII")
    })
}

#[inline]
fn fixed<const N: usize>(cell: &[u8], what: &'static str) -> Result<[u8; N]> {
    cell.try_into().map_err(|_| malformed(what))
}

fn halves<const A: usize, const B: usize>(bytes: &[u8]) -> Result<([u8; A], [u8; B])> {
    let (a, b) = bytes.split_first_chunk::<A>().ok_or_else(|| malformed("value"))?;
    Ok((*a, fixed(b, "value")?))
}

#[cold]
fn malformed(what: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("a cell does not have the binary form of a {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_native_type_is_decoded_from_its_wire_form() {
        let cases: &[(DataType, &[u8], Value<'_>)] = &[
            (DataType::Bool, &[1], Value::Bool(true)),
            (DataType::Int16, &[0xff, 0xfe], Value::Int(-2)),
            (DataType::Int32, &[0x80, 0, 0, 0], Value::Int(i64::from(i32::MIN))),
            (DataType::Int64, &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Value::Int(i64::MAX)),
            (DataType::Float32, &0.5f32.to_be_bytes(), Value::Float(0.5)),
            (DataType::TEXT, "é".as_bytes(), Value::Text("é".into())),
            (DataType::Bytes, &[0, 255], Value::Bytes([0u8, 255].as_slice().into())),
            (DataType::Date, &[0x80, 0, 0, 0], Value::Date(i32::MIN)),
            (DataType::Timestamp { precision: None }, &i64::MAX.to_be_bytes(), Value::Timestamp(i64::MAX)),
            (DataType::TimeTz { precision: None }, &[0, 0, 0, 0, 0, 0, 0, 5, 0xff, 0xff, 0xf1, 0xf0], Value::TimeTz(5, -3600)),
            (
                DataType::Interval,
                &[0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1],
                Value::Interval { months: 1, days: 2, micros: 3 },
            ),
            (DataType::Jsonb, b"\x01{}", Value::Jsonb("{}".into())),
            (DataType::Other { name: "inet".into() }, b"::1", Value::Typed("::1".into())),
        ];
        for (data_type, cell, expected) in cases {
            assert_eq!(&ENCODING.decode(data_type, Some(cell)).expect("well formed"), expected, "{data_type}");
        }
        assert_eq!(ENCODING.decode(&DataType::Bool, None).expect("NULL"), Value::Null);
    }

    #[test]
    fn a_cell_of_a_wrong_length_is_an_error() {
        let types = [DataType::Bool, DataType::Int64, DataType::Float64, DataType::Date, DataType::Interval, DataType::Uuid];
        for data_type in types {
            assert_eq!(ENCODING.decode(&data_type, Some(&[1, 2, 3])).expect_err("3 bytes").kind(), ErrorKind::Corrupt);
        }
        assert_eq!(ENCODING.decode(&DataType::TEXT, Some(&[0xff])).expect_err("no UTF-8").kind(), ErrorKind::RowRejected);
    }
}
