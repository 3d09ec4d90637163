//! Intervals in PostgreSQL's own style.

use super::super::Value;
use super::moment::push_clock;
use std::fmt::Write;

/// PostgreSQL 17's infinity; older servers never have this interval.
const INFINITY: (i32, i32, i64) = (i32::MAX, i32::MAX, i64::MAX);
const NEGATIVE_INFINITY: (i32, i32, i64) = (i32::MIN, i32::MIN, i64::MIN);

pub(super) fn push_interval(months: i32, days: i32, micros: i64, out: &mut String) {
    match (months, days, micros) {
        INFINITY => return out.push_str("infinity"),
        NEGATIVE_INFINITY => return out.push_str("-infinity"),
        _ => {}
    }
    let start = out.len();
    // A part behind a negative one says its plus.
    let mut after_negative = false;
    for (count, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if count != 0 {
            let blank = if out.len() > start { " " } else { "" };
            let plus = if after_negative && count > 0 { "+" } else { "" };
            let plural = if count == 1 { "" } else { "s" };
            // Writing to a string cannot fail.
            let _ = write!(out, "{blank}{plus}{count} {unit}{plural}");
            after_negative = count < 0;
        }
    }
    if micros != 0 || out.len() == start {
        if out.len() > start {
            out.push(' ');
        }
        if micros < 0 {
            out.push('-');
        } else if after_negative {
            out.push('+');
        }
        push_clock(micros.unsigned_abs(), out);
    }
}

/// Reads what [`push_interval`] prints, and nothing else.
pub(super) fn parse_interval(text: &str) -> Option<Value<'static>> {
    let (months, days, micros) = match text {
        "infinity" => INFINITY,
        "-infinity" => NEGATIVE_INFINITY,
        _ => read_parts(text)?,
    };
    let mut printed = String::with_capacity(text.len());
    push_interval(months, days, micros, &mut printed);
    (printed == text).then_some(Value::Interval { months, days, micros })
}

/// Reads the parts leniently; the caller compares what they print.
fn read_parts(text: &str) -> Option<(i32, i32, i64)> {
    let (mut months, mut days, mut micros) = (0i64, 0i32, 0i64);
    let mut words = text.split(' ');
    while let Some(word) = words.next() {
        if word.contains(':') {
            micros = read_clock(word)?;
            continue;
        }
        let count: i32 = word.parse().ok()?;
        match words.next()? {
            "year" | "years" => months += i64::from(count) * 12,
            "mon" | "mons" => months += i64::from(count),
            "day" | "days" => days = count,
            _ => return None,
        }
    }
    Some((i32::try_from(months).ok()?, days, micros))
}

fn read_clock(word: &str) -> Option<i64> {
    let (negative, clock) = match word.as_bytes().first()? {
        b'-' => (true, &word[1..]),
        b'+' => (false, &word[1..]),
        _ => (false, word),
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut parts = clock.split(':');
    let mut next = || parts.next().and_then(|p| p.parse::<u64>().ok()).map(i128::from);
    let (hours, minutes, seconds) = (next()?, next()?, next()?);
    if fraction.len() > 6 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let fraction = fraction.bytes().chain("000000".bytes()).take(6).fold(0, |n, d| n * 10 + i128::from(d - b'0'));
    let micros = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + fraction;
    i64::try_from(if negative { -micros } else { micros }).ok()
}
