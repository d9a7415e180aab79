//! The payload of one user message: bytes as received or created, decoded on request, forwarded unchanged. Internal
//! messages are in `message`.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use memchr::memmem;
use serde::de::DeserializeOwned;
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::message_error::MessageError;
use crate::serialization::advanced::{self, NoJson, Rules};
use crate::serialization::{Serialization, json, surrogates};
use crate::structured::{self, Structured};

mod value;
pub(crate) mod whole;

/// Asks the preload of the command `cluster` in a Node.js worker for statistics.
const STATISTICS_REQUEST: &str = r#"{"cmd":"NODE_CLUSTER_STATS"}"#;

/// The payload of one user message. Node: the argument of `process.send` and of `'message'`.
///
/// A message holds the bytes of its sender: JSON text, or a structured clone on a channel of
/// [`Serialization::Advanced`]. On a channel of the same serialization the bytes are forwarded unchanged, so numbers,
/// the order of members, lone surrogates and every JavaScript type are preserved. Clones share the bytes.
///
/// ```
/// use cluster_core::Message;
/// use serde_json::json;
///
/// let message = Message::from(json!({ "job": 7 }));
/// assert_eq!(message, json!({ "job": 7 }));
/// assert_eq!(message.json()?["job"], 7);
/// # Ok::<(), cluster_core::MessageError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Message {
    serialization: Serialization,
    bytes: Bytes,
}

impl Message {
    /// Serializes a value as JSON.
    ///
    /// # Errors
    /// [`MessageError::Type`]: the value has no JSON form, for example a map with keys that are not strings.
    pub fn new<T: Serialize + ?Sized>(value: &T) -> Result<Self, MessageError> {
        let json = serde_json::to_vec(value).map_err(|error| MessageError::unfit(&error.to_string()))?;
        Ok(Message::of_json(exact(json)))
    }

    /// Takes over a JSON text unchanged, except that line breaks become spaces.
    ///
    /// # Errors
    /// [`MessageError::NotJson`]: the text is not JSON.
    pub fn from_json_text(text: impl Into<String>) -> Result<Self, MessageError> {
        let mut json = text.into().into_bytes();
        serde_json::from_slice::<serde::de::IgnoredAny>(&json)
            .map_err(|error| MessageError::NotJson { reason: error.to_string() })?;
        // Line breaks occur between values only: inside strings they are escaped.
        json.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
        Ok(Message::of_json(exact(json)))
    }

    /// From valid JSON.
    pub(crate) fn of_json(bytes: Bytes) -> Self {
        Message { serialization: Serialization::Json, bytes }
    }

    /// From a valid structured clone.
    pub(crate) fn of_clone(bytes: Bytes) -> Self {
        Message { serialization: Serialization::Advanced, bytes }
    }

    /// The serialization of the bytes.
    pub fn serialization(&self) -> Serialization {
        self.serialization
    }

    /// The bytes: JSON text, or V8's structured clone with its header.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Serializes a value as a structured clone, as Node's `process.send` does in mode 'advanced'.
    ///
    /// # Errors
    /// [`MessageError::TooDeep`]: the value is nested more than 128 levels deep. [`MessageError::Type`]: the value
    /// refers to an object that has not begun, or boxes a value that is not primitive.
    pub fn from_structured(value: &Structured) -> Result<Self, MessageError> {
        structured::write(value).map(|payload| Message::of_clone(payload.into()))
    }

    /// The message as a JavaScript value.
    ///
    /// # Errors
    /// [`MessageError::TooDeep`]: the message is nested more than 128 levels deep.
    pub fn structured(&self) -> Result<Structured, MessageError> {
        match self.serialization {
            Serialization::Advanced => structured::read(&self.bytes),
            Serialization::Json => {
                let payload = self.clone().written_as(Serialization::Advanced, LONGEST);
                structured::read(&payload.map_err(MessageError::of_no_json)?.bytes)
            }
        }
    }

