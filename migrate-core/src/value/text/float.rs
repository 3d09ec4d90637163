//! Numbers: integers, and floats in the spellings of both engines.

use super::super::Decimal;
use super::super::decimal::{shortest_f32, shortest_f64};
use super::read::is_plain_number;
use std::fmt::Write;

pub(super) fn push_int(value: i64, out: &mut String) {
    // Writing to a string cannot fail.
    let _ = write!(out, "{value}");
}

/// Which floats digits are looked for.
#[derive(Clone, Copy)]
enum Width {
    Narrow,
    Wide,
}

/// The digits of a float's magnitude, without the point, and the power of ten of the first one.
struct Digits {
    text: String,
    exponent: i32,
}

impl Digits {
    fn read(scientific: &str) -> Option<Digits> {
        let (mantissa, exponent) = scientific.split_once('e')?;
        Some(Digits { text: mantissa.chars().filter(char::is_ascii_digit).collect(), exponent: exponent.parse().ok()? })
    }

    /// The shortest digits that read back to a finite float.
    fn shortest(value: f64, width: Width) -> Digits {
        let magnitude = value.abs();
        Digits::read(&match width {
            Width::Narrow => shortest_f32(magnitude as f32),
            Width::Wide => shortest_f64(magnitude),
        })
        .unwrap_or(Digits { text: "0".into(), exponent: 0 })
    }

    /// The digits that PostgreSQL prints: the shortest ones that lie strictly between the midpoints to the neighbours. Those on a
    /// midpoint would read back by the tie rule alone.
    fn postgresql(value: f64, width: Width) -> Digits {
        let shortest = Digits::shortest(value, width);
        if !shortest.on_midpoint(value, width) {
            return shortest;
        }
        let rounded = |digits: usize| {
            let rounded = Digits::read(&format!("{:.*e}", digits - 1, value.abs()))?;
            (rounded.reads_as(value.abs(), width) && !rounded.on_midpoint(value, width)).then_some(rounded)
        };
        (shortest.text.len() + 1..18).find_map(rounded).unwrap_or(shortest)
    }

    fn reads_as(&self, value: f64, width: Width) -> bool {
        let written = format!("{}e{}", self.text, self.power());
        match width {
            Width::Narrow => written.parse::<f32>().is_ok_and(|read| f64::from(read) == value),
            Width::Wide => written.parse() == Ok(value),
        }
    }

    /// The decimal of these digits with the sign of `value`.
    fn signed(&self, value: f64) -> Option<Decimal<'static>> {
        Decimal::parse(&format!("{}{}e{}", if value < 0.0 { "-" } else { "" }, self.text, self.power()))
    }

    /// The power of ten of the last digit.
    fn power(&self) -> i32 {
        self.exponent - (self.text.len() as i32 - 1)
    }

    fn on_midpoint(&self, value: f64, width: Width) -> bool {
        // A midpoint is an odd number of more bits than a mantissa times a power of two. As a decimal of at most 17 digits it has a
        // power of ten between 0 and 23 (more would need more factors of five than fit), or, for narrow floats, down to -8.
        let power = self.power();
        let Some(digits) = self.text.parse::<u128>().ok().filter(|d| *d > 0 && (-8..=23).contains(&power)) else { return false };
        let fives = 5u128.pow(power.unsigned_abs());
        let scaled = match power {
            0.. => digits * fives,
            _ if digits % fives == 0 => digits / fives,
            _ => return false,
        };
        let (odd, twos) = (scaled >> scaled.trailing_zeros(), power + scaled.trailing_zeros() as i32);
        let (mantissa, exponent, first) = match width {
            Width::Narrow => {
                let bits = (value as f32).to_bits();
                let biased = (bits >> 23) as i32 & 0xff;
                (
                    u128::from(bits & 0x7f_ffff) | u128::from(biased > 0) << 23,
                    biased.max(1) - 150,
                    biased > 1 && bits & 0x7f_ffff == 0,
                )
            }
            Width::Wide => {
                let bits = value.to_bits();
                let biased = (bits >> 52) as i32 & 0x7ff;
                let fraction = bits & ((1 << 52) - 1);
                (u128::from(fraction) | u128::from(biased > 0) << 52, biased.max(1) - 1_075, biased > 1 && fraction == 0)
            }
        };
        // Below a power of two the floats lie twice as close.
        let below = if first { (4 * mantissa - 1, exponent - 2) } else { (2 * mantissa - 1, exponent - 1) };
        [(2 * mantissa + 1, exponent - 1), below].contains(&(odd, twos))
    }

    fn push_fixed(&self, out: &mut String) {
        match usize::try_from(self.exponent) {
            Err(_) => {
                out.push_str("0.");
                (1..self.exponent.unsigned_abs()).for_each(|_| out.push('0'));
                out.push_str(&self.text);
            }
            Ok(exponent) if exponent + 1 >= self.text.len() => {
                out.push_str(&self.text);
                (self.text.len()..=exponent).for_each(|_| out.push('0'));
            }
            Ok(exponent) => {
                let (integer, fraction) = self.text.split_at(exponent + 1);
                out.push_str(integer);
                out.push('.');
                out.push_str(fraction);
            }
        }
    }

    fn push_scientific(&self, always_point: bool, out: &mut String) {
        let (first, rest) = self.text.split_at(1);
        out.push_str(first);
        if !rest.is_empty() || always_point {
            out.push('.');
            out.push_str(if rest.is_empty() { "0" } else { rest });
        }
        let sign = if self.exponent < 0 { '-' } else { '+' };
        // Writing to a string cannot fail.
        let _ = write!(out, "e{sign}{:02}", self.exponent.unsigned_abs());
    }
}

