//! Values to payloads, as V8 writes them.

use alloc::string::ToString;
use alloc::vec::Vec;

use super::{BigInt, JsError, JsString, LEVELS, Structured, ViewKind};
use crate::message_error::MessageError;
use crate::serialization::advanced::from_json::{put_small, put_text, put_units, put_varint};
use crate::serialization::advanced::{HEADER, VERSION};

/// Writes a value as a payload.
pub(crate) fn write(value: &Structured) -> Result<Vec<u8>, MessageError> {
    let mut writer = ValueWriter { out: Vec::from([HEADER, VERSION]), objects: 0 };
    writer.value(value, LEVELS)?;
    Ok(writer.out)
}

struct ValueWriter {
    out: Vec<u8>,
    /// The number of objects that have begun so far.
    objects: u32,
}

impl ValueWriter {
    fn value(&mut self, value: &Structured, levels: usize) -> Result<(), MessageError> {
        let mut levels = levels;
        if value.is_object() {
            self.objects += 1;
            levels = levels.checked_sub(1).ok_or(MessageError::TooDeep)?;
        }
        match value {
            Structured::Undefined => self.out.push(b'_'),
            Structured::Hole => self.out.push(b'-'),
            Structured::Null => self.out.push(b'0'),
            Structured::Bool(value) => self.out.push(if *value { b'T' } else { b'F' }),
            Structured::Number(number) => self.number(*number),
            Structured::BigInt(number) => self.big_integer(b'Z', number),
            Structured::String(text) => self.text(text),
            Structured::Reference(object) => self.reference(*object)?,
            Structured::Date(milliseconds) => self.double(b'D', *milliseconds),
            Structured::Boxed(inner) => self.boxed(inner)?,
            Structured::RegExp(regexp) => {
                self.out.push(b'R');
                self.text(&regexp.source);
                put_varint(regexp.flags as usize, &mut self.out);
            }
            Structured::Array(elements, others) => {
                self.counted(b'A', elements.len());
                elements.iter().try_for_each(|element| self.value(element, levels))?;
                self.members(b'$', others, levels)?;
                put_varint(elements.len(), &mut self.out);
            }
            Structured::SparseArray(length, members) => {
                self.counted(b'a', *length as usize);
                self.members(b'@', members, levels)?;
                put_varint(*length as usize, &mut self.out);
            }
            Structured::Object(members) => {
                self.out.push(b'o');
                self.members(b'{', members, levels)?;
            }
            Structured::Map(entries) => {
                self.out.push(b';');
                for (key, value) in entries {
                    self.value(key, levels)?;
                    self.value(value, levels)?;
                }
                self.counted(b':', entries.len() * 2);
            }
            Structured::Set(values) => {
                self.out.push(b'\'');
                values.iter().try_for_each(|value| self.value(value, levels))?;
                self.counted(b',', values.len());
            }
            Structured::ArrayBuffer(bytes, max) => self.array_buffer(bytes, *max),
            Structured::View(kind, bytes) => self.view(*kind, bytes),
            Structured::Error(error) => self.error(error, levels)?,
            Structured::Host(inner) => {
                self.out.extend([b'\\', 1]);
                self.value(inner, levels)?;
            }
        }
        Ok(())
    }

    fn reference(&mut self, object: u32) -> Result<(), MessageError> {
        if object >= self.objects {
            let reason = alloc::format!(
                "a value refers to object {object}, but only {} objects have begun",
                self.objects
            );
            return Err(MessageError::Type { reason });
        }
        self.out.push(b'^');
        put_varint(object as usize, &mut self.out);
        Ok(())
    }

    fn array_buffer(&mut self, bytes: &[u8], max: Option<u64>) {
        self.counted(if max.is_some() { b'~' } else { b'B' }, bytes.len());
        if let Some(max) = max {
            put_varint(usize::try_from(max).unwrap_or(usize::MAX), &mut self.out);
        }
        self.out.extend_from_slice(bytes);
    }

    fn view(&mut self, kind: ViewKind, bytes: &[u8]) {
        self.out.extend([b'\\', 0]);
        put_varint(kind.number() as usize, &mut self.out);
        put_varint(bytes.len(), &mut self.out);
        self.out.extend_from_slice(bytes);
    }

    fn boxed(&mut self, inner: &Structured) -> Result<(), MessageError> {
        if let Structured::Bool(value) = inner {
            self.out.push(if *value { b'y' } else { b'x' });
        } else if let Structured::Number(number) = inner {
            self.double(b'n', *number);
        } else if let Structured::BigInt(number) = inner {
            self.big_integer(b'z', number);
        } else if let Structured::String(text) = inner {
            self.out.push(b's');
            self.text(text);
        } else {
            return Err(MessageError::Type { reason: "a boxed value must be a primitive value".into() });
        }
        Ok(())
    }

    fn members(
        &mut self,
        end: u8,
        members: &[(JsString, Structured)],
        levels: usize,
    ) -> Result<(), MessageError> {
        for (name, value) in members {
            match name.as_str().and_then(index) {
                Some(index) => self.number(f64::from(index)),
                None => self.text(name),
            }
            self.value(value, levels)?;
        }
        self.counted(end, members.len());
        Ok(())
    }

    fn error(&mut self, error: &JsError, levels: usize) -> Result<(), MessageError> {
        self.out.push(b'r');
        let tag = match error.name.as_str() {
            "EvalError" => Some(b'E'),
            "RangeError" => Some(b'R'),
            "ReferenceError" => Some(b'F'),
            "SyntaxError" => Some(b'S'),
            "TypeError" => Some(b'T'),
            "URIError" => Some(b'U'),
            _ => None,
        };
        self.out.extend(tag);
        if let Some(message) = &error.message {
            self.out.push(b'm');
            self.text(message);
        }
        if let Some(cause) = &error.cause {
            self.out.push(b'c');
            self.value(cause, levels)?;
        }
        if let Some(stack) = &error.stack {
            self.out.push(b's');
            self.text(stack);
        }
        self.out.push(b'.');
        Ok(())
    }

    /// Writes a number: a small integer as an integer, as V8 does, and negative zero as a float.
    #[expect(clippy::cast_possible_truncation, reason = "the comparison detects a loss")]
    fn number(&mut self, number: f64) {
        let small = number as i32;
        if f64::from(small).to_bits() == number.to_bits() {
            put_small(small, &mut self.out);
        } else {
            self.double(b'N', number);
        }
    }

    fn double(&mut self, tag: u8, number: f64) {
        self.out.push(tag);
        self.out.extend(number.to_le_bytes());
    }

    fn big_integer(&mut self, tag: u8, number: &BigInt) {
        const WORD: usize = 8;
        let digits = number.to_le_bytes();
        let length = digits.len().next_multiple_of(WORD);
        self.counted(tag, length << 1 | usize::from(number.is_negative()));
        self.out.extend_from_slice(digits);
        self.out.resize(self.out.len() + length - digits.len(), 0);
    }

    fn text(&mut self, text: &JsString) {
        match text.units() {
            Ok(text) => put_text(text, &mut self.out),
            Err(units) => put_units(units, &mut self.out),
        }
    }

    fn counted(&mut self, tag: u8, count: usize) {
        self.out.push(tag);
        put_varint(count, &mut self.out);
    }
}

/// The index, if the name is an index in JavaScript's spelling.
fn index(name: &str) -> Option<u32> {
    let index: u32 = name.parse().ok()?;
    (index < u32::MAX && index.to_string() == name).then_some(index)
}
