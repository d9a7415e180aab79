//! Payloads inside payloads. The objects of a payload are numbered, so references change when a value is
//! moved to another payload.

use alloc::vec::Vec;

use super::from_json::{put_text, put_varint};
use super::tokens::{Token, Tokens};
use super::{HEADER, Span, VERSION};
use crate::violation::Violation;

/// Copies a value inside a payload into a payload of its own. If the value has references to the rest of the
/// payload, this is a violation: Node never writes such a value.
pub(crate) fn detached(payload: &[u8], span: &Span) -> Result<Vec<u8>, Violation> {
    let mut out = Vec::with_capacity(span.range.len() + 2);
    out.extend([HEADER, VERSION]);
    let tokens = Tokens::of_value(payload, span.range.start, span.first_object);
    copy(payload, tokens, |object| object.checked_sub(span.first_object), &mut out)?;
    Ok(out)
}

/// An object with these strings as members, and with the value of a payload as its last member, `msg`.
pub(crate) fn enveloped(texts: &[(&str, &str)], payload: &[u8]) -> Result<Vec<u8>, Violation> {
    let mut out = Vec::with_capacity(payload.len() + 96);
    out.extend([HEADER, VERSION, b'o']);
    for (name, text) in texts {
        put_text(name, &mut out);
        put_text(text, &mut out);
    }
    put_text("msg", &mut out);
    let tokens = Tokens::new(payload)?;
    if !out.len().abs_diff(tokens.end()).is_multiple_of(2) {
        // Padding, because strings of two-byte characters must stay at even positions.
        out.push(0);
    }
    copy(payload, tokens, |object| object.checked_add(1), &mut out)?;
    out.push(b'{');
    put_varint(texts.len() + 1, &mut out);
    Ok(out)
}

/// Copies a value, and renumbers the objects in the references.
fn copy(
    payload: &[u8],
    mut tokens: Tokens<'_>,
    number: impl Fn(u32) -> Option<u32>,
    out: &mut Vec<u8>,
) -> Result<(), Violation> {
    let mut copied = tokens.end();
    while let Some(token) = tokens.next()? {
        if let Token::Reference(object) = token {
            out.extend_from_slice(&payload[copied..tokens.start()]);
            out.push(b'^');
            put_varint(number(object).ok_or(Violation::Malformed)? as usize, out);
            copied = tokens.end();
        }
    }
    out.extend_from_slice(&payload[copied..tokens.end()]);
    Ok(())
}
