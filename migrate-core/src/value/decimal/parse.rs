//! Decimals from text.

use super::{Decimal, MAX_SCALE, NEGATIVE, POSITIVE};
use std::borrow::Cow;

/// Digits that a 64-bit number certainly holds.
const SMALL: usize = 18;

impl Decimal<'_> {
    /// Reads `[+-]digits[.digits][e[+-]digits]`, `NaN`, `Infinity` or `-Infinity`, as PostgreSQL's `numeric` does.
    ///
    /// The scale is the number of digits behind the point once the exponent is applied. `None` if the text is not of that form,
    /// or beyond what PostgreSQL can hold: 131,072 digits before the point and 16,383 behind it.
    pub fn parse(text: &str) -> Option<Decimal<'static>> {
        let (negative, unsigned) = match text.as_bytes() {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let integer = leading_digits(unsigned);
        let (fraction, rest) = match &unsigned[integer..] {
            [b'.', rest @ ..] => rest.split_at(leading_digits(rest)),
            rest => (&rest[..0], rest),
        };
        let integer = &unsigned[..integer];
        if integer.is_empty() && fraction.is_empty() {
            return match text {
                "NaN" => Some(Decimal::nan()),
                "Infinity" => Some(Decimal::infinity(false)),
                "-Infinity" => Some(Decimal::infinity(true)),
                _ => None,
            };
        }
        match rest {
            [] if integer.len() + fraction.len() <= SMALL => {
                let magnitude = integer.iter().chain(fraction).fold(0u64, |n, digit| n * 10 + u64::from(digit - b'0'));
                Some(Decimal::from_unscaled(negative, u128::from(magnitude), fraction.len() as u16))
            }
            [] => build(negative, integer, fraction, 0),
            [b'e' | b'E', exponent @ ..] => build(negative, integer, fraction, parse_exponent(exponent)?),
            _ => None,
        }
    }
}

fn leading_digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|b| b.is_ascii_digit()).count()
}

/// Reads an exponent; what is far out of range is cut to a number that still is.
fn parse_exponent(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || leading_digits(digits) != digits.len() {
        return None;
    }
    let size = digits.iter().fold(0i64, |n, digit| (n * 10 + i64::from(digit - b'0')).min(1 << 40));
    Some(if negative { -size } else { size })
}

fn build(negative: bool, integer: &[u8], fraction: &[u8], exponent: i64) -> Option<Decimal<'static>> {
    let scale = (fraction.len() as i64 - exponent).max(0);
    if scale > MAX_SCALE {
        return None;
    }
    let digit = |at: usize| if at < integer.len() { integer[at] } else { fraction[at - integer.len()] };
    let all = integer.len() + fraction.len();
    let start = (0..all).find(|at| digit(*at) != b'0').unwrap_or(all);
    let end = (start..all).rev().find(|at| digit(*at) != b'0').map_or(start, |at| at + 1);
    let mut bytes = Vec::with_capacity(10 + (end - start) / 2);
    if start == end {
        Decimal::push_header(&mut bytes, 0, 0, POSITIVE, scale as u16);
        return Some(Decimal(Cow::Owned(bytes)));
    }
    // The power of ten of the first digit decides how the groups of four lie.
    let highest = integer.len() as i64 - 1 - start as i64 + exponent;
    let weight = i16::try_from(highest.div_euclid(4)).ok()?;
    let head = highest.rem_euclid(4) as usize + 1;
    let groups = if end - start <= head { 1 } else { 1 + (end - start - head).div_ceil(4) };
    Decimal::push_header(&mut bytes, groups, weight, if negative { NEGATIVE } else { POSITIVE }, scale as u16);
    let mut at = start;
    let mut width = head;
    for _ in 0..groups {
        let group = (at..at + width).fold(0u16, |n, at| n * 10 + if at < end { u16::from(digit(at) - b'0') } else { 0 });
        bytes.extend_from_slice(&group.to_be_bytes());
        at += width;
        width = 4;
    }
    Some(Decimal(Cow::Owned(bytes)))
}
