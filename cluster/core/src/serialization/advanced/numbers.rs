//! JavaScript numbers in JSON.

use alloc::string::{String, ToString};
use core::fmt::{self, Write as _};

use serde_json::Number;

/// The bound of exact integers. Above it, some integers are not JavaScript numbers.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The integer that a number represents exactly, if any.
#[expect(clippy::cast_possible_truncation, reason = "an exact integer has less than 54 bits")]
#[expect(
    clippy::cast_precision_loss,
    reason = "an inexact conversion changes a fraction, which the comparison detects; a remainder would be a slower call"
)]
#[expect(clippy::float_cmp, reason = "an inexact conversion changes a fraction")]
pub(crate) fn integer(number: f64) -> Option<i64> {
    let whole = number as i64;
    ((-EXACT..=EXACT).contains(&number) && whole as f64 == number).then_some(whole)
}

/// Appends a number; JSON has no NaN and no infinity.
pub(crate) fn put(number: f64, out: &mut String) {
    let other = || Number::from_f64(number).map_or_else(|| "null".into(), |number| number.to_string());
    out.push_str(&integer(number).map_or_else(other, |number| number.to_string()));
}

/// The index of an array element, if the number is one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is an integer of 32 bits")]
pub(super) fn index(number: f64) -> Option<u32> {
    let is_index = (0.0..f64::from(u32::MAX)).contains(&number) && number % 1.0 == 0.0;
    is_index.then_some(number as u32)
}

/// Appends formatted text, such as `format_args!("{number}")`.
pub(super) fn append(out: &mut String, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a text takes everything");
}
