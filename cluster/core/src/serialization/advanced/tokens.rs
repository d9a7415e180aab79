//! V8's structured clone as tokens, read without recursion: a level of depth costs 8 bytes. The input is
//! untrusted, so every length, count, key and reference is checked. No value is built.

use alloc::vec::Vec;

use super::HEADER;
use super::text::Text;
use crate::violation::Violation;

/// One step through a payload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Token<'a> {
    /// A value without inner values.
    Leaf(Leaf<'a>),
    /// A reference to an object that has begun earlier, by the object's number.
    Reference(u32),
    /// The beginning of a value with inner values.
    Open(Open),
    /// A part of the error that is open.
    Error(ErrorPart<'a>),
    Close(Open),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Leaf<'a> {
    Undefined,
    /// A missing element of an array.
    Hole,
    Null,
    Bool(bool),
    Integer(i64),
    Double(f64),
    BigInt(BigDigits<'a>),
    Text(Text<'a>),
    /// A date, in milliseconds since 1970.
    Date(f64),
    BoxedBool(bool),
    BoxedNumber(f64),
    BoxedBigInt(BigDigits<'a>),
    BoxedText(Text<'a>),
    RegExp {
        source: Text<'a>,
        flags: u32,
    },
    ArrayBuffer {
        bytes: &'a [u8],
        /// The greatest length, if the buffer can be resized.
        max: Option<u64>,
    },
    /// A typed array, a buffer or a data view. Node numbers these kinds.
    View {
        kind: u32,
        bytes: &'a [u8],
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ErrorPart<'a> {
    /// The name of the constructor, if it is not `Error`.
    Name(&'static str),
    Message(Text<'a>),
    Stack(Text<'a>),
    /// The cause follows as the next value.
    Cause,
}

/// The digits of a big integer, lowest first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct BigDigits<'a> {
    pub(crate) negative: bool,
    pub(crate) digits: &'a [u8],
}

/// A value with inner values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    Object,
    /// An array: this number of elements, then other members.
    Dense(u32),
    /// A sparse array of this length, which has members only.
    Sparse(u32),
    Map,
    Set,
    Error,
    /// A host object of Node. One value follows: a plain object.
    Host,
}

/// An open value: the position of the tag, and the number of inner values read so far.
#[derive(Debug, Clone, Copy)]
struct OpenValue {
    tag: u32,
    count: u32,
}

/// What the next token must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// The name of a member, or the end.
    Key,
    /// A value or the end.
    ValueOrEnd,
    /// An element of a dense array, or a hole.
    Element,
    Value,
    /// Only the end.
    End,
    /// The next part of an error.
    ErrorPart,
}

#[derive(Debug)]
pub(crate) struct Tokens<'a> {
    payload: &'a [u8],
    at: usize,
    levels: Vec<OpenValue>,
    /// The number of the next object, counted as by V8.
    next_object: u32,
    /// The position of the tag of the last token.
    start: usize,
    begun: bool,
}

impl<'a> Tokens<'a> {
    /// A reader of a whole payload.
    pub(crate) fn new(payload: &'a [u8]) -> Result<Self, Violation> {
        let mut tokens = Tokens::of_value(payload, 0, 0);
        if tokens.byte()? != HEADER || u32::try_from(payload.len()).is_err() {
            return Err(Violation::Malformed);
        }
        tokens.varint()?;
        Ok(tokens)
    }

    /// A reader of the value at a position. The first object of the value has the number `next_object`.
    pub(crate) fn of_value(payload: &'a [u8], at: usize, next_object: u32) -> Self {
        Tokens { payload, at, levels: Vec::new(), next_object, start: at, begun: false }
    }

    /// The number of open values.
    pub(crate) fn depth(&self) -> usize {
        self.levels.len()
    }

    /// The end of the last token.
    pub(crate) fn end(&self) -> usize {
        self.at
    }

    /// The beginning of the last token.
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// The number of objects that have begun.
    pub(crate) fn objects(&self) -> u32 {
        self.next_object
    }

    /// Whether the next token is the name of a member, or the end of the open value.
    pub(crate) fn is_at_key(&self) -> bool {
        self.levels.last().is_some_and(|level| self.expected(*level) == Expected::Key)
    }

    /// Whether the next token is a member of an array besides its elements, or the array's end.
    pub(crate) fn is_besides_elements(&self) -> bool {
        let array = self.levels.last().filter(|level| self.payload[level.tag as usize] == b'A');
        array.is_some_and(|level| self.expected(*level) != Expected::Element)
    }

    /// The next token; `None` after the last token of the value.
    pub(crate) fn next(&mut self) -> Result<Option<Token<'a>>, Violation> {
        let Some(level) = self.levels.last().copied() else {
            let is_over = core::mem::replace(&mut self.begun, true);
            return if is_over { Ok(None) } else { self.value(Expected::Value).map(Some) };
        };
        let expected = self.expected(level);
        let ends = match expected {
            Expected::Key | Expected::ValueOrEnd => self.is_next(self.end_tag(level)),
            Expected::Element | Expected::Value => false,
            Expected::End => true,
            Expected::ErrorPart => return self.error_part().map(Some),
        };
        if ends { self.close(level).map(Some) } else { self.value(expected).map(Some) }
    }

    fn expected(&self, OpenValue { tag, count }: OpenValue) -> Expected {
        let pair = |count: u32| if count.is_multiple_of(2) { Expected::Key } else { Expected::Value };
        match self.payload[tag as usize] {
            b'o' | b'a' => pair(count),
            b'A' => count.checked_sub(self.declared(tag)).map_or(Expected::Element, pair),
            b'\\' if count == 0 => Expected::Value,
            b'\\' => Expected::End,
            // A map cannot end between a key and the value, and an error cannot end after an announced cause.
            b';' | b'r' if !count.is_multiple_of(2) => Expected::Value,
            b'r' => Expected::ErrorPart,
            _ => Expected::ValueOrEnd,
        }
    }

    fn end_tag(&self, level: OpenValue) -> u8 {
        match self.payload[level.tag as usize] {
            b'o' => b'{',
            b'A' => b'$',
            b'a' => b'@',
            b';' => b':',
            _ => b',',
        }
    }

    /// The length of the array with the tag at this position. The length was read before.
    fn declared(&self, tag: u32) -> u32 {
        Tokens::of_value(self.payload, tag as usize + 1, 0).varint32().unwrap_or(0)
    }

    fn open_of(&self, tag: u32) -> Open {
        match self.payload[tag as usize] {
            b'o' => Open::Object,
            b'A' => Open::Dense(self.declared(tag)),
            b'a' => Open::Sparse(self.declared(tag)),
            b';' => Open::Map,
            b'\'' => Open::Set,
            b'r' => Open::Error,
            _ => Open::Host,
        }
    }

    /// Closes the open value after the end tag. Its counts must match the values read.
    fn close(&mut self, OpenValue { tag, count }: OpenValue) -> Result<Token<'a>, Violation> {
        self.start = self.at.saturating_sub(1);
        let open = self.open_of(tag);
        let is_true = match open {
            Open::Object => self.varint32()?.checked_mul(2) == Some(count),
            Open::Dense(length) => {
                self.varint32()?.checked_mul(2) == count.checked_sub(length) && self.varint32()? == length
            }
            Open::Sparse(length) => {
                self.varint32()?.checked_mul(2) == Some(count) && self.varint32()? == length
            }
            Open::Map | Open::Set => self.varint32()? == count,
            Open::Error | Open::Host => true,
        };
        self.levels.pop();
        self.count();
        if is_true { Ok(Token::Close(open)) } else { Err(Violation::Malformed) }
    }

    /// Counts an inner value of the open value.
    fn count(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            level.count = level.count.saturating_add(1);
        }
    }

    fn value(&mut self, expected: Expected) -> Result<Token<'a>, Violation> {
        let tag = self.tag()?;
        let token = match tag {
            b'_' => Token::Leaf(Leaf::Undefined),
            b'-' if expected == Expected::Element => Token::Leaf(Leaf::Hole),
            b'0' => Token::Leaf(Leaf::Null),
            b'T' => Token::Leaf(Leaf::Bool(true)),
            b'F' => Token::Leaf(Leaf::Bool(false)),
            b'I' => Token::Leaf(Leaf::Integer(self.small_integer()?)),
            b'U' => Token::Leaf(Leaf::Integer(self.varint32()?.into())),
            b'N' => Token::Leaf(Leaf::Double(self.double()?)),
            b'Z' => Token::Leaf(Leaf::BigInt(self.big_digits()?)),
            b'"' | b'c' | b'S' => Token::Leaf(Leaf::Text(self.text_of(tag)?)),
            b'^' => Token::Reference(self.reference()?),
            _ => self.object(tag)?,
        };
        let is_name = matches!(token, Token::Leaf(Leaf::Text(_) | Leaf::Integer(_) | Leaf::Double(_)));
        if expected == Expected::Key && !is_name {
            return Err(Violation::Malformed);
        }
        if !matches!(token, Token::Open(_)) {
            self.count();
        }
        Ok(token)
    }

    /// A value that has a number, so references to it are possible.
    fn object(&mut self, tag: u8) -> Result<Token<'a>, Violation> {
        self.next_object = self.next_object.checked_add(1).ok_or(Violation::Malformed)?;
        Ok(match tag {
            b'D' => Token::Leaf(Leaf::Date(self.double()?)),
            b'y' => Token::Leaf(Leaf::BoxedBool(true)),
            b'x' => Token::Leaf(Leaf::BoxedBool(false)),
            b'n' => Token::Leaf(Leaf::BoxedNumber(self.double()?)),
            b'z' => Token::Leaf(Leaf::BoxedBigInt(self.big_digits()?)),
            b's' => Token::Leaf(Leaf::BoxedText(self.text()?)),
            b'R' => Token::Leaf(Leaf::RegExp { source: self.text()?, flags: self.varint32()? }),
            b'B' => Token::Leaf(Leaf::ArrayBuffer { bytes: self.run()?, max: None }),
            b'~' => self.resizable()?,
            b'\\' => return self.host_object(),
            b'o' | b'A' | b'a' | b';' | b'\'' | b'r' => return self.open(tag),
            _ => return Err(Violation::Malformed),
        })
    }

    fn open(&mut self, tag: u8) -> Result<Token<'a>, Violation> {
        let at = u32::try_from(self.start).map_err(|_| Violation::Malformed)?;
        if matches!(tag, b'A' | b'a') {
            self.varint32()?;
        }
        self.levels.push(OpenValue { tag: at, count: 0 });
        Ok(Token::Open(self.open_of(at)))
    }

    /// Node's own values: views of bytes, and host objects, which are read as plain objects.
    fn host_object(&mut self) -> Result<Token<'a>, Violation> {
        const VIEW: u64 = 0;
        const OTHER: u64 = 1;
        match self.varint()? {
            VIEW => Ok(Token::Leaf(Leaf::View { kind: self.varint32()?, bytes: self.run()? })),
            OTHER => self.open(b'\\'),
            _ => Err(Violation::Malformed),
        }
    }

    fn resizable(&mut self) -> Result<Token<'a>, Violation> {
        let (length, max) = (self.varint32()?, self.varint()?);
        Ok(Token::Leaf(Leaf::ArrayBuffer { bytes: self.bytes(length as usize)?, max: Some(max) }))
    }

    /// A part of an error: constructor, message, cause or stack. A full stop ends the parts.
    fn error_part(&mut self) -> Result<Token<'a>, Violation> {
        self.start = self.at;
        Ok(match self.byte()? {
            b'.' => {
                self.levels.pop();
                self.count();
                Token::Close(Open::Error)
            }
            b'm' => Token::Error(ErrorPart::Message(self.text()?)),
            b's' => Token::Error(ErrorPart::Stack(self.text()?)),
            b'c' => {
                self.count();
                Token::Error(ErrorPart::Cause)
            }
            b'E' => Token::Error(ErrorPart::Name("EvalError")),
            b'R' => Token::Error(ErrorPart::Name("RangeError")),
            b'F' => Token::Error(ErrorPart::Name("ReferenceError")),
            b'S' => Token::Error(ErrorPart::Name("SyntaxError")),
            b'T' => Token::Error(ErrorPart::Name("TypeError")),
            b'U' => Token::Error(ErrorPart::Name("URIError")),
            _ => return Err(Violation::Malformed),
        })
    }

    // ---- bytes

    /// The next tag. Two things are skipped: padding before strings of two-byte characters, and a count of
    /// objects, which may precede any value and which V8 verifies.
    fn tag(&mut self) -> Result<u8, Violation> {
        loop {
            self.start = self.at;
            match self.byte()? {
                0 => {}
                b'?' => drop(self.varint()?),
                tag => return Ok(tag),
            }
        }
    }

    fn is_next(&mut self, tag: u8) -> bool {
        while self.payload.get(self.at) == Some(&0) {
            self.at += 1;
        }
        let found = self.payload.get(self.at) == Some(&tag);
        self.at += usize::from(found);
        found
    }

    fn text(&mut self) -> Result<Text<'a>, Violation> {
        let tag = self.tag()?;
        self.text_of(tag)
    }

    fn text_of(&mut self, tag: u8) -> Result<Text<'a>, Violation> {
        match tag {
            b'"' => Ok(Text::Latin1(self.run()?)),
            b'S' => Ok(Text::Utf8(self.run()?)),
            b'c' => {
                let (units, rest) = self.run()?.as_chunks();
                if rest.is_empty() { Ok(Text::Utf16(units)) } else { Err(Violation::Malformed) }
            }
            _ => Err(Violation::Malformed),
        }
    }

    fn reference(&mut self) -> Result<u32, Violation> {
        let number = self.varint32()?;
        if number < self.next_object { Ok(number) } else { Err(Violation::Malformed) }
    }

    fn small_integer(&mut self) -> Result<i64, Violation> {
        let zigzag = self.varint32()?;
        let magnitude = i64::from(zigzag >> 1);
        Ok(if zigzag & 1 == 0 { magnitude } else { -magnitude - 1 })
    }

    fn double(&mut self) -> Result<f64, Violation> {
        let bytes = self.bytes(8)?;
        Ok(f64::from_le_bytes(bytes.try_into().expect("eight were taken")))
    }

    fn big_digits(&mut self) -> Result<BigDigits<'a>, Violation> {
        let bits = self.varint32()?;
        Ok(BigDigits { negative: bits & 1 == 1, digits: self.bytes((bits >> 1) as usize)? })
    }

    /// Reads a count, and this number of bytes.
    fn run(&mut self) -> Result<&'a [u8], Violation> {
        let length = self.varint32()?;
        self.bytes(length as usize)
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

    fn varint32(&mut self) -> Result<u32, Violation> {
        u32::try_from(self.varint()?).map_err(|_| Violation::Malformed)
    }

    /// A number with seven bits per byte, lowest first.
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
