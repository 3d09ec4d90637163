//! Reading numbers, dates, times and timestamps from the listed forms.

use super::super::{Decimal, Value};
use super::calendar;
use super::moment::{DAY, date_in_range, timestamp_in_range};

/// Reads digits with an optional minus; no plus, no leading zero, no -0, so that the number prints back as the same text.
pub(crate) fn read_integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = match digits.as_bytes() {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if plain { text.parse().ok() } else { None }
}

/// Reads digits with an optional minus and fraction, no exponent; NaN and the infinities as PostgreSQL prints them.
pub(crate) fn read_decimal(text: &str) -> Option<Decimal<'static>> {
    let plain = is_plain_number(text.as_bytes(), false) || matches!(text, "NaN" | "Infinity" | "-Infinity");
    if plain { Decimal::parse(text) } else { None }
}

/// Returns whether the text is `[-]digits[.digits]`, without needless zeros in front, and an exponent where that is allowed.
pub(super) fn is_plain_number(text: &[u8], exponent: bool) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|b| b.is_ascii_digit()).count();
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let integer = digits(text);
    if integer == 0 || (integer > 1 && text[0] == b'0') {
        return false;
    }
    let mut rest = &text[integer..];
    if let [b'.', fraction @ ..] = rest {
        let count = digits(fraction);
        if count == 0 {
            return false;
        }
        rest = &fraction[count..];
    }
    match rest {
        [] => true,
        [b'e' | b'E', rest @ ..] if exponent => {
            let rest = match rest {
                [b'+' | b'-', rest @ ..] => rest,
                _ => rest,
            };
            !rest.is_empty() && digits(rest) == rest.len()
        }
        _ => false,
    }
}

/// Which kind of moment a text is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Date,
    Time,
    TimeTz,
    Timestamp,
    TimestampTz,
}

/// Reads a date, time or timestamp, or says what was expected.
///
/// `YYYY-MM-DD`, `hh:mm:ss[.ffffff]`, both with a blank or `T` between them; a zone `Z`, `±hh`, `±hh:mm` or `±hh:mm:ss` where the
/// kind has one, and only there; ` BC` at the end, `infinity` and `-infinity`. A date alone is midnight for a local timestamp.
pub(crate) fn read_moment(text: &str, kind: Moment) -> Result<Value<'static>, &'static str> {
    let mut rest = text.as_bytes();
    match kind {
        Moment::Time | Moment::TimeTz => {
            let time = read_clock(&mut rest, true)?;
            if kind == Moment::Time {
                return if rest.is_empty() { Ok(Value::Time(time)) } else { Err(trailing(rest, "a time of day without a zone")) };
            }
            let west = read_zone(&mut rest)?;
            if rest.is_empty() { Ok(Value::TimeTz(time, west)) } else { Err("a time of day as hh:mm:ss[.ffffff] with a zone") }
        }
        Moment::Date => match text {
            "infinity" => Ok(Value::Date(i32::MAX)),
            "-infinity" => Ok(Value::Date(i32::MIN)),
            _ => {
                let (year, month, day) = read_date(&mut rest)?;
                let days = day_number(year, month, day, read_era(&mut rest))?;
                match i32::try_from(days) {
                    _ if !rest.is_empty() => Err("a date as YYYY-MM-DD and nothing else"),
                    Ok(days) if date_in_range(i64::from(days)) => Ok(Value::Date(days)),
                    _ => Err("a date between 4714-11-24 BC and 5874897-12-31"),
                }
            }
        },
        Moment::Timestamp | Moment::TimestampTz => {
            let wrap = if kind == Moment::Timestamp { Value::Timestamp } else { Value::TimestampTz };
            match text {
                "infinity" => return Ok(wrap(i64::MAX)),
                "-infinity" => return Ok(wrap(i64::MIN)),
                _ => {}
            }
            let (year, month, day) = read_date(&mut rest)?;
            let mut time = 0;
            let mut has_time = false;
            if let [b' ' | b'T', clock @ ..] = rest
                && clock.first().is_some_and(u8::is_ascii_digit)
            {
                rest = clock;
                time = read_clock(&mut rest, false)?;
                has_time = true;
            }
            if kind == Moment::TimestampTz {
                if !has_time {
                    return Err("a timestamp with a time and a zone");
                }
                time += i64::from(read_zone(&mut rest)?) * 1_000_000;
            }
            let days = day_number(year, month, day, read_era(&mut rest))?;
            if !rest.is_empty() {
                return Err(if kind == Moment::Timestamp {
                    trailing(rest, "a timestamp without a zone")
                } else {
                    "a timestamp as YYYY-MM-DD hh:mm:ss[.ffffff] with a zone"
                });
            }
            days.checked_mul(DAY)
                .and_then(|micros| micros.checked_add(time))
                .filter(|micros| timestamp_in_range(*micros))
                .map(wrap)
                .ok_or("a timestamp between 4714-11-24 BC and the year 294276")
        }
    }
}

