//! V8's structured clone to JSON values. The writer is a stranger: depth, size and every reference are bounded.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::{Map, Value};

use super::{HEADER, lossy};
use crate::message::Violation;

/// How deep values may be in each other; as `serde_json` has it for JSON.
const DEPTH: usize = 128;

/// What a value costs at the least: as many bytes as it would have in JSON.
const COST: usize = 2;

/// What an object's element costs at the least: `"0":0,`.
const MEMBER: usize = 6;

/// Reads one payload. It may make values of as many bytes of JSON, roughly, as it has itself, and `spare` ones: an object
/// that is referred to many times is there as often. What it makes beyond itself is taken from `spare`, so that many
/// small payloads make no more than a large one.
pub(crate) fn read(payload: &[u8], spare: &mut usize) -> Result<Value, Violation> {
    let left = spare.saturating_add(payload.len());
    let mut reader = Reader { payload, at: 0, objects: Vec::new(), next: 0, open: Vec::new(), left };
    if reader.byte()? != HEADER {
        return Err(Violation::Malformed);
    }
    reader.varint()?;
    let value = reader.value()?.ok_or(Violation::Malformed)?;
    *spare = reader.left.min(*spare);
    Ok(value)
}

struct Reader<'a> {
    payload: &'a [u8],
    at: usize,
    /// Where each object begins, in the order V8 numbers them.
    objects: Vec<usize>,
    /// The number of the next object.
    next: usize,
    /// The objects that are being read, the innermost last.
    open: Vec<usize>,
    /// How many bytes of JSON may still be made.
    left: usize,
}

const OBJECT_ENDS: u8 = b'{';
const ARRAY_ENDS: u8 = b'$';
const SPARSE_ARRAY_ENDS: u8 = b'@';

/// A value; `None` is `undefined`, or a hole in an array.
type Read = Result<Option<Value>, Violation>;

impl<'a> Reader<'a> {
    fn value(&mut self) -> Read {
        self.spend(COST)?;
        let (tag, start) = self.tag()?;
        Ok(Some(match tag {
            b'_' | b'-' => return Ok(None),
            b'0' => Value::Null,
            b'T' => Value::Bool(true),
            b'F' => Value::Bool(false),
            b'I' => self.small_integer()?.into(),
            b'U' => self.varint()?.into(),
            b'N' => lossy::number(self.double()?),
            b'Z' => self.big_integer()?,
            b'"' => self.one_byte_text()?.into(),
            b'c' => self.two_byte_text()?.into(),
            b'S' => self.utf8_text()?.into(),
            b'^' => return self.reference(),
            tag => return self.object(tag, start).map(Some),
        }))
    }

    /// The next tag, and where it stands.
    fn tag(&mut self) -> Result<(u8, usize), Violation> {
        loop {
            match self.byte()? {
                // Padding before a text of two-byte characters. It is paid for, as it may be read again and again.
                0 => self.spend(1)?,
                // How many objects there are, for V8 to check.
                b'?' => {
                    self.spend(1)?;
                    self.varint()?;
                }
                tag => return Ok((tag, self.at - 1)),
            }
        }
    }

    // ---- what has a number, and may be referred to

    fn object(&mut self, tag: u8, start: usize) -> Result<Value, Violation> {
        if self.open.len() >= DEPTH {
            return Err(Violation::Malformed);
        }
        let number = self.next;
        self.next += 1;
        if number == self.objects.len() {
            self.objects.push(start);
        }
        self.open.push(number);
        let value = self.body(tag);
        self.open.pop();
        value
    }

    /// An object that was read before is read again, if it is not one of those that are being read.
    fn reference(&mut self) -> Read {
        let number = self.length()?;
        if self.open.contains(&number) {
            return Ok(Some(Value::Null));
        }
        let start = *self.objects.get(number).ok_or(Violation::Malformed)?;
        let here = (self.at, self.next);
        (self.at, self.next) = (start, number);
        let value = self.value();
        (self.at, self.next) = here;
        value
    }

    fn body(&mut self, tag: u8) -> Result<Value, Violation> {
        Ok(match tag {
            b'o' => Value::Object(self.members(OBJECT_ENDS, 1)?),
            b'A' => self.dense_array()?,
            b'a' => self.sparse_array()?,
            b'D' => lossy::date(self.double()?),
            b'y' => Value::Bool(true),
            b'x' => Value::Bool(false),
            b'n' => lossy::number(self.double()?),
            b'z' => self.big_integer()?,
            b's' => self.value()?.filter(Value::is_string).ok_or(Violation::Malformed)?,
            b'\\' => self.host_object()?,
            b'R' | b'\'' | b';' | b'B' | b'~' | b'r' => {
                self.skip(tag)?;
                Value::Object(Map::new())
            }
            _ => return Err(Violation::Malformed),
        })
    }

    /// Up to this tag and its counts.
    fn members(&mut self, end: u8, counts: usize) -> Result<Map<String, Value>, Violation> {
        let mut members = Map::new();
        while !self.is_next(end) {
            let name = match self.value()? {
                Some(Value::String(name)) => name,
                Some(Value::Number(index)) => index.to_string(),
                _ => return Err(Violation::Malformed),
            };
            if let Some(value) = self.value()? {
                members.insert(name, value);
            }
        }
        for _ in 0..counts {
            self.varint()?;
        }
        Ok(members)
    }

