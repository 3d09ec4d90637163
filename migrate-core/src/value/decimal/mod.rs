//! Exact decimals of any size.

mod fit;
mod float;
mod parse;
mod print;
#[cfg(test)]
mod tests;

pub use fit::Misfit;
pub(crate) use float::{shortest_f32, shortest_f64};

use crate::error::{Error, ErrorKind, Result};
use std::borrow::Cow;

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
const INFINITY: u16 = 0xd000;
const NEGATIVE_INFINITY: u16 = 0xf000;

/// Digits behind the point that the byte form can count, as PostgreSQL limits them.
const MAX_SCALE: i64 = 16_383;

/// An exact decimal that remembers its scale, NaN and the infinities included.
///
/// Held as PostgreSQL sends it, which is unique for a value and scale:
/// `groups: i16, weight: i16, sign: u16, scale: i16, groups of four digits: u16 each`, all big-endian. `weight` is the power of
/// 10,000 of the first group. No group at either end is zero; zero has no group, weight 0 and no sign.
///
/// `==` compares the value and the scale: 1.5 and 1.50 differ. Compare [`Decimal::trimmed`] forms for the value alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal<'a>(Cow<'a, [u8]>);

impl<'a> Decimal<'a> {
    /// Takes the byte form, and brings it to its unique spelling if it is not yet (PostgreSQL sends infinities with a scale).
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the bytes are not of that form.
    #[inline]
    pub fn from_bytes(bytes: Cow<'a, [u8]>) -> Result<Self> {
        let Some([g0, g1, w0, w1, s0, s1, d0, d1]) = bytes.first_chunk::<8>().copied() else {
            return Err(Error::new(ErrorKind::Corrupt, "a decimal is cut short"));
        };
        let groups = usize::from(u16::from_be_bytes([g0, g1]));
        if bytes.len() != 8 + 2 * groups {
            return Err(Error::new(ErrorKind::Corrupt, "a decimal has a wrong length"));
        }
        let sign = u16::from_be_bytes([s0, s1]);
        let plain = match groups {
            0 => sign == POSITIVE && [w0, w1] == [0, 0],
            _ => (sign == POSITIVE || sign == NEGATIVE) && bytes[8..10] != [0, 0] && bytes[6 + 2 * groups..] != [0, 0],
        };
        let decimal = Decimal(bytes);
        let scale = i32::from(u16::from_be_bytes([d0, d1]));
        if plain && scale <= MAX_SCALE as i32 && decimal.groups().all(|g| g < 10_000) && decimal.digits_end_at(scale) {
            Ok(decimal)
        } else {
            decimal.normalized()
        }
    }

