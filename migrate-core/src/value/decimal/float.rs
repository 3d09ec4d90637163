//! Decimals and binary floats: a float stands for the shortest decimal that reads back to the same bits.

use super::{Decimal, Misfit};

const POWERS: [f64; 16] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Returns the shortest digits that read back to a finite float, with an exponent; of two that are equally near, the even ones.
pub(crate) fn shortest_f64(value: f64) -> String {
    let shortest = format!("{value:e}");
    // Two decimals of up to 15 digits never stand for one float, so there is no choice.
    match digit_count(&shortest) {
        ..16 => shortest,
        count => Some(format!("{value:.*e}", count - 1)).filter(|even| even.parse() == Ok(value)).unwrap_or(shortest),
    }
}

/// Like [`shortest_f64`] for a 32-bit float, which may have a choice from 7 digits on.
pub(crate) fn shortest_f32(value: f32) -> String {
    let shortest = format!("{value:e}");
    match digit_count(&shortest) {
        ..7 => shortest,
        count => Some(format!("{value:.*e}", count - 1)).filter(|even| even.parse() == Ok(value)).unwrap_or(shortest),
    }
}

fn digit_count(scientific: &str) -> usize {
    scientific.bytes().take_while(|b| *b != b'e').filter(u8::is_ascii_digit).count()
}

impl Decimal<'static> {
    /// Returns the shortest decimal that reads back to the same float, with the smallest scale; -0.0 becomes 0.
    pub fn from_f64(value: f64) -> Decimal<'static> {
        if value.is_nan() {
            return Decimal::nan();
        }
        if value.is_infinite() {
            return Decimal::infinity(value < 0.0);
        }
        // Every double has fewer digits than a decimal can hold.
        Decimal::parse(&shortest_f64(value)).map_or_else(Decimal::nan, |d| d.trimmed())
    }

    /// Like [`Decimal::from_f64`] for a 32-bit float.
    pub fn from_f32(value: f32) -> Decimal<'static> {
        if !value.is_finite() {
            return Decimal::from_f64(f64::from(value));
        }
        Decimal::parse(&shortest_f32(value)).map_or_else(Decimal::nan, |d| d.trimmed())
    }

    /// Returns `Decimal::from_f64(value).fit(precision, scale)`, mostly without the detour over text.
    ///
    /// # Errors
    /// As [`Decimal::fit`].
    pub fn fit_f64(value: f64, precision: Option<u32>, scale: Option<i32>) -> Result<Decimal<'static>, Misfit> {
        if let (Some(precision), Some(scale)) = (precision, scale)
            && let Some(power) = usize::try_from(scale).ok().and_then(|s| POWERS.get(s))
        {
            let unscaled = (value * power).round();
            // Both operands of the division are exact and it rounds correctly, so `unscaled / power` reads back to this float.
            // No other decimal of at most 15 digits does, so it is the shortest one.
            if unscaled.abs() < 1e15 && unscaled / power == value {
                let magnitude = unscaled.abs() as u64;
                return if magnitude > 0 && magnitude.ilog10() >= precision {
                    Err(Misfit::TooLarge)
                } else {
                    Ok(Decimal::from_unscaled(unscaled < 0.0, u128::from(magnitude), scale as u16))
                };
            }
        }
        Decimal::from_f64(value).fit(precision, scale)
    }
}

impl Decimal<'_> {
    /// Returns the nearest float, ties to even; beyond the largest float that is an infinity.
    pub fn to_f64(&self) -> f64 {
        self.small_to_f64().unwrap_or_else(|| self.to_text().parse().unwrap_or(f64::NAN))
    }

    /// The nearest float of a number of at most 15 digits and a small scale, whose shortest decimal it then is.
    fn small_to_f64(&self) -> Option<f64> {
        let power = POWERS.get(usize::from(self.scale()))?;
        if !self.is_finite() {
            return None;
        }
        // No digit lies behind the scale, so the number is a whole number of units.
        let mut units = 0u64;
        for (index, group) in self.groups().enumerate() {
            let shift = (i32::from(self.weight()) - index as i32) * 4 + i32::from(self.scale());
            units += match u32::try_from(shift) {
                Ok(shift) if shift < 15 => u64::from(group) * 10u64.pow(shift),
                Ok(_) => return None,
                Err(_) => u64::from(group) / 10u64.pow(shift.unsigned_abs().min(4)),
            };
        }
        // One division of exact numbers rounds correctly.
        let size = (units < 1_000_000_000_000_000).then_some(units as f64 / power)?;
        Some(if self.is_negative() { -size } else { size })
    }

    /// Returns the nearest 32-bit float, ties to even.
    pub fn to_f32(&self) -> f32 {
        self.to_text().parse().unwrap_or(f32::NAN)
    }

    /// Returns the float that stands for this number: the nearest one, if its shortest decimal is the same number.
    pub fn to_f64_exact(&self) -> Option<f64> {
        if let Some(float) = self.small_to_f64() {
            return Some(float);
        }
        let float = self.to_f64();
        (float.is_finite() == self.is_finite() && self.same_number(&Decimal::from_f64(float))).then_some(float)
    }

    /// Like [`Decimal::to_f64_exact`] for a 32-bit float.
    pub fn to_f32_exact(&self) -> Option<f32> {
        let float = self.to_f32();
        (float.is_finite() == self.is_finite() && self.same_number(&Decimal::from_f32(float))).then_some(float)
    }
}
