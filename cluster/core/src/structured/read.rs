//! Payloads to values. The depth is bounded, because the stack must hold it.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;

use super::{BigInt, JsError, JsString, LEVELS, RegExp, Structured, ViewKind};
use crate::message_error::MessageError;
use crate::serialization::advanced::text::Text;
use crate::serialization::advanced::tokens::{BigDigits, ErrorPart, Leaf, Open, Token, Tokens};
use crate::violation::Violation;

/// Reads a valid payload.
pub(crate) fn read(payload: &Bytes) -> Result<Structured, MessageError> {
    let mut reader = Reader { payload, tokens: Tokens::new(payload)? };
    let token = reader.next()?;
    reader.value(token, LEVELS)
}

impl From<Violation> for MessageError {
    /// A message was validated when it was created, so this error does not occur.
    fn from(violation: Violation) -> Self {
        MessageError::Type { reason: violation.to_string() }
    }
}

struct Reader<'a> {
    payload: &'a Bytes,
    tokens: Tokens<'a>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Token<'a>, MessageError> {
        Ok(self.tokens.next()?.ok_or(Violation::Malformed)?)
    }

    fn value(&mut self, token: Token<'a>, levels: usize) -> Result<Structured, MessageError> {
        match token {
            Token::Leaf(leaf) => Ok(self.leaf(leaf)),
            Token::Reference(object) => Ok(Structured::Reference(object)),
            Token::Open(open) => {
                let levels = levels.checked_sub(1).ok_or(MessageError::TooDeep)?;
                self.opened(open, levels)
            }
            Token::Error(_) | Token::Close(_) => Err(Violation::Malformed.into()),
        }
    }

    fn leaf(&self, leaf: Leaf<'a>) -> Structured {
        let boxed = |value| Structured::Boxed(Box::new(value));
        let kept = |bytes: &[u8]| self.payload.slice_ref(bytes);
        match leaf {
            Leaf::Undefined => Structured::Undefined,
            Leaf::Hole => Structured::Hole,
            Leaf::Null => Structured::Null,
            Leaf::Bool(value) => Structured::Bool(value),
            Leaf::Integer(number) => Structured::Number(float(number)),
            Leaf::Double(number) => Structured::Number(number),
            Leaf::BigInt(digits) => Structured::BigInt(big_integer(digits)),
            Leaf::Text(text) => Structured::String(string(text)),
            Leaf::Date(milliseconds) => Structured::Date(milliseconds),
            Leaf::BoxedBool(value) => boxed(Structured::Bool(value)),
            Leaf::BoxedNumber(number) => boxed(Structured::Number(number)),
            Leaf::BoxedBigInt(digits) => boxed(Structured::BigInt(big_integer(digits))),
            Leaf::BoxedText(text) => boxed(Structured::String(string(text))),
            Leaf::RegExp { source, flags } => {
                Structured::RegExp(Box::new(RegExp { source: string(source), flags }))
            }
            Leaf::ArrayBuffer { bytes, max } => Structured::ArrayBuffer(kept(bytes), max),
            Leaf::View { kind, bytes } => Structured::View(ViewKind::of(kind), kept(bytes)),
        }
    }

    fn opened(&mut self, open: Open, levels: usize) -> Result<Structured, MessageError> {
        Ok(match open {
            Open::Object => Structured::Object(self.members(levels)?),
            Open::Dense(length) => {
                let mut elements = Vec::with_capacity(length as usize);
                for _ in 0..length {
                    let token = self.next()?;
                    elements.push(self.value(token, levels)?);
                }
                Structured::Array(elements, self.members(levels)?)
            }
            Open::Sparse(length) => Structured::SparseArray(length, self.members(levels)?),
            Open::Map => {
                let mut entries = Vec::new();
                while let Some(key) = self.next_inside(levels)? {
                    let value = self.next()?;
                    entries.push((key, self.value(value, levels)?));
                }
                Structured::Map(entries)
            }
            Open::Set => {
                let mut values = Vec::new();
                while let Some(value) = self.next_inside(levels)? {
                    values.push(value);
                }
                Structured::Set(values)
            }
            Open::Error => Structured::Error(Box::new(self.error(levels)?)),
            Open::Host => {
                let token = self.next()?;
                let value = self.value(token, levels)?;
                self.next()?;
                Structured::Host(Box::new(value))
            }
        })
    }

    /// The next inner value of the open value. `None`: its end.
    fn next_inside(&mut self, levels: usize) -> Result<Option<Structured>, MessageError> {
        match self.next()? {
            Token::Close(_) => Ok(None),
            token @ (Token::Leaf(_) | Token::Reference(_) | Token::Open(_) | Token::Error(_)) => {
                self.value(token, levels).map(Some)
            }
        }
    }

    fn members(&mut self, levels: usize) -> Result<Vec<(JsString, Structured)>, MessageError> {
        let mut members = Vec::new();
        while let Some(name) = self.next_inside(levels)? {
            let value = self.next()?;
            members.push((name_of(name)?, self.value(value, levels)?));
        }
        Ok(members)
    }

    fn error(&mut self, levels: usize) -> Result<JsError, MessageError> {
        let mut error = JsError { name: "Error".into(), message: None, cause: None, stack: None };
        loop {
            match self.next()? {
                Token::Error(ErrorPart::Name(name)) => error.name = name.into(),
                Token::Error(ErrorPart::Message(text)) => error.message = Some(string(text)),
                Token::Error(ErrorPart::Stack(text)) => error.stack = Some(string(text)),
                Token::Error(ErrorPart::Cause) => {
                    let token = self.next()?;
                    error.cause = Some(self.value(token, levels)?);
                }
                Token::Leaf(_) | Token::Reference(_) | Token::Open(_) | Token::Close(_) => return Ok(error),
            }
        }
    }
}

/// The name of a member. A number becomes its JavaScript string.
fn name_of(name: Structured) -> Result<JsString, MessageError> {
    if let Structured::String(name) = name {
        Ok(name)
    } else if let Structured::Number(index) = name {
        let mut text = String::new();
        crate::serialization::advanced::numbers::put(index, &mut text);
        Ok(text.into())
    } else {
        Err(Violation::Malformed.into())
    }
}

fn string(text: Text<'_>) -> JsString {
    if let Text::Utf16(units) = text {
        let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
        JsString::from_units(&units)
    } else {
        text.lossy().into()
    }
}

fn big_integer(BigDigits { negative, digits }: BigDigits<'_>) -> BigInt {
    BigInt::from_le_bytes(negative, digits)
}

#[expect(clippy::cast_precision_loss, reason = "it has less than 33 bits")]
fn float(number: i64) -> f64 {
    number as f64
}