/// Says what stands behind a moment that should have ended.
fn trailing(rest: &[u8], without_zone: &'static str) -> &'static str {
    match rest {
        [b'Z' | b'z' | b'+' | b'-', ..] => without_zone,
        _ => "a date or time in one of the listed forms and nothing else",
    }
}

const DATE_FORM: &str = "a date as YYYY-MM-DD";
const TIME_FORM: &str = "a time as hh:mm:ss[.ffffff]";
const ZONE_FORM: &str = "a zone as Z, ±hh or ±hh:mm behind the time";

fn read_date(rest: &mut &[u8]) -> Result<(i64, u32, u32), &'static str> {
    let width = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    // Four digits, or more where there must be.
    if !(4..=7).contains(&width) || (width > 4 && rest[0] == b'0') {
        return Err(DATE_FORM);
    }
    let (digits, tail) = rest.split_at(width);
    let year = digits.iter().fold(0i64, |n, d| n * 10 + i64::from(d - b'0'));
    *rest = tail;
    let month = expect_two(rest, b'-').ok_or(DATE_FORM)?;
    let day = expect_two(rest, b'-').ok_or(DATE_FORM)?;
    Ok((year, month, day))
}

fn read_era(rest: &mut &[u8]) -> bool {
    match rest.strip_suffix(b" BC") {
        Some([]) => {
            *rest = &[];
            true
        }
        _ => false,
    }
}

fn day_number(year: i64, month: u32, day: u32, before_christ: bool) -> Result<i64, &'static str> {
    if year == 0 {
        return Err("a year from 1 on");
    }
    let year = if before_christ { 1 - year } else { year };
    if day == 0 || day > calendar::days_in_month(year, month) {
        return Err("a day that the calendar has");
    }
    Ok(calendar::day_number(year, month, day))
}

/// Reads `hh:mm:ss[.f…]` as microseconds; more than six digits of a fraction only if the rest are zeros.
fn read_clock(rest: &mut &[u8], allow_24: bool) -> Result<i64, &'static str> {
    let hours = two_digits(rest).ok_or(TIME_FORM)?;
    let minutes = expect_two(rest, b':').ok_or(TIME_FORM)?;
    let seconds = expect_two(rest, b':').ok_or(TIME_FORM)?;
    let mut micros = 0;
    if let [b'.', fraction @ ..] = *rest {
        let width = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if width == 0 {
            return Err(TIME_FORM);
        }
        let (digits, tail) = fraction.split_at(width);
        if digits.iter().skip(6).any(|d| *d != b'0') {
            return Err("at most six digits of a second's fraction");
        }
        micros = digits.iter().chain(b"000000").take(6).fold(0i64, |n, d| n * 10 + i64::from(d - b'0'));
        *rest = tail;
    }
    let time = (i64::from(hours) * 3_600 + i64::from(minutes) * 60 + i64::from(seconds)) * 1_000_000 + micros;
    if minutes > 59 || seconds > 59 || time > DAY || (time == DAY && !allow_24) {
        return Err("a time that the clock has");
    }
    Ok(time)
}

/// Reads a zone as seconds west of Greenwich.
fn read_zone(rest: &mut &[u8]) -> Result<i32, &'static str> {
    let east = match rest.split_first() {
        Some((b'Z', tail)) => {
            *rest = tail;
            return Ok(0);
        }
        Some((sign @ (b'+' | b'-'), tail)) => {
            *rest = tail;
            *sign == b'+'
        }
        _ => return Err(ZONE_FORM),
    };
    let hours = two_digits(rest).ok_or(ZONE_FORM)?;
    let mut parts = [0u32; 2];
    for part in &mut parts {
        if rest.first() != Some(&b':') {
            break;
        }
        *part = expect_two(rest, b':').filter(|n| *n < 60).ok_or(ZONE_FORM)?;
    }
    // PostgreSQL takes zones below 16 hours.
    let seconds = (hours * 3_600 + parts[0] * 60 + parts[1]) as i32;
    if hours > 15 {
        return Err("a zone below 16 hours");
    }
    Ok(if east { -seconds } else { seconds })
}

fn expect_two(rest: &mut &[u8], mark: u8) -> Option<u32> {
    *rest = rest.strip_prefix(&[mark])?;
    two_digits(rest)
}

fn two_digits(rest: &mut &[u8]) -> Option<u32> {
    match rest {
        [tens @ b'0'..=b'9', units @ b'0'..=b'9', tail @ ..] => {
            let number = u32::from(tens - b'0') * 10 + u32::from(units - b'0');
            *rest = tail;
            Some(number)
        }
        _ => None,
    }
}
