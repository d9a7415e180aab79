//! V8's structured clone to JSON, as Node's `JSON.stringify` writes it, without recursion. Values without a
//! JSON form are treated as in Node: an `undefined` member is left out; a map, a set, an error or a regular
//! expression is `{}`; a date is its text.

use alloc::string::String;
use alloc::vec::Vec;

use super::no_json::NoJson;
use super::numbers::append;
use super::text::Text;
use super::tokens::{Leaf, Open, Token, Tokens};
use super::{date, numbers, views};

/// What is converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    /// As `JSON.stringify`, up to this many bytes.
    Stringify(usize),
    /// The fields of an internal message of Node. Bytes, big integers and references become null, and the
    /// content of an envelope is left out, so the JSON is proportional to the payload.
    Fields,
}

/// Converts a payload to JSON.
pub(crate) fn to_json(payload: &[u8], rules: Rules) -> Result<String, NoJson> {
    let tokens = Tokens::new(payload)?;
    let limit = match rules {
        Rules::Stringify(limit) => limit,
        Rules::Fields => payload.len().saturating_mul(8).saturating_add(64),
    };
    // The limit is lower than the largest 32-bit number, because positions in the text have 32 bits.
    let limit = limit.min(u32::MAX as usize / 2);
    let mut writer = JsonWriter {
        payload,
        rules,
        limit,
        left: payload.len().saturating_add(limit),
        out: String::new(),
        objects: Vec::new(),
        readers: Vec::from([tokens]),
        levels: Vec::new(),
    };
    while writer.step()? {}
    if writer.out.is_empty() { Err(NoJson::Nothing) } else { Ok(writer.out) }
}

/// The position of the writer in an open value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// Before an element of an array. True: after another element.
    Element(bool),
    /// Before the name of an element of a sparse array, after this number of elements.
    Index(u32),
    /// Before the element of a sparse array with this index.
    Sparse(u32),
    /// Before the other members of a sparse array, after this number of elements.
    Besides(u32),
    /// Before the name of a member. True: after another member.
    Name(bool),
    /// Before the value of a member. If the value is `undefined`, the name is removed.
    Value(bool),
    /// Before the value of a member that is left out.
    Left(bool),
    /// In a host object of Node, before its only value.
    Host,
    /// In a value that is not written.
    Silent,
}

#[derive(Debug, Clone, Copy)]
struct WriteLevel {
    position: Position,
    object: u32,
    /// The length of the text before the name of the next value was written.
    before: u32,
}

struct JsonWriter<'a> {
    payload: &'a [u8],
    rules: Rules,
    limit: usize,
    /// The number of bytes that may still be read. A value is read once for each reference to it.
    left: usize,
    out: String,
    /// The position of each object, in the order in which V8 numbers them, and whether the object is open.
    objects: Vec<(u32, bool)>,
    /// The reader of the payload, and the readers for the references.
    readers: Vec<Tokens<'a>>,
    levels: Vec<WriteLevel>,
}

impl<'a> JsonWriter<'a> {
    /// Handles one token. False: it was the last.
    fn step(&mut self) -> Result<bool, NoJson> {
        let Some(tokens) = self.readers.last_mut() else { return Ok(false) };
        let (number, from, is_besides) = (tokens.objects(), tokens.end(), tokens.is_besides_elements());
        let Some(token) = tokens.next()? else {
            self.readers.pop();
            return Ok(true);
        };
        self.left = self.left.checked_sub(tokens.end() - from).ok_or(NoJson::TooLong)?;
        let is_new = tokens.objects() > number && number as usize == self.objects.len();
        // `Rules::Fields` does not follow references.
        if is_new && self.rules != Rules::Fields {
            let start = u32::try_from(tokens.start()).map_err(|_| NoJson::Malformed)?;
            self.objects.push((start, false));
        }
        let is_silent = is_besides
            || matches!(self.position(), Some(Position::Silent | Position::Besides(_) | Position::Left(_)));
        self.token(token, number, is_silent)?;
        if self.out.len() > self.limit { Err(NoJson::TooLong) } else { Ok(true) }
    }

