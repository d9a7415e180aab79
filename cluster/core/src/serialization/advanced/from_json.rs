//! JSON to V8's structured clone. The conversion preserves numbers as JavaScript reads them, the order of
//! members, and lone surrogates. A string that is not ASCII is written as UTF-8, which V8 reads but never
//! writes; a string with lone surrogates is written as V8 does.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::{HEADER, VERSION};

/// An open object or array.
struct OpenContainer {
    /// For an object: where its names begin in `names`. For an array: `None`.
    names: Option<u32>,
    /// The number of elements or values so far.
    count: u32,
}

/// The start and end of a member's name.
type NameRange = (u32, u32);

/// Converts a valid JSON text shorter than 1 GiB to a payload.
pub(crate) fn from_json(json: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() + 2);
    out.extend([HEADER, VERSION]);
    CloneWriter { out, lengths: lengths(json.as_bytes()).into_iter(), levels: Vec::new(), names: Vec::new() }
        .write(json)
}

struct CloneWriter {
    out: Vec<u8>,
    /// The lengths of the arrays that have not begun yet.
    lengths: alloc::vec::IntoIter<u32>,
    levels: Vec<OpenContainer>,
    /// The names of all open objects.
    names: Vec<NameRange>,
}

impl CloneWriter {
    fn write(mut self, json: &str) -> Vec<u8> {
        let mut at = 0;
        while let Some(lexeme) = lexeme(json, &mut at) {
            match lexeme {
                Lexeme::Text(text) if self.is_at_name() => {
                    self.name(text);
                    continue;
                }
                Lexeme::Text(text) => put_json_text(text, &mut self.out),
                Lexeme::Number(number) => put_number(number, &mut self.out),
                Lexeme::Word(tag) => self.out.push(tag),
                Lexeme::Opens(is_array) => {
                    self.open(is_array);
                    continue;
                }
                Lexeme::Closes => self.close(),
            }
            if let Some(level) = self.levels.last_mut() {
                level.count += 1;
            }
        }
        self.out
    }

    fn here(&self) -> u32 {
        u32::try_from(self.out.len()).expect("the text is shorter than a GiB")
    }

    fn is_at_name(&self) -> bool {
        let Some(OpenContainer { names: Some(first), count }) = self.levels.last() else { return false };
        self.names.len() == (first + count) as usize
    }

    fn name(&mut self, text: &str) {
        let begins = self.here();
        put_json_text(text, &mut self.out);
        self.names.push((begins, self.here()));
    }

    fn open(&mut self, is_array: bool) {
        self.out.push(if is_array { b'A' } else { b'o' });
        if is_array {
            put_varint(self.lengths.next().unwrap_or(0) as usize, &mut self.out);
        }
        let first = u32::try_from(self.names.len()).expect("each has a byte at least");
        self.levels.push(OpenContainer { names: (!is_array).then_some(first), count: 0 });
    }

    fn close(&mut self) {
        let Some(OpenContainer { names, count }) = self.levels.pop() else { return };
        if let Some(first) = names {
            let names = self.names.split_off(first as usize);
            let count = if has_duplicates(&names, &self.out) {
                without_duplicates(&names, &mut self.out)
            } else {
                count as usize
            };
            self.out.push(b'{');
            put_varint(count, &mut self.out);
        } else {
            // An array has no properties besides its elements.
            self.out.extend([b'$', 0]);
            put_varint(count as usize, &mut self.out);
        }
    }
}

fn has_duplicates(names: &[NameRange], out: &[u8]) -> bool {
    let bytes = |(begins, ends): &NameRange| &out[*begins as usize..*ends as usize];
    let mut sorted = names.to_vec();
    sorted.sort_unstable_by(|one, other| bytes(one).cmp(bytes(other)));
    sorted.windows(2).any(|pair| bytes(&pair[0]) == bytes(&pair[1]))
}

/// Removes duplicate names, which V8 rejects. The last member with a name counts, at the position of the
/// first.
fn without_duplicates(names: &[NameRange], out: &mut Vec<u8>) -> usize {
    let begins = names.first().map_or(0, |name| name.0 as usize);
    let written = out.split_off(begins);
    let slice = |from: u32, to: Option<u32>| {
        let to = to.map_or(written.len(), |to| to as usize - begins);
        &written[from as usize - begins..to]
    };
    let mut places: BTreeMap<&[u8], usize> = BTreeMap::new();
    let mut members: Vec<(&[u8], &[u8])> = Vec::new();
    for (index, (begins, ends)) in names.iter().enumerate() {
        let name = slice(*begins, Some(*ends));
        let value = slice(*ends, names.get(index + 1).map(|next| next.0));
        if let Some(place) = places.get(name) {
            members[*place].1 = value;
        } else {
            places.insert(name, members.len());
            members.push((name, value));
        }
    }
    for (name, value) in &members {
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    }
    members.len()
}

/// Marks an object in the list of open arrays.
const OBJECT: u32 = u32::MAX;