    fn dense_array(&mut self) -> Result<Value, Violation> {
        let mut elements = Vec::new();
        for _ in 0..self.length()? {
            elements.push(self.value()?.unwrap_or(Value::Null));
        }
        self.members(ARRAY_ENDS, 2)?;
        Ok(Value::Array(elements))
    }

    fn sparse_array(&mut self) -> Result<Value, Violation> {
        let length = self.length()?;
        self.spend(length.saturating_mul(COST))?;
        let mut elements = Vec::new();
        elements.resize(length, Value::Null);
        for (index, element) in self.members(SPARSE_ARRAY_ENDS, 2)? {
            if let Some(place) = index.parse().ok().and_then(|index: usize| elements.get_mut(index)) {
                *place = element;
            }
        }
        Ok(Value::Array(elements))
    }

    /// What Node writes itself: views of bytes, and objects of its own as plain ones.
    fn host_object(&mut self) -> Result<Value, Violation> {
        const VIEW: u64 = 0;
        const OTHER: u64 = 1;
        match self.varint()? {
            VIEW => {
                let kind = self.varint()?;
                let length = self.length()?;
                let bytes = self.bytes(length)?;
                self.spend(length.saturating_mul(MEMBER))?;
                Ok(lossy::view(kind, bytes))
            }
            OTHER => self.value()?.ok_or(Violation::Malformed),
            _ => Err(Violation::Malformed),
        }
    }

    /// What JSON has nothing to say of.
    fn skip(&mut self, tag: u8) -> Result<(), Violation> {
        match tag {
            b'R' => {
                self.value()?;
                self.varint().map(drop)
            }
            b'\'' => self.skip_until(b','),
            b';' => self.skip_until(b':'),
            b'r' => self.skip_error(),
            _ => {
                let length = self.length()?;
                if tag == b'~' {
                    self.varint()?;
                }
                self.bytes(length).map(drop)
            }
        }
    }

    fn skip_until(&mut self, end: u8) -> Result<(), Violation> {
        while !self.is_next(end) {
            self.value()?;
        }
        self.varint().map(drop)
    }

    /// Its kind, its message, its cause and its stack, until a full stop.
    fn skip_error(&mut self) -> Result<(), Violation> {
        loop {
            match self.byte()? {
                b'.' => return Ok(()),
                b'm' | b'c' | b's' => drop(self.value()?),
                b'E' | b'R' | b'F' | b'S' | b'T' | b'U' => self.spend(1)?,
                _ => return Err(Violation::Malformed),
            }
        }
    }

    // ---- what has none

    fn small_integer(&mut self) -> Result<i64, Violation> {
        let zigzag = u32::try_from(self.varint()?).map_err(|_| Violation::Malformed)?;
        let magnitude = i64::from(zigzag >> 1);
        Ok(if zigzag & 1 == 0 { magnitude } else { -magnitude - 1 })
    }

    fn double(&mut self) -> Result<f64, Violation> {
        let bytes = self.bytes(8)?;
        Ok(f64::from_le_bytes(bytes.try_into().expect("eight were taken")))
    }

    fn big_integer(&mut self) -> Result<Value, Violation> {
        let bits = self.length()?;
        let digits = self.bytes(bits >> 1)?;
        self.spend(digits.len().saturating_mul(2))?;
        Ok(lossy::big_integer(bits & 1 == 1, digits).into())
    }

    fn one_byte_text(&mut self) -> Result<String, Violation> {
        Ok(self.text()?.iter().copied().map(char::from).collect())
    }

    fn two_byte_text(&mut self) -> Result<String, Violation> {
        let (units, rest) = self.text()?.as_chunks();
        if !rest.is_empty() {
            return Err(Violation::Malformed);
        }
        let characters = char::decode_utf16(units.iter().map(|unit| u16::from_le_bytes(*unit)));
        Ok(characters.map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
    }

    fn utf8_text(&mut self) -> Result<String, Violation> {
        Ok(String::from_utf8_lossy(self.text()?).into_owned())
    }

    // ---- bytes

    fn text(&mut self) -> Result<&'a [u8], Violation> {
        let length = self.length()?;
        self.spend(length)?;
        self.bytes(length)
    }

    fn spend(&mut self, cost: usize) -> Result<(), Violation> {
        self.left = self.left.checked_sub(cost).ok_or(Violation::TooLong)?;
        Ok(())
    }

    fn is_next(&mut self, tag: u8) -> bool {
        let found = self.payload.get(self.at) == Some(&tag);
        self.at += usize::from(found);
        found
    }

    fn byte(&mut self) -> Result<u8, Violation> {
        Ok(self.bytes(1)?[0])
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Violation> {
        let rest = self.payload.get(self.at..).ok_or(Violation::Malformed)?;
        let bytes = rest.get(..count).ok_or(Violation::Malformed)?;
        self.at += count;
        Ok(bytes)
    }

    fn length(&mut self) -> Result<usize, Violation> {
        usize::try_from(self.varint()?).map_err(|_| Violation::Malformed)
    }

    /// Seven bits a byte, the lowest first.
    fn varint(&mut self) -> Result<u64, Violation> {
        let mut number = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Violation::Malformed)
    }
}
