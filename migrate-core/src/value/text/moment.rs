//! Printing dates, times and timestamps.

use super::super::Value;
use super::calendar;

const SECOND: i64 = 1_000_000;
/// Microseconds of a day.
pub(crate) const DAY: i64 = 86_400 * SECOND;
/// The first day of both engines' calendars, 4714-11-24 BC, and the one behind the last timestamp, 294277-01-01.
const FIRST_DAY: i64 = -2_451_545;
const END_DAY: i64 = 106_751_983;

/// Returns whether PostgreSQL has such a timestamp (infinities apart).
pub(crate) fn timestamp_in_range(micros: i64) -> bool {
    (FIRST_DAY * DAY..END_DAY * DAY).contains(&micros)
}

/// Returns whether PostgreSQL has such a date (infinities apart).
pub(super) fn date_in_range(days: i64) -> bool {
    // The last date is 5874897-12-31.
    (FIRST_DAY..=2_145_031_948).contains(&days)
}

/// Returns whether a value's fraction of a second has no more digits than the column keeps.
pub(crate) fn fits_fraction(value: &Value<'_>, precision: Option<u32>) -> bool {
    let micros = match value {
        Value::Time(v) | Value::TimeTz(v, _) => *v,
        Value::Timestamp(v) | Value::TimestampTz(v) if !matches!(*v, i64::MIN | i64::MAX) => *v,
        _ => return true,
    };
    precision.is_none_or(|p| micros % 10i64.pow(6u32.saturating_sub(p)) == 0)
}

pub(super) fn push_date(days: i32, out: &mut String) {
    match days {
        i32::MIN => out.push_str("-infinity"),
        i32::MAX => out.push_str("infinity"),
        _ => {
            if push_day(i64::from(days), out) {
                out.push_str(" BC");
            }
        }
    }
}

pub(super) fn push_timestamp(micros: i64, zone: &str, out: &mut String) {
    match micros {
        i64::MIN => out.push_str("-infinity"),
        i64::MAX => out.push_str("infinity"),
        _ => {
            let before_christ = push_day(micros.div_euclid(DAY), out);
            out.push(' ');
            push_time(micros.rem_euclid(DAY), out);
            out.push_str(zone);
            if before_christ {
                out.push_str(" BC");
            }
        }
    }
}

/// Prints year, month and day; returns whether the year is before Christ.
fn push_day(days: i64, out: &mut String) -> bool {
    let (year, month, day) = calendar::date_of(days);
    let before_christ = year <= 0;
    push_padded(if before_christ { 1 - year } else { year }.unsigned_abs(), 4, out);
    out.push('-');
    push_padded(u64::from(month), 2, out);
    out.push('-');
    push_padded(u64::from(day), 2, out);
    before_christ
}

pub(super) fn push_time(micros: i64, out: &mut String) {
    push_clock(micros.unsigned_abs(), out);
}

/// Prints `hh:mm:ss[.ffffff]`; the hours may have more digits.
pub(super) fn push_clock(micros: u64, out: &mut String) {
    let seconds = micros / SECOND as u64;
    push_padded(seconds / 3_600, 2, out);
    out.push(':');
    push_padded(seconds / 60 % 60, 2, out);
    out.push(':');
    push_padded(seconds % 60, 2, out);
    let mut fraction = micros % SECOND as u64;
    if fraction > 0 {
        let mut digits = 6;
        while fraction.is_multiple_of(10) {
            fraction /= 10;
            digits -= 1;
        }
        out.push('.');
        push_padded(fraction, digits, out);
    }
}

/// Prints a zone given in seconds west of Greenwich.
pub(super) fn push_zone(west: i32, out: &mut String) {
    out.push(if west <= 0 { '+' } else { '-' });
    let seconds = u64::from(west.unsigned_abs());
    push_padded(seconds / 3_600, 2, out);
    if !seconds.is_multiple_of(3_600) {
        out.push(':');
        push_padded(seconds / 60 % 60, 2, out);
    }
    if !seconds.is_multiple_of(60) {
        out.push(':');
        push_padded(seconds % 60, 2, out);
    }
}

fn push_padded(number: u64, width: usize, out: &mut String) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    let mut rest = number;
    while rest > 0 || digits.len() - at < width {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.push_str(std::str::from_utf8(&digits[at..]).unwrap_or_default());
}