/// The number of elements of each array, in the order in which the arrays begin.
fn lengths(json: &[u8]) -> Vec<u32> {
    let (mut lengths, mut open): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        at += 1;
        match byte {
            b'"' => at = text_end(json, at),
            b'[' => {
                // At least one element, unless the end of the array follows.
                let is_empty = json[at..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b']');
                open.push(u32::try_from(lengths.len()).expect("the text is shorter than a GiB"));
                lengths.push(u32::from(!is_empty));
            }
            b'{' => open.push(OBJECT),
            b']' | b'}' => drop(open.pop()),
            b',' => {
                if let Some(array) = open.last().filter(|array| **array != OBJECT) {
                    lengths[*array as usize] += 1;
                }
            }
            _ => {}
        }
    }
    lengths
}

/// The position after the closing quotation mark of a string.
fn text_end(json: &[u8], mut at: usize) -> usize {
    while let Some(found) = memchr::memchr2(b'"', b'\\', json.get(at..).unwrap_or_default()) {
        at += found + 1;
        if json[at - 1] == b'"' {
            return at;
        }
        at += 1;
    }
    json.len()
}

enum Lexeme<'a> {
    /// A string, without the quotation marks.
    Text(&'a str),
    Number(&'a str),
    /// `null`, `true` or `false`, by its tag.
    Word(u8),
    /// The beginning of an array if true, otherwise of an object.
    Opens(bool),
    Closes,
}

fn lexeme<'a>(json: &'a str, at: &mut usize) -> Option<Lexeme<'a>> {
    let bytes = json.as_bytes();
    while matches!(bytes.get(*at)?, b' ' | b'\t' | b'\r' | b'\n' | b',' | b':') {
        *at += 1;
    }
    let start = *at;
    *at += 1;
    Some(match bytes[start] {
        b'"' => {
            *at = text_end(bytes, *at);
            Lexeme::Text(json.get(start + 1..*at - 1)?)
        }
        b'[' => Lexeme::Opens(true),
        b'{' => Lexeme::Opens(false),
        b']' | b'}' => Lexeme::Closes,
        b'n' => word(b'0', 4, at),
        b't' => word(b'T', 4, at),
        b'f' => word(b'F', 5, at),
        _ => {
            let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
            *at = start + bytes[start..].iter().take_while(|byte| is_part(byte)).count().max(1);
            Lexeme::Number(json.get(start..*at)?)
        }
    })
}

fn word<'a>(tag: u8, length: usize, at: &mut usize) -> Lexeme<'a> {
    *at += length - 1;
    Lexeme::Word(tag)
}

/// Writes a number. JavaScript's small integers are written as integers, all other numbers as floats.
fn put_number(number: &str, out: &mut Vec<u8>) {
    if number != "-0"
        && let Ok(small) = number.parse::<i32>()
    {
        put_small(small, out);
    } else {
        out.push(b'N');
        // A number that is out of range becomes infinite, as in JavaScript.
        out.extend(number.parse::<f64>().unwrap_or(f64::NAN).to_le_bytes());
    }
}

pub(crate) fn put_small(number: i32, out: &mut Vec<u8>) {
    out.push(b'I');
    let zigzag = (number << 1) ^ (number >> 31);
    put_varint(zigzag.cast_unsigned() as usize, out);
}

/// Writes a string, given without the quotation marks.
fn put_json_text(text: &str, out: &mut Vec<u8>) {
    match unescaped(text) {
        Ok(text) => put_text(&text, out),
        Err(units) => put_units(&units, out),
    }
}

pub(crate) fn put_text(text: &str, out: &mut Vec<u8>) {
    out.push(if text.is_ascii() { b'"' } else { b'S' });
    put_varint(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

/// Writes a string in UTF-16 at an even position, as V8 does.
pub(crate) fn put_units(units: &[u16], out: &mut Vec<u8>) {
    let mut length = Vec::with_capacity(5);
    put_varint(units.len() * 2, &mut length);
    if !(out.len() + 1 + length.len()).is_multiple_of(2) {
        out.push(0);
    }
    out.push(b'c');
    out.extend(length);
    out.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
}

/// Replaces the escapes of a string. If the string has lone surrogates, the error contains the string in
/// UTF-16.
fn unescaped(text: &str) -> Result<Cow<'_, str>, Vec<u16>> {
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(text));
    }
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        units.extend(before.encode_utf16());
        let (unit, length) = escape(after.as_bytes());
        units.push(unit);
        rest = after.get(length..).unwrap_or_default();
    }
    units.extend(rest.encode_utf16());
    String::from_utf16(&units).map(Cow::Owned).map_err(|_| units)
}

/// The code unit of the escape at the beginning, and the length of the escape.
fn escape(after: &[u8]) -> (u16, usize) {
    let short = |unit: u8| (u16::from(unit), 1);
    match after.first() {
        Some(b'n') => short(b'\n'),
        Some(b't') => short(b'\t'),
        Some(b'r') => short(b'\r'),
        Some(b'b') => short(8),
        Some(b'f') => short(12),
        Some(b'u') => {
            let digits = after.get(1..5).and_then(|digits| core::str::from_utf8(digits).ok());
            (digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()).unwrap_or(0xFFFD), 5)
        }
        Some(other) => short(*other),
        None => (0xFFFD, 0),
    }
}

pub(crate) fn put_varint(mut number: usize, out: &mut Vec<u8>) {
    while number > 0x7F {
        out.push(u8::try_from(number & 0x7F).expect("seven bits") | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).expect("seven bits"));
}
