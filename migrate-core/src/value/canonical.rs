//! The canonical encoding: one self-delimiting byte form per value, whichever database it was read from.
//!
//! It depends on the conformed value alone and is the only input of checksums. [`VERSION`] is kept beside every ledger block.
//!
//! ```text
//! value     = tag: u8, payload                         integers are big-endian
//! 0x00      null
//! 0x01      false
//! 0x02      true
//! 0x03      integer: i64
//! 0x04      float: u64, the IEEE 754 bits; every NaN is 0x7ff8000000000000, -0 is kept
//! 0x05      decimal: u32 length, then digit groups: i16, weight: i16, sign: u16, scale: i16, groups of four digits: u16 each
//!           (sign 0x0000 +, 0x4000 -, 0xc000 NaN, 0xd000 infinity, 0xf000 -infinity; no leading or trailing zero group)
//! 0x06      text: u32 length, UTF-8
//! 0x07      bytes: u32 length, the bytes
//! 0x08      date: i32 days since 2000-01-01
//! 0x09      time: i64 microseconds
//! 0x0a      time with zone: i64 microseconds, i32 seconds west of Greenwich
//! 0x0b      timestamp: i64 microseconds since 2000-01-01
//! 0x0c      timestamp with zone: i64 microseconds since 2000-01-01 UTC
//! 0x0d      interval: i64 microseconds, i32 days, i32 months
//! 0x0e      uuid: 16 bytes
//! 0x0f      json: u32 length, UTF-8 to the letter
//! 0x10      jsonb: u32 length, UTF-8 as PostgreSQL prints it
//! 0x11      typed text: u32 length, UTF-8
//! ```
//!
//! A row is its values back to back, in the order of the target's columns.

use super::{Decimal, Value};
use crate::error::{Error, ErrorKind, Result};
use sha2::block_api::compress256;
use std::borrow::Cow;

/// The version of the encoding; a ledger of another version is built anew.
pub const VERSION: u16 = 1;

const NULL: u8 = 0x00;
const FALSE: u8 = 0x01;
const TRUE: u8 = 0x02;
const INT: u8 = 0x03;
const FLOAT: u8 = 0x04;
const DECIMAL: u8 = 0x05;
const TEXT: u8 = 0x06;
const BYTES: u8 = 0x07;
const DATE: u8 = 0x08;
const TIME: u8 = 0x09;
const TIME_TZ: u8 = 0x0a;
const TIMESTAMP: u8 = 0x0b;
const TIMESTAMP_TZ: u8 = 0x0c;
const INTERVAL: u8 = 0x0d;
const UUID: u8 = 0x0e;
const JSON: u8 = 0x0f;
const JSONB: u8 = 0x10;
const TYPED: u8 = 0x11;

/// A row's checksum: the first 16 bytes of the SHA-256 of its canonical encoding.
pub type Checksum = [u8; 16];

/// What SHA-256 begins with (FIPS 180-4, 5.3.3).
const SHA256: [u32; 8] = [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Returns the checksum of a row's canonical bytes.
pub fn checksum(canonical_row: &[u8]) -> Checksum {
    // The blocks are given to the compression function where they lie: the hasher's own buffer takes half as long again as hashing a
    // short row does.
    let (blocks, rest) = canonical_row.as_chunks::<64>();
    let mut state = SHA256;
    compress256(&mut state, blocks);
    let mut end = [0; 128];
    end[..rest.len()].copy_from_slice(rest);
    end[rest.len()] = 0x80;
    // The length in bits ends the block that holds the mark, or the next where it leaves no room.
    let size = if rest.len() < 56 { 64 } else { 128 };
    end[size - 8..size].copy_from_slice(&(canonical_row.len() as u64 * 8).to_be_bytes());
    compress256(&mut state, end[..size].as_chunks::<64>().0);
    let mut short = [0; 16];
    for (bytes, word) in short.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    short
}

/// Appends the canonical encoding of a value.
#[inline]
pub fn encode_value(value: &Value<'_>, out: &mut Vec<u8>) {
    encode_into(value, out);
}

/// Where encoded bytes go.
pub(super) trait Buffer {
    fn push(&mut self, byte: u8);
    fn extend_from_slice(&mut self, bytes: &[u8]);
}

impl Buffer for Vec<u8> {
    #[inline]
    fn push(&mut self, byte: u8) {
        Vec::push(self, byte);
    }

    #[inline]
    fn extend_from_slice(&mut self, bytes: &[u8]) {
        Vec::extend_from_slice(self, bytes);
    }
}

impl<A: smallvec::Array<Item = u8>> Buffer for smallvec::SmallVec<A> {
    #[inline]
    fn push(&mut self, byte: u8) {
        smallvec::SmallVec::push(self, byte);
    }

    #[inline]
    fn extend_from_slice(&mut self, bytes: &[u8]) {
        smallvec::SmallVec::extend_from_slice(self, bytes);
    }
}

/// Returns the value, if the bytes are those of one integer and nothing else.
pub(super) fn only_int(bytes: &[u8]) -> Option<i64> {
    match bytes {
        [INT, rest @ ..] => Some(i64::from_be_bytes(rest.try_into().ok()?)),
        _ => None,
    }
}

#[inline]
pub(super) fn encode_into(value: &Value<'_>, out: &mut impl Buffer) {
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(false) => out.push(FALSE),
        Value::Bool(true) => out.push(TRUE),
        Value::Int(v) => fixed(out, INT, &v.to_be_bytes()),
        Value::Float(v) => {
            let bits = if v.is_nan() { 0x7ff8_0000_0000_0000 } else { v.to_bits() };
            fixed(out, FLOAT, &bits.to_be_bytes());
        }
        Value::Decimal(v) => sized(out, DECIMAL, v.as_bytes()),
        Value::Text(v) => sized(out, TEXT, v.as_bytes()),
        Value::Bytes(v) => sized(out, BYTES, v),
        Value::Date(v) => fixed(out, DATE, &v.to_be_bytes()),
        Value::Time(v) => fixed(out, TIME, &v.to_be_bytes()),
        Value::TimeTz(v, zone) => {
            fixed(out, TIME_TZ, &v.to_be_bytes());
            out.extend_from_slice(&zone.to_be_bytes());
        }
        Value::Timestamp(v) => fixed(out, TIMESTAMP, &v.to_be_bytes()),
        Value::TimestampTz(v) => fixed(out, TIMESTAMP_TZ, &v.to_be_bytes()),
        Value::Interval { months, days, micros } => {
            fixed(out, INTERVAL, &micros.to_be_bytes());
            out.extend_from_slice(&days.to_be_bytes());
            out.extend_from_slice(&months.to_be_bytes());
        }
        Value::Uuid(v) => fixed(out, UUID, v),
        Value::Json(v) => sized(out, JSON, v.as_bytes()),
        Value::Jsonb(v) => sized(out, JSONB, v.as_bytes()),
        Value::Typed(v) => sized(out, TYPED, v.as_bytes()),
    }
}