    fn token(&mut self, token: Token<'a>, number: u32, is_silent: bool) -> Result<(), NoJson> {
        match token {
            Token::Close(open) => self.close(open)?,
            Token::Open(_) if is_silent => self.push(Position::Silent, number),
            Token::Open(open) => {
                self.begin();
                self.open(open, number);
            }
            Token::Error(_) => {}
            Token::Leaf(_) | Token::Reference(_) if is_silent => self.end_silently(),
            Token::Reference(object) => self.reference(object)?,
            Token::Leaf(leaf) => match self.position() {
                Some(Position::Name(had_one)) => self.name(leaf, had_one),
                Some(Position::Index(written)) => self.index(leaf, written)?,
                Some(_) | None => self.value(leaf)?,
            },
        }
        Ok(())
    }

    fn position(&self) -> Option<Position> {
        self.levels.last().map(|level| level.position)
    }

    fn set(&mut self, position: Position) {
        if let Some(level) = self.levels.last_mut() {
            level.position = position;
        }
    }

    fn push(&mut self, position: Position, object: u32) {
        self.levels.push(WriteLevel { position, object, before: 0 });
    }

    /// Begins a written value.
    fn begin(&mut self) {
        if let Some(Position::Element(true)) = self.position() {
            self.out.push(',');
        }
    }

    /// Ends a written value.
    fn end(&mut self) {
        match self.position() {
            Some(Position::Element(_)) => self.set(Position::Element(true)),
            Some(Position::Sparse(index)) => self.set(Position::Index(index.saturating_add(1))),
            Some(Position::Value(_)) => self.set(Position::Name(true)),
            Some(_) | None => self.end_silently(),
        }
    }

    /// Ends a value that is not written.
    fn end_silently(&mut self) {
        match self.position() {
            Some(Position::Besides(written)) => self.set(Position::Index(written)),
            Some(Position::Left(had_one)) => self.set(Position::Name(had_one)),
            Some(_) | None => {}
        }
    }

    fn open(&mut self, open: Open, number: u32) {
        let is_sparse_field = self.rules == Rules::Fields;
        let (text, position) = match open {
            Open::Object => ("{", Position::Name(false)),
            Open::Dense(_) => ("[", Position::Element(false)),
            Open::Sparse(_) if !is_sparse_field => ("[", Position::Index(0)),
            Open::Sparse(_) | Open::Map | Open::Set | Open::Error => ("{}", Position::Silent),
            Open::Host => ("", Position::Host),
        };
        self.out.push_str(text);
        self.push(position, number);
        if let Some((_, is_open)) = self.objects.get_mut(number as usize) {
            *is_open = true;
        }
    }

    fn close(&mut self, open: Open) -> Result<(), NoJson> {
        let Some(WriteLevel { position, object, .. }) = self.levels.pop() else {
            return Err(NoJson::Malformed);
        };
        match (position, open) {
            (Position::Index(written), Open::Sparse(length)) => {
                self.nulls(written, length)?;
                self.out.push(']');
            }
            (Position::Element(_), _) => self.out.push(']'),
            (Position::Name(_), _) => self.out.push('}'),
            _ => {}
        }
        if let Some((_, is_open)) = self.objects.get_mut(object as usize) {
            *is_open = false;
        }
        self.end();
        Ok(())
    }

    /// Writes `null` for missing elements of an array.
    fn nulls(&mut self, from: u32, to: u32) -> Result<(), NoJson> {
        const NULL: &str = "null,";
        let missing = to.saturating_sub(from) as usize;
        if missing.saturating_mul(NULL.len()).saturating_add(self.out.len()) > self.limit {
            return Err(NoJson::TooLong);
        }
        for index in from..to {
            self.out.push_str(if index == 0 { "null" } else { ",null" });
        }
        Ok(())
    }

    fn index(&mut self, name: Leaf<'a>, written: u32) -> Result<(), NoJson> {
        let index = if let Leaf::Integer(index) = name {
            u32::try_from(index).ok()
        } else if let Leaf::Double(index) = name {
            numbers::index(index)
        } else if let Leaf::Text(text) = name {
            text.lossy().parse().ok()
        } else {
            None
        };
        let Some(index) = index.filter(|index| *index >= written) else {
            self.set(Position::Besides(written));
            return Ok(());
        };
        self.nulls(written, index)?;
        if index > 0 {
            self.out.push(',');
        }
        self.set(Position::Sparse(index));
        Ok(())
    }