/// Appends a float as PostgreSQL prints it.
pub(super) fn push_float(value: f64, out: &mut String) {
    if value.is_nan() {
        return out.push_str("NaN");
    }
    if value.is_sign_negative() {
        out.push('-');
    }
    if value.is_infinite() {
        return out.push_str("Infinity");
    }
    if value == 0.0 {
        return out.push('0');
    }
    let start = out.len();
    if (1e-4..1e15).contains(&value.abs()) {
        // Rust prints the shortest digits, too. Up to 15 of them leave no choice, and leading zeros only make the count larger.
        let _ = write!(out, "{}", value.abs());
        if out.len() - start <= 15 {
            return;
        }
        out.truncate(start);
    }
    let digits = Digits::postgresql(value, Width::Wide);
    if (-4..15).contains(&digits.exponent) { digits.push_fixed(out) } else { digits.push_scientific(false, out) }
}

/// Returns the text that SQLite makes of a real, with as many digits as it takes to read back (SQLite stops at 15).
pub(crate) fn sqlite_float(value: f64) -> String {
    let mut out = String::with_capacity(24);
    if value.is_nan() {
        out.push_str("NaN");
        return out;
    }
    if value.is_sign_negative() {
        out.push('-');
    }
    if value.is_infinite() {
        out.push_str("Inf");
        return out;
    }
    let digits = Digits::shortest(value, Width::Wide);
    if (-4..15).contains(&digits.exponent) {
        let start = out.len();
        digits.push_fixed(&mut out);
        if !out[start..].contains('.') {
            out.push_str(".0");
        }
    } else {
        digits.push_scientific(true, &mut out);
    }
    out
}

/// Reads a float whose digits it stands for: the text is the shortest decimal of the nearest float, whatever the zeros around it.
pub(crate) fn read_float(text: &str, narrow: bool) -> Option<f64> {
    match text {
        "NaN" => return Some(f64::NAN),
        "Infinity" | "Inf" => return Some(f64::INFINITY),
        "-Infinity" | "-Inf" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    if !is_plain_number(text.as_bytes(), true) {
        return None;
    }
    let wide: f64 = text.parse().ok()?;
    let value = if narrow { f64::from(text.parse::<f32>().ok()?) } else { wide };
    if !value.is_finite() {
        return None;
    }
    let digits = text.bytes().take_while(|b| !matches!(b, b'e' | b'E')).filter(u8::is_ascii_digit).count();
    // Up to 15 digits are the shortest decimal of the nearest normal double.
    if !narrow
        && digits <= 15
        && (value.abs() >= f64::MIN_POSITIVE || value == 0.0 && !text.bytes().any(|b| matches!(b, b'1'..=b'9' | b'e' | b'E')))
    {
        return Some(value);
    }
    let written = Decimal::parse(text)?;
    // PostgreSQL's spelling may have a digit more than the shortest one; it reads back strictly.
    let stands_for = written.same_number(&Decimal::from_f64(value))
        || (narrow && written.same_number(&Decimal::from_f32(value as f32)))
        || (narrow && written.same_number(&Digits::postgresql(value, Width::Narrow).signed(value)?))
        || written.same_number(&Digits::postgresql(value, Width::Wide).signed(value)?);
    stands_for.then_some(value)
}
