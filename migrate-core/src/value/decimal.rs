//! Exact decimals of any size.

use crate::error::{Error, ErrorKind, Result};
use std::borrow::Cow;

/// An exact decimal that remembers its scale, NaN and the infinities included.
///
/// Held as PostgreSQL sends it, which is unique for a value and scale:
/// `groups: i16, weight: i16, sign: u16, scale: i16, groups of four digits: u16 each`, all big-endian. `weight` is the power of
/// 10,000 of the first group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal<'a>(Cow<'a, [u8]>);

impl<'a> Decimal<'a> {
    /// Takes the byte form.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the bytes are not of that form.
    pub fn from_bytes(bytes: Cow<'a, [u8]>) -> Result<Self> {
        let groups = match bytes.first_chunk::<2>() {
            Some(head) => usize::from(u16::from_be_bytes(*head)),
            None => return Err(Error::new(ErrorKind::Corrupt, "a decimal is cut short")),
        };
        if bytes.len() != 8 + 2 * groups {
            return Err(Error::new(ErrorKind::Corrupt, "a decimal has a wrong length"));
        }
        Ok(Decimal(bytes))
    }

    /// Returns the byte form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Copies what is borrowed.
    pub fn into_owned(self) -> Decimal<'static> {
        Decimal(Cow::Owned(self.0.into_owned()))
    }

    /// Returns the value as an integer if it is one that fits, whatever the scale.
    pub fn to_i64(&self) -> Option<i64> {
        let (sign, weight) = (self.word(4), self.word(2) as i16);
        if sign > 0x4000 {
            return None;
        }
        let groups = (self.0.len() - 8) / 2;
        if groups == 0 {
            return Some(0);
        }
        // Groups behind the point are never zero at the end, so any of them means a fraction.
        if weight < 0 || groups > usize::from(weight as u16) + 1 {
            return None;
        }
        let mut value: i128 = 0;
        for group in 0..=usize::from(weight as u16) {
            let digits = if group < groups { self.word(8 + 2 * group) } else { 0 };
            value = value * 10_000 + i128::from(digits);
            if value > i128::from(i64::MAX) + 1 {
                return None;
            }
        }
        i64::try_from(if sign == 0x4000 { -value } else { value }).ok()
    }

    /// Returns the same number with the smallest scale that holds it.
    #[must_use]
    pub fn trimmed(&self) -> Decimal<'static> {
        let mut bytes = self.0.to_vec();
        let groups = (bytes.len() - 8) / 2;
        let weight = i32::from(self.word(2) as i16);
        let mut scale = 0i32;
        if groups > 0 {
            // Digits behind the point, less the zeros at the end of the last group.
            let last = self.word(8 + 2 * (groups - 1));
            let zeros = (1..4).take_while(|n| last.is_multiple_of(10u16.pow(*n))).count() as i32;
            scale = ((groups as i32 - 1 - weight) * 4 - zeros).max(0);
        }
        bytes[6..8].copy_from_slice(&(scale as i16).to_be_bytes());
        Decimal(Cow::Owned(bytes))
    }

    fn word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }
}
