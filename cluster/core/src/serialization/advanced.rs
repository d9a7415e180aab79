//! Node's 'advanced' serialization: V8's structured clone, each payload preceded by its length.
//!
//! A user's payload is forwarded unchanged. Here it is validated and searched for the fields of an internal
//! message (`outline`), put into an envelope or taken out of one (`envelope`), and converted from and to JSON
//! (`from_json`, `to_json`).

pub(crate) mod date;
mod envelope;
pub(crate) mod from_json;
mod no_json;
pub(crate) mod numbers;
pub(crate) mod text;
mod to_json;
pub(crate) mod tokens;
pub(crate) mod views;

use alloc::string::String;
use core::ops::Range;

use super::json::is_internal;
use crate::violation::Violation;
use tokens::{Leaf, Open, Token, Tokens};

pub(crate) use envelope::{detached, enveloped};
pub(crate) use from_json::from_json;
pub(crate) use no_json::NoJson;
pub(crate) use to_json::{Rules, to_json};

#[cfg(test)]
mod tests;

/// The first byte of every payload. The version of the format follows.
pub(crate) const HEADER: u8 = 0xFF;

/// The version that Node 18 to 26 write. Older versions can be read as well.
pub(crate) const VERSION: u8 = 15;

/// The members of a payload that matter, if the payload is an object.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outline {
    /// The `cmd`, if it is a string.
    pub(crate) cmd: Option<String>,
    /// The `msg`.
    pub(crate) msg: Option<Span>,
}

impl Outline {
    pub(crate) fn is_reserved(&self) -> bool {
        self.cmd.as_deref().is_some_and(is_internal)
    }
}

/// A value inside a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    range: Range<usize>,
    /// The number of the first object in the value.
    first_object: u32,
}

/// The longest `cmd` that is read. Node's own have at most 26 characters.
const LONGEST_CMD: usize = 64;

/// Validates a payload, and returns its outline.
pub(crate) fn outline(payload: &[u8]) -> Result<Outline, Violation> {
    let mut tokens = Tokens::new(payload)?;
    let mut outline = Outline::default();
    let is_object = tokens.next()? == Some(Token::Open(Open::Object));
    while let Some(token) = member(&mut tokens)? {
        let (Token::Leaf(Leaf::Text(name)), true) = (token, is_object) else { continue };
        let (begins, first_object) = (tokens.end(), tokens.objects());
        if name.is(b"cmd") {
            let Some(Token::Leaf(Leaf::Text(cmd))) = tokens.next()? else {
                outline.cmd = None;
                continue;
            };
            let cmd = cmd.characters().take(LONGEST_CMD);
            outline.cmd =
                Some(cmd.map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER)).collect());
        } else if name.is(b"msg") {
            skip(&mut tokens)?;
            outline.msg = Some(Span { range: begins..tokens.end(), first_object });
        }
    }
    Ok(outline)
}

/// The next member name of the outermost object. If the payload is no object: its next token.
fn member<'a>(tokens: &mut Tokens<'a>) -> Result<Option<Token<'a>>, Violation> {
    loop {
        let is_member = tokens.depth() == 1 && tokens.is_at_key();
        match tokens.next()? {
            Some(token) if is_member => return Ok(Some(token)),
            Some(_) => {}
            None => return Ok(None),
        }
    }
}

/// Reads one value to its end.
fn skip(tokens: &mut Tokens<'_>) -> Result<(), Violation> {
    let depth = tokens.depth();
    tokens.next()?;
    while tokens.depth() > depth {
        tokens.next()?;
    }
    Ok(())
}