    /// Returns the byte form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Copies what is borrowed.
    pub fn into_owned(self) -> Decimal<'static> {
        Decimal(Cow::Owned(self.0.into_owned()))
    }

    /// Creates a decimal of scale 0.
    pub fn from_i64(value: i64) -> Decimal<'static> {
        Decimal::from_unscaled(value < 0, u128::from(value.unsigned_abs()), 0)
    }

    /// Creates NaN.
    pub fn nan() -> Decimal<'static> {
        Decimal::special(NAN)
    }

    /// Creates positive or negative infinity.
    pub fn infinity(negative: bool) -> Decimal<'static> {
        Decimal::special(if negative { NEGATIVE_INFINITY } else { INFINITY })
    }

    /// Returns whether this is neither NaN nor an infinity.
    #[inline]
    pub fn is_finite(&self) -> bool {
        self.sign() == POSITIVE || self.sign() == NEGATIVE
    }

    /// Returns whether this is NaN.
    pub fn is_nan(&self) -> bool {
        self.sign() == NAN
    }

    /// Returns whether this is below zero, -infinity included.
    pub fn is_negative(&self) -> bool {
        matches!(self.sign(), NEGATIVE | NEGATIVE_INFINITY)
    }

    /// Returns whether this is zero of whatever scale.
    pub fn is_zero(&self) -> bool {
        self.group_count() == 0 && self.is_finite()
    }

    /// Returns the number of digits behind the point.
    #[inline]
    pub fn scale(&self) -> u16 {
        self.word(6)
    }

    /// Returns the value as an integer if it is one that fits, whatever the scale.
    pub fn to_i64(&self) -> Option<i64> {
        if !self.is_finite() {
            return None;
        }
        let (groups, weight) = (self.group_count(), self.weight());
        if groups == 0 {
            return Some(0);
        }
        // Groups behind the point are never zero at the end, so any of them means a fraction.
        if weight < 0 || groups > usize::from(weight.unsigned_abs()) + 1 {
            return None;
        }
        let mut value: i128 = 0;
        for group in 0..=usize::from(weight.unsigned_abs()) {
            value = value * 10_000 + i128::from(self.group(group));
            if value > i128::from(i64::MAX) + 1 {
                return None;
            }
        }
        i64::try_from(if self.is_negative() { -value } else { value }).ok()
    }

    /// Returns the same number with the smallest scale that holds it.
    #[must_use]
    pub fn trimmed(&self) -> Decimal<'static> {
        let scale = self.lowest_digit().map_or(0, |lowest| (-lowest).max(0));
        let mut bytes = self.0.to_vec();
        // The scale of a finite decimal is at least this one, so it fits.
        bytes[6..8].copy_from_slice(&(scale as u16).to_be_bytes());
        Decimal(Cow::Owned(bytes))
    }

    /// Returns whether both are the same number, whatever their scales.
    pub fn same_number(&self, other: &Decimal<'_>) -> bool {
        self.0[..6] == other.0[..6] && self.0[8..] == other.0[8..]
    }

    /// Builds `± magnitude / 10^scale` with that scale.
    fn from_unscaled(negative: bool, magnitude: u128, scale: u16) -> Decimal<'static> {
        let fraction_groups = usize::from(scale).div_ceil(4);
        // Digits that fill the last group behind the point; three more digits than 38 do not fit, so they are split off first.
        let pad = (fraction_groups * 4 - usize::from(scale)) as u32;
        let unit = 10u128.pow(4 - pad);
        let mut groups = [0u16; 12];
        let mut count = 0;
        let mut rest = magnitude;
        if pad > 0 {
            groups[0] = ((rest % unit) * 10u128.pow(pad)) as u16;
            rest /= unit;
            count = 1;
        }
        // Most numbers fit 64 bits, whose division is far quicker.
        while rest > u128::from(u64::MAX) {
            groups[count] = (rest % 10_000) as u16;
            rest /= 10_000;
            count += 1;
        }
        let mut rest = rest as u64;
        while rest > 0 {
            groups[count] = (rest % 10_000) as u16;
            rest /= 10_000;
            count += 1;
        }
        // The lowest group stands first: `low` counts zeros at its end, the filler above may be one at the other.
        while count > 0 && groups[count - 1] == 0 {
            count -= 1;
        }
        let low = groups[..count].iter().take_while(|g| **g == 0).count();
        let weight = if count == 0 { 0 } else { count as i64 - fraction_groups as i64 - 1 };
        let mut bytes = Vec::with_capacity(8 + 2 * (count - low));
        Decimal::push_header(
            &mut bytes,
            count - low,
            weight as i16,
            if negative && count > 0 { NEGATIVE } else { POSITIVE },
            scale,
        );
        groups[low..count].iter().rev().for_each(|g| bytes.extend_from_slice(&g.to_be_bytes()));
        Decimal(Cow::Owned(bytes))
    }

    fn special(sign: u16) -> Decimal<'static> {
        let mut bytes = Vec::with_capacity(8);
        Decimal::push_header(&mut bytes, 0, 0, sign, 0);
        Decimal(Cow::Owned(bytes))
    }

    fn push_header(bytes: &mut Vec<u8>, groups: usize, weight: i16, sign: u16, scale: u16) {
        bytes.extend_from_slice(&(groups as u16).to_be_bytes());
        bytes.extend_from_slice(&weight.to_be_bytes());
        bytes.extend_from_slice(&sign.to_be_bytes());
        bytes.extend_from_slice(&scale.to_be_bytes());
    }

    /// Spells well-formed but unusual bytes in the unique way.
    #[cold]
    fn normalized(self) -> Result<Self> {
        let corrupt = |message| Err(Error::new(ErrorKind::Corrupt, message));
        let sign = self.sign();
        match sign {
            NAN | INFINITY | NEGATIVE_INFINITY => return Ok(Decimal::special(sign)),
            POSITIVE | NEGATIVE => {}
            _ => return corrupt("a decimal has an unknown sign"),
        }
        if i64::from(self.scale()) > MAX_SCALE || self.groups().any(|g| g >= 10_000) {
            return corrupt("a decimal has digits out of range");
        }
        let groups: Vec<u16> = self.groups().collect();
        let leading = groups.iter().take_while(|g| **g == 0).count();
        let trailing = groups[leading..].iter().rev().take_while(|g| **g == 0).count();
        let kept = &groups[leading..groups.len() - trailing];
        let (weight, sign) = match kept {
            [] => (0, POSITIVE),
            _ => match i16::try_from(i64::from(self.weight()) - leading as i64) {
                Ok(weight) => (weight, sign),
                Err(_) => return corrupt("a decimal has digits out of range"),
            },
        };
        let mut bytes = Vec::with_capacity(8 + 2 * kept.len());
        Decimal::push_header(&mut bytes, kept.len(), weight, sign, self.scale());
        kept.iter().for_each(|g| bytes.extend_from_slice(&g.to_be_bytes()));
        let decimal = Decimal(Cow::Owned(bytes));
        if decimal.digits_end_at(i32::from(self.scale())) {
            Ok(decimal)
        } else {
            corrupt("a decimal has digits behind its scale")
        }
    }

    /// Returns whether no digit stands behind the scale.
    #[inline]
    fn digits_end_at(&self, scale: i32) -> bool {
        let end = (i32::from(self.weight()) - self.group_count() as i32 + 1) * 4;
        end >= -scale || self.lowest_digit().is_none_or(|lowest| lowest >= -scale)
    }

    /// Returns the power of ten of the first digit that is not zero; `None` for zero, NaN and infinities.
    fn highest_digit(&self) -> Option<i32> {
        let first = self.groups().next()?;
        Some(i32::from(self.weight()) * 4 + first.checked_ilog10()? as i32)
    }

    /// Returns the power of ten of the last digit that is not zero; `None` for zero, NaN and infinities.
    fn lowest_digit(&self) -> Option<i32> {
        let last = self.groups().next_back()?;
        let zeros = (1..4).take_while(|n| last.is_multiple_of(10u16.pow(*n))).count() as i32;
        Some((i32::from(self.weight()) - self.group_count() as i32 + 1) * 4 + zeros)
    }

    fn groups(&self) -> impl DoubleEndedIterator<Item = u16> + '_ {
        self.0[8..].chunks_exact(2).map(|g| u16::from_be_bytes([g[0], g[1]]))
    }

    /// Returns a group by its place behind the first one; zero beyond the last.
    fn group(&self, index: usize) -> u16 {
        if index < self.group_count() { self.word(8 + 2 * index) } else { 0 }
    }

    fn group_count(&self) -> usize {
        (self.0.len() - 8) / 2
    }

    fn weight(&self) -> i16 {
        self.word(2) as i16
    }

    #[inline]
    fn sign(&self) -> u16 {
        self.word(4)
    }

    #[inline]
    fn word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }
}
