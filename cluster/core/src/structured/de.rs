//! JavaScript values to types of the program. If a value has no form in the requested type, the error names
//! the value and the position.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::Cell;

use serde::de::value::{MapAccessDeserializer, StrDeserializer, StringDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::{JsString, LEVELS, Structured, ViewKind};
use crate::message_error::MessageError;
use crate::serialization::advanced::views::half;
use crate::serialization::advanced::{date, numbers};

/// The most values that may be read again through references.
const AGAIN: usize = 1 << 20;

/// Deserializes a value.
pub(crate) fn to<T: DeserializeOwned>(value: &Structured) -> Result<T, MessageError> {
    let mut objects = Vec::new();
    number(value, &mut objects);
    let left = Cell::new(AGAIN);
    T::deserialize(Value { structured: value, objects: &objects, left: &left, levels: LEVELS, followed: 0 })
}

/// Collects the objects of a value, in the order in which they begin.
fn number<'a>(value: &'a Structured, objects: &mut Vec<&'a Structured>) {
    if value.is_object() {
        objects.push(value);
    }
    value.for_each_inside(&mut |inner| number(inner, objects));
}

#[derive(Clone, Copy)]
struct Value<'a> {
    structured: &'a Structured,
    objects: &'a [&'a Structured],
    left: &'a Cell<usize>,
    levels: usize,
    /// The number of references from the outermost value to this one.
    followed: usize,
}

impl<'a> Value<'a> {
    /// The reader of an inner value.
    fn inside(self, structured: &'a Structured) -> Result<Self, MessageError> {
        let cyclic = self.followed > 0;
        let levels = self.levels.checked_sub(1).ok_or_else(|| {
            if cyclic { MessageError::no_form("an object inside itself") } else { MessageError::TooDeep }
        })?;
        if cyclic {
            self.left.set(self.left.get().checked_sub(1).ok_or(MessageError::TooLong)?);
        }
        Ok(Value { structured, levels, ..self })
    }

    /// The value itself. A box, a host object or a reference is replaced by the value that it stands for.
    fn resolved(self) -> Result<Self, MessageError> {
        if let Structured::Boxed(inner) | Structured::Host(inner) = self.structured {
            self.inside(inner)?.resolved()
        } else if let Structured::Reference(object) = self.structured {
            let value = self.objects.get(*object as usize).ok_or(MessageError::no_form("a reference"))?;
            let followed = Value { followed: self.followed + 1, ..self };
            followed.inside(value)?.resolved()
        } else {
            Ok(self)
        }
    }

