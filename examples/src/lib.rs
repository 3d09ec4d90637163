//! Programs that embed `migrate`, one in each file of `src/bin`. This library only makes sure that the code of the project's
//! README compiles.

/// The README, whose code is compiled with the documentation's tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