    fn name(&mut self, name: Leaf<'a>, had_one: bool) {
        if self.rules == Rules::Fields && self.levels.len() == 1 && is_enclosed(name) {
            return self.set(Position::Left(had_one));
        }
        let before = u32::try_from(self.out.len()).unwrap_or(u32::MAX);
        if had_one {
            self.out.push(',');
        }
        if let Leaf::Text(name) = name {
            put_text(name, &mut self.out);
        } else if let Leaf::Integer(index) = name {
            append(&mut self.out, format_args!("\"{index}\""));
        } else if let Leaf::Double(index) = name {
            self.out.push('"');
            numbers::put(index, &mut self.out);
            self.out.push('"');
        }
        self.out.push(':');
        if let Some(level) = self.levels.last_mut() {
            (level.position, level.before) = (Position::Value(had_one), before);
        }
    }

    fn reference(&mut self, object: u32) -> Result<(), NoJson> {
        if self.rules == Rules::Fields {
            return self.value(Leaf::Null);
        }
        let (start, is_open) = *self.objects.get(object as usize).ok_or(NoJson::Malformed)?;
        if is_open {
            return Err(NoJson::Cycle);
        }
        self.readers.push(Tokens::of_value(self.payload, start as usize, object));
        Ok(())
    }

    fn value(&mut self, leaf: Leaf<'a>) -> Result<(), NoJson> {
        let is_nothing = matches!(leaf, Leaf::Undefined | Leaf::Hole);
        match (is_nothing, self.levels.last().copied()) {
            (true, None) => return Ok(()),
            (true, Some(WriteLevel { position: Position::Value(had_one), before, .. })) => {
                self.out.truncate(before as usize);
                self.set(Position::Name(had_one));
                return Ok(());
            }
            _ => {}
        }
        self.begin();
        match self.rules {
            Rules::Stringify(_) => scalar(leaf, self.limit, &mut self.out)?,
            Rules::Fields => field(leaf, &mut self.out)?,
        }
        self.end();
        Ok(())
    }
}

/// Whether the member with this name is the content of an envelope.
fn is_enclosed(name: Leaf<'_>) -> bool {
    matches!(name, Leaf::Text(name) if name.is(b"msg"))
}

/// Writes a field. A value that internal messages never contain becomes null.
fn field(leaf: Leaf<'_>, out: &mut String) -> Result<(), NoJson> {
    if matches!(leaf, Leaf::BigInt(_) | Leaf::BoxedBigInt(_) | Leaf::View { .. }) {
        out.push_str("null");
        return Ok(());
    }
    scalar(leaf, usize::MAX, out)
}

fn scalar(leaf: Leaf<'_>, limit: usize, out: &mut String) -> Result<(), NoJson> {
    match leaf {
        Leaf::Undefined | Leaf::Hole | Leaf::Null => out.push_str("null"),
        Leaf::Bool(true) | Leaf::BoxedBool(true) => out.push_str("true"),
        Leaf::Bool(false) | Leaf::BoxedBool(false) => out.push_str("false"),
        Leaf::Integer(number) => append(out, format_args!("{number}")),
        Leaf::Double(number) | Leaf::BoxedNumber(number) => numbers::put(number, out),
        Leaf::Text(text) | Leaf::BoxedText(text) => put_text(text, out),
        Leaf::Date(milliseconds) => put_date(milliseconds, out),
        Leaf::View { kind, bytes } => views::put_view(kind, bytes, limit, out)?,
        Leaf::BigInt(_) | Leaf::BoxedBigInt(_) => return Err(NoJson::BigInt),
        Leaf::RegExp { .. } | Leaf::ArrayBuffer { .. } => out.push_str("{}"),
    }
    Ok(())
}

fn put_date(milliseconds: f64, out: &mut String) {
    match date::iso(milliseconds) {
        Some(text) => append(out, format_args!("\"{text}\"")),
        None => out.push_str("null"),
    }
}

/// Writes a text as `JSON.stringify` does: lone surrogates are escaped.
fn put_text(text: Text<'_>, out: &mut String) {
    out.push('"');
    for character in text.characters() {
        match character {
            Ok('"') => out.push_str("\\\""),
            Ok('\\') => out.push_str("\\\\"),
            Ok('\n') => out.push_str("\\n"),
            Ok('\t') => out.push_str("\\t"),
            Ok('\r') => out.push_str("\\r"),
            Ok(control @ '\0'..='\x1F') => append(out, format_args!("\\u{:04x}", u32::from(control))),
            Ok(character) => out.push(character),
            Err(half) => append(out, format_args!("\\u{half:04x}")),
        }
    }
    out.push('"');
}
