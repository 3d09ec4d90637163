//! Decimals to text.

use super::{Decimal, INFINITY, NAN, NEGATIVE, NEGATIVE_INFINITY};
use std::fmt;

impl Decimal<'_> {
    /// Returns the text that PostgreSQL prints: all digits of the scale, never an exponent.
    pub fn to_text(&self) -> String {
        let mut out = String::with_capacity(4 * self.group_count() + 8);
        self.push_text(&mut out);
        out
    }

    /// Appends [`Decimal::to_text`].
    pub fn push_text(&self, out: &mut String) {
        match self.sign() {
            NAN => return out.push_str("NaN"),
            INFINITY => return out.push_str("Infinity"),
            NEGATIVE_INFINITY => return out.push_str("-Infinity"),
            NEGATIVE => out.push('-'),
            _ => {}
        }
        let weight = i32::from(self.weight());
        if weight < 0 || self.group_count() == 0 {
            out.push('0');
        } else {
            for index in 0..=weight as usize {
                let mut digits = [0; 4];
                let digits = four(self.group(index), &mut digits);
                out.push_str(if index == 0 { digits.trim_start_matches('0') } else { digits });
            }
        }
        let mut scale = usize::from(self.scale());
        if scale > 0 {
            out.push('.');
            // The first group behind the point has power -1; it may lie before the first group there is.
            let mut power = -1;
            while scale > 0 {
                let group = usize::try_from(weight - power).map_or(0, |index| self.group(index));
                let mut digits = [0; 4];
                out.push_str(&four(group, &mut digits)[..scale.min(4)]);
                scale = scale.saturating_sub(4);
                power -= 1;
            }
        }
    }
}

fn four(group: u16, digits: &mut [u8; 4]) -> &str {
    let mut rest = group;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    std::str::from_utf8(digits).unwrap_or("0000")
}

impl fmt::Display for Decimal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_text())
    }
}
