//! JavaScript strings and big integers that Rust's types cannot hold.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// A JavaScript string: UTF-16, perhaps with lone surrogates.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct JsString(Form);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Form {
    Text(String),
    /// Code units, with lone surrogates.
    Units(Vec<u16>),
}

impl JsString {
    /// The string of these code units.
    pub fn from_units(units: &[u16]) -> Self {
        String::from_utf16(units).map_or_else(|_| JsString(Form::Units(units.to_vec())), JsString::from)
    }

    /// The text. `None`: the string has lone surrogates.
    pub fn as_str(&self) -> Option<&str> {
        match &self.0 {
            Form::Text(text) => Some(text),
            Form::Units(_) => None,
        }
    }

    /// The text, with U+FFFD for each lone surrogate.
    pub fn to_string_lossy(&self) -> Cow<'_, str> {
        match &self.0 {
            Form::Text(text) => Cow::Borrowed(text),
            Form::Units(units) => Cow::Owned(String::from_utf16_lossy(units)),
        }
    }

    /// The text, or the code units of a string with lone surrogates.
    pub(super) fn units(&self) -> Result<&str, &[u16]> {
        match &self.0 {
            Form::Text(text) => Ok(text),
            Form::Units(units) => Err(units),
        }
    }
}

impl From<String> for JsString {
    fn from(text: String) -> Self {
        JsString(Form::Text(text))
    }
}

impl From<&str> for JsString {
    fn from(text: &str) -> Self {
        JsString::from(text.to_string())
    }
}

impl PartialEq<str> for JsString {
    fn eq(&self, text: &str) -> bool {
        self.as_str() == Some(text)
    }
}

impl PartialEq<&str> for JsString {
    fn eq(&self, text: &&str) -> bool {
        self == *text
    }
}

impl fmt::Debug for JsString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_string_lossy().fmt(f)
    }
}

/// A JavaScript big integer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BigInt {
    negative: bool,
    /// The bytes, lowest first, without zeros at the end.
    digits: Vec<u8>,
}

impl BigInt {
    /// The integer with this sign and these bytes, lowest first.
    pub fn from_le_bytes(negative: bool, bytes: &[u8]) -> Self {
        let significant = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        BigInt { negative: negative && significant > 0, digits: bytes[..significant].to_vec() }
    }

    /// Whether the integer is less than zero.
    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// The bytes of the magnitude, lowest first.
    pub fn to_le_bytes(&self) -> &[u8] {
        &self.digits
    }

    fn magnitude(&self) -> Option<u128> {
        let mut bytes = [0; 16];
        bytes.get_mut(..self.digits.len())?.copy_from_slice(&self.digits);
        Some(u128::from_le_bytes(bytes))
    }
}

impl From<i128> for BigInt {
    fn from(number: i128) -> Self {
        BigInt::from_le_bytes(number < 0, &number.unsigned_abs().to_le_bytes())
    }
}

impl TryFrom<&BigInt> for i128 {
    type Error = OutOfRange;

    fn try_from(number: &BigInt) -> Result<Self, OutOfRange> {
        let magnitude = number.magnitude().ok_or(OutOfRange)?;
        let positive = i128::try_from(magnitude);
        if number.negative {
            0_i128.checked_sub_unsigned(magnitude).ok_or(OutOfRange)
        } else {
            positive.map_err(|_| OutOfRange)
        }
    }
}

/// A big integer has more than 127 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfRange;

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the big integer has more than 127 bits; `BigInt::to_le_bytes` has all of them")
    }
}

impl core::error::Error for OutOfRange {}
