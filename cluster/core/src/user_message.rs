//! The payload of one user message. The bytes are kept as received or created, decoded on request, and
//! forwarded unchanged. Internal messages are in `message`.

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

/// A message that asks the preload of the command `cluster`, in a Node.js worker, for statistics.
const STATISTICS_REQUEST: &str = r#"{"cmd":"NODE_CLUSTER_STATS"}"#;

/// The payload of one user message. Node: the argument of `process.send` and of `'message'`.
///
/// A message contains the bytes of the sender: JSON text, or a structured clone on a channel of
/// [`Serialization::Advanced`]. To a channel of the same serialization the bytes are forwarded unchanged, so
/// numbers, the order of members, lone surrogates and every JavaScript type are preserved. Clones share the
/// bytes.
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

    /// Takes a JSON text unchanged, except that line breaks become spaces.
    ///
    /// # Errors
    /// [`MessageError::NotJson`]: the text is not JSON.
    pub fn from_json_text(text: impl Into<String>) -> Result<Self, MessageError> {
        let mut json = text.into().into_bytes();
        serde_json::from_slice::<serde::de::IgnoredAny>(&json)
            .map_err(|error| MessageError::NotJson { reason: error.to_string() })?;
        // Line breaks occur only between values, because inside strings they are escaped.
        json.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
        Ok(Message::of_json(exact(json)))
    }

    /// A message of bytes that are valid JSON.
    pub(crate) fn of_json(bytes: Bytes) -> Self {
        Message { serialization: Serialization::Json, bytes }
    }

    /// A message of bytes that are a valid structured clone.
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
    /// [`MessageError::TooDeep`]: the value is nested more than 128 levels deep. [`MessageError::Type`]: the
    /// value refers to an object that has not begun, or has a boxed value that is not primitive.
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
    /// A lone surrogate becomes U+FFFD, because a Rust string cannot contain it. In a structured clone, a
    /// `Map` is a map; a `Set`, an array or a typed array is a sequence; bytes are a sequence or bytes; a
    /// `Date` is its text; an error has its name, its message and its stack; a big integer is an integer; a
    /// value with two references appears twice.
    ///
    /// # Errors
    /// [`MessageError`]: the message does not have the type, is nested more than 128 levels deep, or contains
    /// a value that serde's data model cannot represent, such as a regular expression or an object inside
    /// itself. [`structured`](Message::structured) reads all of these.
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

    /// The message as a JSON text, written as by Node's `JSON.stringify`.
    ///
    /// # Errors
    /// [`MessageError::NoForm`]: `JSON.stringify` would throw as well.
    pub fn json_text(&self) -> Result<Cow<'_, str>, MessageError> {
        match self.serialization {
            Serialization::Json => Ok(Cow::Borrowed(self.checked_text())),
            Serialization::Advanced => {
                let text = advanced::to_json(&self.bytes, Rules::Stringify(LONGEST));
                text.map(Cow::Owned).map_err(MessageError::of_no_json)
            }
        }
    }

    /// The JSON text, if the message is an object that contains the bytes of `part` anywhere. `None`: another
    /// message. A message without these bytes is not parsed, so a search for the messages of one protocol
    /// costs little for all others.
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

    /// Converts the message to a serialization. `limit`: the most bytes of JSON.
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

    /// Whether a peer would treat the message as an internal message of Node, and not deliver it. One such
    /// message is allowed, because programs have no other way to send it: the request to the preload of the
    /// command `cluster`.
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

/// Makes bytes without spare room. Most messages are far shorter than the first allocation of a text, and
/// `Bytes` with spare room need a counter on the heap.
fn exact(json: Vec<u8>) -> Bytes {
    json.into_boxed_slice().into()
}

/// The longest text that is converted, in bytes, because positions have 32 bits.
const LONGEST: usize = 1 << 30;

/// Shows the kind and the length, but never the content, because messages may contain secrets.
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
    /// Serializes a message inside other JSON: as JSON, with every number unchanged.
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
    /// Makes a message that is a string. For a text that is JSON, see [`Message::from_json_text`].
    fn from(text: &str) -> Self {
        Message::of_json(exact(serde_json::to_vec(text).expect("a text has JSON")))
    }
}

impl From<String> for Message {
    /// Makes a message that is a string. For a text that is JSON, see [`Message::from_json_text`].
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
