//! Bytes in a serialized machine. Bytes that are UTF-8, as frames of JSON are, become a text; other bytes
//! become hexadecimal digits. A byte takes at most six characters, for a control character in JSON.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize)]
#[serde(rename = "Bytes")]
enum Written<'a> {
    Text(&'a str),
    Hex(String),
}

#[derive(Deserialize)]
#[serde(rename = "Bytes")]
enum Read {
    Text(String),
    Hex(String),
}

pub(crate) fn serialize<B: AsRef<[u8]>, S: Serializer>(bytes: &B, serializer: S) -> Result<S::Ok, S::Error> {
    let bytes = bytes.as_ref();
    core::str::from_utf8(bytes).map_or_else(|_| Written::Hex(hex(bytes)), Written::Text).serialize(serializer)
}

pub(crate) fn deserialize<'de, B: From<Vec<u8>>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<B, D::Error> {
    let bytes = match Read::deserialize(deserializer)? {
        Read::Text(text) => text.into_bytes(),
        Read::Hex(digits) => {
            bytes_of(&digits).ok_or_else(|| D::Error::custom("expected pairs of hexadecimal digits"))?
        }
    };
    Ok(bytes.into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut digits, byte| {
        write!(digits, "{byte:02x}").expect("a string has room");
        digits
    })
}

fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = digits.as_bytes().as_chunks();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    rest.is_empty().then(|| bytes.collect())?
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Piece(#[serde(with = "super")] Vec<u8>);

    /// Texts are readable, other bytes are digits, and both are restored.
    #[test]
    fn bytes_are_restored() {
        let forms = [(b"{}\n".to_vec(), r#"{"Text":"{}\n"}"#), (vec![0, 0xff], r#"{"Hex":"00ff"}"#)];
        for (bytes, form) in forms {
            let frame = Piece(bytes);
            assert_eq!(serde_json::to_string(&frame).expect("a form"), form);
            assert_eq!(serde_json::from_str::<Piece>(form).expect("bytes"), frame);
        }
    }

    /// Half a byte and a letter beyond f are errors.
    #[test]
    fn digits_are_checked() {
        for digits in ["0", "0g", "é0", "+1"] {
            assert_eq!(bytes_of(digits), None, "{digits}");
        }
        assert_eq!(bytes_of(""), Some(vec![]));
    }
}
