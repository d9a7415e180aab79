//! Validation of received JSON, and detection of Node's internal messages. No value is built, and any depth
//! is accepted.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::violation::Violation;

/// Validates a JSON text.
pub(crate) fn check(text: &str) -> Result<(), Violation> {
    serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(|_| Violation::Malformed)
}

/// Whether Node treats an object with this `cmd` as an internal message.
pub(crate) fn is_internal(cmd: &str) -> bool {
    cmd.len() > 5 && cmd.starts_with("NODE_")
}

/// The `cmd` of an internal message.
pub(crate) fn reserved(json: &str) -> Option<Cow<'_, str>> {
    if !may_be_reserved(json.as_bytes()) {
        return None;
    }
    let Members { cmd } = serde_json::from_str(json).ok()?;
    let Bytes(cmd) = serde_json::from_str(cmd?.get()).ok()?;
    let cmd = match cmd {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    };
    is_internal(&cmd).then_some(cmd)
}

/// The beginning of an internal message as Node writes it.
const BEGINNING: &[u8] = br#"{"cmd":"NODE_"#;

/// Whether the line may be an internal message: an object with `NODE_` in its `cmd`, plain or escaped. False
/// is certain.
pub(crate) fn may_be_reserved(json: &[u8]) -> bool {
    let line = json.trim_ascii_start();
    let says = |word: &[u8]| memchr::memmem::find(line, word).is_some();
    // For most objects this search is enough, because most objects contain neither an `N` nor a backslash.
    let may_say = || memchr::memchr2(b'N', b'\\', line).is_some();
    let says_so = || line.starts_with(BEGINNING) || may_say() && (says(b"NODE_") || says(b"\\u"));
    line.starts_with(b"{") && says_so()
}

/// The result of reading an object: its last member with the name `cmd`, which is the one that JavaScript
/// reads.
struct Members<'a> {
    cmd: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Members<'de>, A::Error> {
                let mut cmd = None;
                while let Some(Bytes(name)) = members.next_key()? {
                    if *name == *b"cmd" {
                        cmd = Some(members.next_value()?);
                    } else {
                        members.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Members { cmd })
            }
        }
        json.deserialize_map(MembersVisitor)
    }
}

/// A string that may contain lone surrogates.
struct Bytes<'a>(Cow<'a, [u8]>);

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct BytesVisitor;
        impl<'de> Visitor<'de> for BytesVisitor {
            type Value = Bytes<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Bytes<'de>, E> {
                Ok(Bytes(Cow::Borrowed(bytes)))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes<'de>, E> {
                Ok(Bytes(Cow::Owned(bytes.into())))
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Bytes<'de>, E> {
                Ok(Bytes(Cow::Borrowed(text.as_bytes())))
            }

            fn visit_str<E>(self, text: &str) -> Result<Bytes<'de>, E> {
                Ok(Bytes(Cow::Owned(text.as_bytes().into())))
            }
        }
        json.deserialize_bytes(BytesVisitor)
    }
}
