//! Byte strings of the kernel: paths, arguments and variables, in any encoding.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use serde::{Deserialize, Serialize};

/// A path, an argument or a variable of an environment: bytes, usually UTF-8.
///
/// Converts from texts and bytes, and with the feature `std` on Unix from `OsString` and `PathBuf`.
///
/// ```
/// use cluster_core::OsBytes;
///
/// let path = OsBytes::from("/srv/app");
/// assert_eq!(path, "/srv/app");
/// assert_eq!(OsBytes::from(vec![b'a', 0xff]).to_string(), "a\u{fffd}");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct OsBytes(#[serde(with = "crate::byte_form")] Vec<u8>);

impl OsBytes {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, if the bytes are UTF-8.
    pub fn to_str(&self) -> Option<&str> {
        core::str::from_utf8(&self.0).ok()
    }

    /// The text, with U+FFFD in place of bytes that are not UTF-8.
    pub fn to_string_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The bytes, without a copy.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl From<Vec<u8>> for OsBytes {
    fn from(bytes: Vec<u8>) -> Self {
        OsBytes(bytes)
    }
}

impl From<String> for OsBytes {
    fn from(text: String) -> Self {
        OsBytes(text.into_bytes())
    }
}

impl From<&String> for OsBytes {
    fn from(text: &String) -> Self {
        OsBytes::from(text.as_str())
    }
}

impl From<&str> for OsBytes {
    fn from(text: &str) -> Self {
        OsBytes(text.as_bytes().to_vec())
    }
}

impl From<&OsBytes> for OsBytes {
    fn from(bytes: &OsBytes) -> Self {
        bytes.clone()
    }
}

impl PartialEq<str> for OsBytes {
    fn eq(&self, text: &str) -> bool {
        self.0 == text.as_bytes()
    }
}

impl PartialEq<&str> for OsBytes {
    fn eq(&self, text: &&str) -> bool {
        self == *text
    }
}

/// The text, with U+FFFD in place of bytes that are not UTF-8.
impl fmt::Display for OsBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_string_lossy().fmt(f)
    }
}

/// A text from outside (a user, a program, a peer), escaped for a terminal. Characters without a glyph are
/// escaped as in literals of Rust, so a line break cannot begin a forged line, and U+202E cannot reverse the
/// rest of the line.
///
/// ```
/// use cluster_core::Escaped;
///
/// let text = Escaped("cafe\u{301} \"a\\b\" \u{202e}\n").to_string();
/// assert_eq!(text, "cafe\u{301} \"a\\b\" \\u{202e}\\n");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl Escaped<'_> {
    /// Whether a character is escaped: control and format characters, separators except the space, and
    /// private or unassigned characters are.
    pub fn is_escaped(char: char) -> bool {
        if char.is_ascii() {
            return char.is_ascii_control();
        }
        // Placed after a letter, because the standard library escapes a combining mark at the beginning of a
        // text.
        let mut text = [b'a'; 5];
        let length = char.encode_utf8(&mut text[1..]).len();
        str::from_utf8(&text[..=length]).is_ok_and(|text| text.escape_debug().nth(1) != Some(char))
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            if Escaped::is_escaped(char) {
                write!(f, "{}", char.escape_debug())?;
            } else {
                f.write_char(char)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for OsBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.to_string_lossy(), f)
    }
}