    /// Deserializes the message.
    ///
    /// A lone surrogate, which no Rust string can hold, becomes U+FFFD. In a structured clone, a `Map` is a map; a
    /// `Set`, an array or a typed array a sequence; bytes are a sequence or bytes; a `Date` is its text; an error has
    /// its name, its message and its stack; a big integer is an integer; a value with two references appears twice.
    ///
    /// # Errors
    /// [`MessageError`]: the message has another type, is nested more than 128 levels deep, or contains a value
    /// without a form in serde's data model, such as a regular expression or an object inside itself.
    /// [`structured`](Message::structured) reads all of those.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, MessageError> {
        if self.serialization == Serialization::Advanced {
            return structured::to(&structured::read(&self.bytes)?);
        }
        let text = self.json_text()?;
        serde_json::from_str(&text)
            .or_else(|error| match surrogates::without_lone_ones(text.as_bytes()) {
                Some(mended) => serde_json::from_slice(&mended),
                None => Err(error),
            })
            .map_err(|error| MessageError::of_reading(&error))
    }

    /// The message as a JSON value.
    ///
    /// # Errors
    /// As [`to`](Message::to).
    pub fn json(&self) -> Result<Value, MessageError> {
        self.to()
    }

    /// The message as a JSON text, as Node's `JSON.stringify` writes it.
    ///
    /// # Errors
    /// [`MessageError::NoForm`]: `JSON.stringify` throws as well.
    pub fn json_text(&self) -> Result<Cow<'_, str>, MessageError> {
        match self.serialization {
            Serialization::Json => Ok(Cow::Borrowed(self.checked_text())),
            Serialization::Advanced => {
                let text = advanced::to_json(&self.bytes, Rules::Stringify(LONGEST));
                text.map(Cow::Owned).map_err(MessageError::of_no_json)
            }
        }
    }

    /// The JSON text of an object that contains the bytes of `part` somewhere. `None`: another message. A message without these bytes
    /// is not parsed, so that a search for messages of one protocol costs the other messages little.
    pub fn object_with(&self, part: &str) -> Option<Cow<'_, str>> {
        let text = self.contains(part).then(|| self.json_text().ok())??;
        text.trim_start().starts_with('{').then_some(text)
    }

    /// Whether the bytes of `part` occur in the bytes of the message.
    pub fn contains(&self, part: &str) -> bool {
        memmem::find(&self.bytes, part.as_bytes()).is_some()
    }

    fn checked_text(&self) -> &str {
        core::str::from_utf8(&self.bytes).expect("a message was checked when it was made")
    }

    /// Converts the message to a serialization, with a limit on the bytes of JSON.
    pub(crate) fn written_as(self, serialization: Serialization, limit: usize) -> Result<Self, NoJson> {
        match (self.serialization, serialization) {
            (Serialization::Json, Serialization::Advanced) if self.bytes.len() > LONGEST => {
                Err(NoJson::TooLong)
            }
            (Serialization::Json, Serialization::Advanced) => {
                Ok(Message::of_clone(advanced::from_json(self.checked_text()).into()))
            }
            (Serialization::Advanced, Serialization::Json) => {
                advanced::to_json(&self.bytes, Rules::Stringify(limit))
                    .map(|json| Message::of_json(json.into()))
            }
            (Serialization::Json, Serialization::Json)
            | (Serialization::Advanced, Serialization::Advanced) => Ok(self),
        }
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// A peer would take the message for an internal message of Node, and deliver nothing. The request to the preload of the
    /// command `cluster` is such a message, for which programs have no other way.
    pub(crate) fn is_reserved(&self) -> bool {
        match self.serialization {
            Serialization::Json if &*self.bytes == STATISTICS_REQUEST.as_bytes() => false,
            Serialization::Json => {
                json::may_be_reserved(&self.bytes) && json::reserved(self.checked_text()).is_some()
            }
            Serialization::Advanced => {
                advanced::outline(&self.bytes).is_ok_and(|outline| outline.is_reserved())
            }
        }
    }
}

/// Bytes without spare room: most messages are far shorter than the first room of a text, and `Bytes` with spare room have
/// a counter of their own.
fn exact(json: Vec<u8>) -> Bytes {
    json.into_boxed_slice().into()
}

/// The longest text that is converted, in bytes: positions have 32 bits.
const LONGEST: usize = 1 << 30;

/// The kind and the length, never the content, because messages contain secrets.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.serialization {
            Serialization::Json => "json",
            Serialization::Advanced => "advanced",
        };
        write!(f, "Message({kind}, {} bytes)", self.bytes.len())
    }
}

impl Serialize for Message {
    /// Inside other JSON: as JSON, with every number unchanged.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.json_text().map_err(S::Error::custom)?;
        serde_json::from_str::<&RawValue>(&text).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl From<&Value> for Message {
    fn from(value: &Value) -> Self {
        Message::of_json(exact(value::text(value)))
    }
}

impl From<Value> for Message {
    fn from(value: Value) -> Self {
        Message::from(&value)
    }
}

impl From<&Message> for Message {
    fn from(message: &Message) -> Self {
        message.clone()
    }
}

impl From<&str> for Message {
    /// A string, not JSON: see [`Message::from_json_text`].
    fn from(text: &str) -> Self {
        Message::of_json(exact(serde_json::to_vec(text).expect("a text has JSON")))
    }
}

impl From<String> for Message {
    /// A string, not JSON: see [`Message::from_json_text`].
    fn from(text: String) -> Self {
        Message::from(text.as_str())
    }
}

impl PartialEq<Value> for Message {
    fn eq(&self, value: &Value) -> bool {
        self.json().is_ok_and(|json| json == *value)
    }
}

impl PartialEq<Message> for Value {
    fn eq(&self, message: &Message) -> bool {
        message == self
    }
}

impl PartialEq<str> for Message {
    fn eq(&self, text: &str) -> bool {
        self.to::<String>().is_ok_and(|own| own == text)
    }
}

impl PartialEq<&str> for Message {
    fn eq(&self, text: &&str) -> bool {
        self == *text
    }
}
