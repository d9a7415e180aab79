//! JavaScript strings as V8 writes them. A string of UTF-16 may contain lone surrogates.

use alloc::string::String;

/// A string inside a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Text<'a> {
    Latin1(&'a [u8]),
    Utf8(&'a [u8]),
    Utf16(&'a [[u8; 2]]),
}

impl Text<'_> {
    /// The characters. For a lone surrogate, the item is an error with the number of the surrogate.
    pub(crate) fn characters(self) -> impl Iterator<Item = Result<char, u16>> {
        let (latin1, utf8, utf16): (&[u8], &[u8], &[[u8; 2]]) = match self {
            Text::Latin1(bytes) => (bytes, &[], &[]),
            Text::Utf8(bytes) => (&[], bytes, &[]),
            Text::Utf16(units) => (&[], &[], units),
        };
        let utf8 = utf8.utf8_chunks().flat_map(|chunk| {
            let broken = (!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER);
            chunk.valid().chars().chain(broken)
        });
        let units = utf16.iter().map(|unit| u16::from_le_bytes(*unit));
        let utf16 = char::decode_utf16(units).map(|unit| unit.map_err(|lone| lone.unpaired_surrogate()));
        latin1.iter().copied().map(char::from).chain(utf8).map(Ok).chain(utf16)
    }

    /// The text, with U+FFFD for each lone surrogate.
    pub(crate) fn lossy(self) -> String {
        self.characters().map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    }

    pub(crate) fn is(self, ascii: &[u8]) -> bool {
        match self {
            Text::Latin1(bytes) | Text::Utf8(bytes) => bytes == ascii,
            Text::Utf16(units) => {
                units.len() == ascii.len() && units.iter().zip(ascii).all(|(unit, byte)| *unit == [*byte, 0])
            }
        }
    }
}