    fn seq(self, elements: &'a [Structured]) -> Elements<'a> {
        Elements { of: self, rest: elements.iter(), at: 0 }
    }

    fn map(self, members: &'a [(JsString, Structured)]) -> Members<'a> {
        Members { of: self, rest: Pairs::Named(members), next: None }
    }
}

impl MessageError {
    fn no_form(what: &'static str) -> Self {
        MessageError::NoForm { what, path: String::new() }
    }

    /// Adds the position of the outer member or element to an error.
    fn inside(self, outer: &str) -> Self {
        match self {
            MessageError::NoForm { what, path } => {
                MessageError::NoForm { what, path: format!("{outer}{path}") }
            }
            MessageError::Type { reason } => {
                let is_at_a_place = reason.starts_with("at ");
                let rest = reason.strip_prefix("at ").unwrap_or(&reason);
                let colon = if is_at_a_place { "" } else { ": " };
                MessageError::Type { reason: format!("at {outer}{colon}{rest}") }
            }
            MessageError::NotJson { .. } | MessageError::TooDeep | MessageError::TooLong => self,
        }
    }
}

impl serde::de::Error for MessageError {
    fn custom<T: core::fmt::Display>(reason: T) -> Self {
        MessageError::unfit(&reason.to_string())
    }
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = MessageError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, MessageError> {
        let resolved = self.resolved()?;
        match resolved.structured {
            Structured::Undefined | Structured::Hole | Structured::Null => visitor.visit_unit(),
            Structured::Bool(value) => visitor.visit_bool(*value),
            Structured::Number(number) => visit_number(*number, visitor),
            Structured::BigInt(number) => match i128::try_from(number) {
                Ok(number) => visit_integer(number, visitor),
                Err(_) => Err(MessageError::no_form("a big integer of more than 127 bits")),
            },
            Structured::String(text) => visitor.visit_str(&text.to_string_lossy()),
            Structured::Date(milliseconds) => match date::iso(*milliseconds) {
                Some(text) => visitor.visit_string(text),
                None => visitor.visit_unit(),
            },
            Structured::RegExp(_) => Err(MessageError::no_form("a regular expression")),
            Structured::Array(elements, others) if others.is_empty() => {
                visitor.visit_seq(resolved.seq(elements))
            }
            Structured::Array(..) => Err(MessageError::no_form("an array with members besides its elements")),
            Structured::SparseArray(length, members) => {
                visitor.visit_seq(Sparse::new(resolved, *length, members)?)
            }
            Structured::Object(members) => visitor.visit_map(resolved.map(members)),
            Structured::Map(entries) => {
                visitor.visit_map(Members { of: resolved, rest: Pairs::Keyed(entries), next: None })
            }
            Structured::Set(values) => visitor.visit_seq(resolved.seq(values)),
            Structured::ArrayBuffer(bytes, _) => {
                visitor.visit_seq(Numbers::new(ViewKind::Uint8Array, bytes)?)
            }
            Structured::View(kind, bytes) => visitor.visit_seq(Numbers::new(*kind, bytes)?),
            Structured::Error(error) => {
                let parts = [("message", &error.message), ("stack", &error.stack)].into_iter();
                let parts = parts.filter_map(|(name, text)| Some((name, text.as_ref()?.to_string_lossy())));
                let name = core::iter::once(("name", error.name.as_str().into()));
                visitor.visit_map(serde::de::value::MapDeserializer::new(name.chain(parts)))
            }
            // These values do not occur here, because `resolved` has replaced them.
            Structured::Boxed(_) | Structured::Host(_) | Structured::Reference(_) => {
                Err(MessageError::no_form("a reference"))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, MessageError> {
        if matches!(self.structured, Structured::Undefined | Structured::Hole | Structured::Null) {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, MessageError> {
        let resolved = self.resolved()?;
        if let Structured::ArrayBuffer(bytes, _) | Structured::View(_, bytes) = resolved.structured {
            visitor.visit_bytes(bytes)
        } else {
            resolved.deserialize_any(visitor)
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, MessageError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, MessageError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, MessageError> {
        let resolved = self.resolved()?;
        if let Structured::Object(members) = resolved.structured {
            visitor.visit_enum(MapAccessDeserializer::new(resolved.map(members)))
        } else if let Structured::String(text) = resolved.structured {
            let text = StringDeserializer::<MessageError>::new(text.to_string_lossy().into_owned());
            text.deserialize_enum(name, variants, visitor)
        } else {
            resolved.deserialize_any(visitor)
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string unit unit_struct seq tuple tuple_struct
        map struct identifier ignored_any
    }
}

/// Visits an exact integer as an integer, and negative zero as a float.
fn visit_number<'a, V: Visitor<'a>>(number: f64, visitor: V) -> Result<V::Value, MessageError> {
    match numbers::integer(number).filter(|_| number.to_bits() != (-0.0_f64).to_bits()) {
        Some(integer) => visit_integer(integer.into(), visitor),
        None => visitor.visit_f64(number),
    }
}

fn visit_integer<'a, V: Visitor<'a>>(number: i128, visitor: V) -> Result<V::Value, MessageError> {
    if let Ok(number) = u64::try_from(number) {
        visitor.visit_u64(number)
    } else if let Ok(number) = i64::try_from(number) {
        visitor.visit_i64(number)
    } else {
        visitor.visit_i128(number)
    }
}

struct Elements<'a> {
    of: Value<'a>,
    rest: core::slice::Iter<'a, Structured>,
    at: usize,
}

impl<'a> SeqAccess<'a> for Elements<'a> {
    type Error = MessageError;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, MessageError> {
        let Some(element) = self.rest.next() else { return Ok(None) };
        let at = self.at;
        self.at += 1;
        let element = self.of.inside(element)?;
        seed.deserialize(element).map(Some).map_err(|error| error.inside(&format!("[{at}]")))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// A sparse array, including its holes.
struct Sparse<'a> {
    of: Value<'a>,
    members: core::iter::Peekable<core::slice::Iter<'a, (JsString, Structured)>>,
    at: u32,
    length: u32,
}

impl<'a> Sparse<'a> {
    fn new(of: Value<'a>, length: u32, members: &'a [(JsString, Structured)]) -> Result<Self, MessageError> {
        // Each hole of an array counts toward the limit, like a reference.
        let left = of.left.get().checked_sub(length as usize).ok_or(MessageError::TooLong)?;
        of.left.set(left);
        Ok(Sparse { of, members: members.iter().peekable(), at: 0, length })
    }
}

impl<'a> SeqAccess<'a> for Sparse<'a> {
    type Error = MessageError;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, MessageError> {
        if self.at == self.length {
            return match self.members.next() {
                Some(_) => Err(MessageError::no_form("an array with members besides its elements")),
                None => Ok(None),
            };
        }
        let at = self.at.to_string();
        self.at += 1;
        let is_here = |(name, _): &&(JsString, Structured)| *name == *at;
        let element = self.members.next_if(is_here).map_or(&Structured::Hole, |(_, element)| element);
        let element = self.of.inside(element)?;
        seed.deserialize(element).map(Some).map_err(|error| error.inside(&format!("[{at}]")))
    }
}

/// The numbers of a typed array.
struct Numbers<'a> {
    kind: ViewKind,
    bytes: &'a [u8],
    size: usize,
}

impl<'a> Numbers<'a> {
    fn new(kind: ViewKind, bytes: &'a [u8]) -> Result<Self, MessageError> {
        let size = match kind {
            ViewKind::Int8Array
            | ViewKind::Uint8Array
            | ViewKind::Uint8ClampedArray
            | ViewKind::DataView
            | ViewKind::Buffer => 1,
            ViewKind::Int16Array | ViewKind::Uint16Array | ViewKind::Float16Array => 2,
            ViewKind::Int32Array | ViewKind::Uint32Array | ViewKind::Float32Array => 4,
            ViewKind::Float64Array | ViewKind::BigInt64Array | ViewKind::BigUint64Array => 8,
            ViewKind::Other(_) => return Err(MessageError::no_form("a typed array of an unknown kind")),
        };
        Ok(Numbers { kind, bytes, size })
    }
}

impl<'a> SeqAccess<'a> for Numbers<'_> {
    type Error = MessageError;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, MessageError> {
        let Some((number, rest)) = self.bytes.split_at_checked(self.size) else { return Ok(None) };
        self.bytes = rest;
        seed.deserialize(Number { kind: self.kind, bytes: number }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.bytes.len() / self.size)
    }
}

/// One number of a typed array.
struct Number<'a> {
    kind: ViewKind,
    bytes: &'a [u8],
}

impl<'de> Deserializer<'de> for Number<'_> {
    type Error = MessageError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, MessageError> {
        let mut raw = [0; 8];
        raw[..self.bytes.len()].copy_from_slice(self.bytes);
        let bits = u64::from_le_bytes(raw);
        let [b0, b1, b2, b3, ..] = raw;
        match self.kind {
            ViewKind::Int8Array => visitor.visit_i64(i8::from_le_bytes([b0]).into()),
            ViewKind::Int16Array => visitor.visit_i64(i16::from_le_bytes([b0, b1]).into()),
            ViewKind::Int32Array => visitor.visit_i64(i32::from_le_bytes([b0, b1, b2, b3]).into()),
            ViewKind::BigInt64Array => visitor.visit_i64(bits.cast_signed()),
            ViewKind::Float16Array => visitor.visit_f64(half(u16::from_le_bytes([b0, b1]))),
            ViewKind::Float32Array => visitor.visit_f64(f32::from_le_bytes([b0, b1, b2, b3]).into()),
            ViewKind::Float64Array => visitor.visit_f64(f64::from_bits(bits)),
            ViewKind::Uint8Array
            | ViewKind::Uint8ClampedArray
            | ViewKind::Uint16Array
            | ViewKind::Uint32Array
            | ViewKind::BigUint64Array
            | ViewKind::DataView
            | ViewKind::Buffer
            | ViewKind::Other(_) => visitor.visit_u64(bits),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The members of an object, or the entries of a map.
enum Pairs<'a> {
    Named(&'a [(JsString, Structured)]),
    Keyed(&'a [(Structured, Structured)]),
}

struct Members<'a> {
    of: Value<'a>,
    rest: Pairs<'a>,
    /// The value of the last returned name, and the position.
    next: Option<(&'a Structured, String)>,
}

impl<'a> MapAccess<'a> for Members<'a> {
    type Error = MessageError;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, MessageError> {
        match &mut self.rest {
            Pairs::Named(members) => {
                // A member that is `undefined` is left out, as in JSON.
                while let Some(((name, value), rest)) = members.split_first() {
                    *members = rest;
                    if *value != Structured::Undefined {
                        let name = name.to_string_lossy();
                        self.next = Some((value, format!(".{name}")));
                        return seed.deserialize(StrDeserializer::<MessageError>::new(&name)).map(Some);
                    }
                }
                Ok(None)
            }
            Pairs::Keyed(entries) => {
                let Some(((key, value), rest)) = entries.split_first() else { return Ok(None) };
                *entries = rest;
                self.next = Some((value, ".get(..)".into()));
                let key = self.of.inside(key)?;
                seed.deserialize(key).map(Some).map_err(|error| error.inside(".keys()"))
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, MessageError> {
        let (value, place) = self.next.take().ok_or(MessageError::custom("a value without a name"))?;
        seed.deserialize(self.of.inside(value)?).map_err(|error| error.inside(&place))
    }
}
