//! Decimals under a precision and a scale.

use super::{Decimal, MAX_SCALE};
use std::borrow::Cow;

/// Why a decimal does not fit a precision and scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// There are more digits before the point than fit.
    TooLarge,
    /// There are digits behind the last one that is kept.
    TooFine,
    /// An infinity fits only where no precision is set.
    Infinite,
}

impl<'a> Decimal<'a> {
    /// Returns the same number as a `numeric(precision, scale)` holds it, or why it cannot be held exactly.
    ///
    /// `None` as the scale means 0 if there is a precision, else that the decimal keeps its own. A negative scale demands zeros
    /// before the point. Nothing is copied unless the scale changes.
    #[inline]
    pub fn fit(self, precision: Option<u32>, scale: Option<i32>) -> Result<Decimal<'a>, Misfit> {
        if precision.is_none() && scale.is_none() {
            return Ok(self);
        }
        if !self.is_finite() {
            return if self.is_nan() || precision.is_none() { Ok(self) } else { Err(Misfit::Infinite) };
        }
        let scale = scale.unwrap_or(0);
        if self.lowest_digit().is_some_and(|lowest| lowest < -scale) {
            return Err(Misfit::TooFine);
        }
        if let (Some(precision), Some(highest)) = (precision, self.highest_digit())
            && i64::from(highest) >= i64::from(precision) - i64::from(scale)
        {
            return Err(Misfit::TooLarge);
        }
        if i64::from(scale) > MAX_SCALE {
            return Err(Misfit::TooFine);
        }
        let scale = scale.max(0) as u16;
        if scale == self.scale() {
            return Ok(self);
        }
        let mut bytes = self.0.into_owned();
        bytes[6..8].copy_from_slice(&scale.to_be_bytes());
        Ok(Decimal(Cow::Owned(bytes)))
    }

    /// Returns the same number with so many digits behind the point; `None` if it has more than that.
    pub fn rescale(self, scale: u16) -> Option<Decimal<'a>> {
        self.fit(None, Some(i32::from(scale))).ok()
    }
}
