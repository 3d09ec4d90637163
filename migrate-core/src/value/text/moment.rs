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

/// Digits are collected here and appended at once. The longest moment has fewer characters.
struct Line {
    bytes: [u8; 64],
    length: usize,
}

impl Line {
    fn new() -> Self {
        Line { bytes: [0; 64], length: 0 }
    }

    #[inline]
    fn mark(&mut self, mark: u8) {
        self.bytes[self.length] = mark;
        self.length += 1;
    }

    #[inline]
    fn two(&mut self, number: u64) {
        self.mark(b'0' + (number / 10) as u8);
        self.mark(b'0' + (number % 10) as u8);
    }

    /// A number with at least so many digits, two or more.
    fn padded(&mut self, number: u64, width: usize) {
        let digits = number.checked_ilog10().map_or(1, |log| log as usize + 1).max(width);
        let mut rest = number;
        for at in (self.length..self.length + digits).rev() {
            self.bytes[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        self.length += digits;
    }

    /// Year, month and day; returns whether the year is before Christ.
    fn day(&mut self, days: i64) -> bool {
        let (year, month, day) = calendar::date_of(days);
        let before_christ = year <= 0;
        self.padded(if before_christ { 1 - year } else { year }.unsigned_abs(), 4);
        self.mark(b'-');
        self.two(u64::from(month));
        self.mark(b'-');
        self.two(u64::from(day));
        before_christ
    }

    /// `hh:mm:ss[.ffffff]`; the hours may have more digits.
    fn clock(&mut self, micros: u64) {
        let (seconds, fraction) = (micros / SECOND as u64, micros % SECOND as u64);
        self.padded(seconds / 3_600, 2);
        self.mark(b':');
        self.two(seconds / 60 % 60);
        self.mark(b':');
        self.two(seconds % 60);
        if fraction > 0 {
            self.mark(b'.');
            self.padded(fraction, 6);
            while self.bytes[self.length - 1] == b'0' {
                self.length -= 1;
            }
        }
    }

    fn push_to(&self, out: &mut String) {
        out.push_str(std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default());
    }
}

pub(super) fn push_date(days: i32, out: &mut String) {
    match days {
        i32::MIN => out.push_str("-infinity"),
        i32::MAX => out.push_str("infinity"),
        _ => {
            let mut line = Line::new();
            let before_christ = line.day(i64::from(days));
            line.push_to(out);
            if before_christ {
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
            let mut line = Line::new();
            let before_christ = line.day(micros.div_euclid(DAY));
            line.mark(b' ');
            line.clock(micros.rem_euclid(DAY).unsigned_abs());
            line.push_to(out);
            out.push_str(zone);
            if before_christ {
                out.push_str(" BC");
            }
        }
    }
}

/// Prints an instant as `2023-11-15T02:13:20.022Z`, with six digits where three would round; `None` where the year has not four digits.
pub(crate) fn iso8601(micros: i64) -> Option<String> {
    // 0001-01-01 to 9999-12-31.
    const YEARS: std::ops::Range<i64> = -730_119 * DAY..2_921_940 * DAY;
    if !YEARS.contains(&micros) {
        return None;
    }
    let mut line = Line::new();
    line.day(micros.div_euclid(DAY));
    line.mark(b'T');
    let clock = micros.rem_euclid(DAY);
    line.clock((clock - clock % SECOND).unsigned_abs());
    line.mark(b'.');
    let fraction = (clock % SECOND).unsigned_abs();
    if fraction.is_multiple_of(1_000) {
        line.padded(fraction / 1_000, 3);
    } else {
        line.padded(fraction, 6);
    }
    line.mark(b'Z');
    let mut out = String::with_capacity(line.length);
    line.push_to(&mut out);
    Some(out)
}

/// Prints `hh:mm:ss[.ffffff]`; the hours may have more digits.
pub(super) fn push_clock(micros: u64, out: &mut String) {
    let mut line = Line::new();
    line.clock(micros);
    line.push_to(out);
}

pub(super) fn push_time(micros: i64, out: &mut String) {
    push_clock(micros.unsigned_abs(), out);
}

/// Prints a zone given in seconds west of Greenwich.
pub(super) fn push_zone(west: i32, out: &mut String) {
    let mut line = Line::new();
    line.mark(if west <= 0 { b'+' } else { b'-' });
    let seconds = u64::from(west.unsigned_abs());
    line.padded(seconds / 3_600, 2);
    if !seconds.is_multiple_of(3_600) {
        line.mark(b':');
        line.two(seconds / 60 % 60);
    }
    if !seconds.is_multiple_of(60) {
        line.mark(b':');
        line.two(seconds % 60);
    }
    line.push_to(out);
}