#[inline]
fn fixed(out: &mut impl Buffer, tag: u8, payload: &[u8]) {
    out.push(tag);
    out.extend_from_slice(payload);
}

#[inline]
fn sized(out: &mut impl Buffer, tag: u8, payload: &[u8]) {
    out.push(tag);
    // A cell is at most 2 GiB (a page refuses larger ones), so its length fits.
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.extend_from_slice(payload);
}

/// Decodes one value that fills `bytes` entirely.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if the bytes are no canonical value, or more than one.
pub fn decode_cell(bytes: &[u8]) -> Result<Value<'_>> {
    let mut rest = bytes;
    let value = decode_value(&mut rest)?;
    if rest.is_empty() { Ok(value) } else { Err(corrupt("bytes are left after a canonical value")) }
}

/// Returns the bytes of a cell that is text of some kind (text, json, jsonb, typed text), without looking whether they are UTF-8;
/// `None` if the cell is anything else, or damaged.
///
/// For those who store text as bytes; [`decode_cell`] is for all others.
#[inline]
pub fn text_bytes(cell: &[u8]) -> Option<&[u8]> {
    let (head, text) = cell.split_first_chunk::<5>()?;
    let [tag, length @ ..] = head;
    (matches!(*tag, TEXT | JSON | JSONB | TYPED) && u32::from_be_bytes(*length) as usize == text.len()).then_some(text)
}

/// Decodes the next value and moves `rest` behind it.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if the bytes are no canonical value.
pub fn decode_value<'a>(rest: &mut &'a [u8]) -> Result<Value<'a>> {
    let [tag] = take::<1>(rest)?;
    Ok(match tag {
        NULL => Value::Null,
        FALSE => Value::Bool(false),
        TRUE => Value::Bool(true),
        INT => Value::Int(i64::from_be_bytes(take(rest)?)),
        FLOAT => Value::Float(f64::from_bits(u64::from_be_bytes(take(rest)?))),
        DECIMAL => Value::Decimal(Decimal::from_bytes(Cow::Borrowed(take_sized(rest)?))?),
        TEXT => Value::Text(take_text(rest)?),
        BYTES => Value::Bytes(Cow::Borrowed(take_sized(rest)?)),
        DATE => Value::Date(i32::from_be_bytes(take(rest)?)),
        TIME => Value::Time(i64::from_be_bytes(take(rest)?)),
        TIME_TZ => Value::TimeTz(i64::from_be_bytes(take(rest)?), i32::from_be_bytes(take(rest)?)),
        TIMESTAMP => Value::Timestamp(i64::from_be_bytes(take(rest)?)),
        TIMESTAMP_TZ => Value::TimestampTz(i64::from_be_bytes(take(rest)?)),
        INTERVAL => {
            let micros = i64::from_be_bytes(take(rest)?);
            let days = i32::from_be_bytes(take(rest)?);
            Value::Interval { months: i32::from_be_bytes(take(rest)?), days, micros }
        }
        UUID => Value::Uuid(take(rest)?),
        JSON => Value::Json(take_text(rest)?),
        JSONB => Value::Jsonb(take_text(rest)?),
        TYPED => Value::Typed(take_text(rest)?),
        _ => return Err(corrupt("an unknown tag in a canonical value")),
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or_else(|| corrupt("a canonical value is cut short"))?;
    *rest = tail;
    Ok(*head)
}

fn take_sized<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8]> {
    let length = u32::from_be_bytes(take(rest)?) as usize;
    let (head, tail) = rest.split_at_checked(length).ok_or_else(|| corrupt("a canonical value is cut short"))?;
    *rest = tail;
    Ok(head)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Result<Cow<'a, str>> {
    let bytes = take_sized(rest)?;
    std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| corrupt("a canonical text is not UTF-8"))
}

fn corrupt(message: &str) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}
