//! Lone surrogates. A JavaScript string may contain half of a surrogate pair, for example after a cut, and
//! Node sends the half unchanged. A Rust string cannot contain it. When a message is read, each lone
//! surrogate becomes U+FFFD, as in any text decoder.
//!
//! Only escapes are interpreted. Malformed JSON stays malformed.

use alloc::vec::Vec;

/// The length of an escaped code unit.
const ESCAPE: usize = r"\u0000".len();

/// The line with every lone surrogate replaced. `None`: the line has none.
pub(crate) fn without_lone_ones(line: &[u8]) -> Option<Vec<u8>> {
    let mut mended = line.to_vec();
    let (mut at, mut is_mended) = (0, false);
    while at < line.len() {
        at += match (unit(line, at), unit(line, at + ESCAPE)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 2 * ESCAPE,
            (Some(0xD800..=0xDFFF), _) => {
                mended[at..at + ESCAPE].copy_from_slice(br"\uFFFD");
                is_mended = true;
                ESCAPE
            }
            (Some(_), _) => ESCAPE,
            // Another escape. It takes two characters, and the second does not begin an escape.
            (None, _) if line[at] == b'\\' => 2,
            (None, _) => 1,
        };
    }
    is_mended.then_some(mended)
}

/// The escaped code unit at a position.
fn unit(line: &[u8], at: usize) -> Option<u16> {
    let digits = line.get(at..at + ESCAPE)?.strip_prefix(br"\u")?;
    u16::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(line: &str) -> Option<Vec<u8>> {
        without_lone_ones(line.as_bytes())
    }

    /// Lone surrogates are replaced, pairs are kept.
    #[test]
    fn lone_surrogates_are_replaced() {
        assert_eq!(mended(r#""a\ud800""#).as_deref(), Some(&br#""a\uFFFD""#[..]));
        assert_eq!(
            mended(r#""\udc00\uD83D\uDE00\ud83d""#).as_deref(),
            Some(&br#""\uFFFD\uD83D\uDE00\uFFFD""#[..])
        );
        assert_eq!(mended(r#""\ud83d\ude00 \u0041""#), None);
        assert_eq!(mended(r#""\\ud800 \ud8""#), None);
    }
}
