//! Violations of the channel protocol by a peer. The decoder and the channel detect them.

use alloc::string::String;
use core::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

/// A violation of the protocol by a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each variant documents its fields")]
#[non_exhaustive]
pub enum Violation {
    /// A line that is not JSON, or is empty. In the 'advanced' serialization: a payload that V8 does not
    /// write.
    Malformed,
    /// A message longer than [`Limits::message_bytes`](crate::settings::Limits::message_bytes).
    TooLong,
    /// An acknowledgement of a descriptor that was not sent, or an answer for a connection that the peer has
    /// not received.
    UnaskedAck,
    /// A descriptor without a message.
    StrayDescriptor,
    /// A field of an internal message has a value that no version of Node writes.
    BadFields {
        #[serde(deserialize_with = "known_field")]
        field: FieldName,
        /// The kind of the value.
        found: FieldKind,
    },
    /// More than [`Limits::answer_bytes`](crate::settings::Limits::answer_bytes) of answers wait until the
    /// peer acknowledges a descriptor.
    Unacknowledged,
}

/// The name of a field. A type alias, because for a plain `&str` serde would borrow from the input.
type FieldName = &'static str;

/// The fields of internal messages that a cluster reads.
pub(crate) const FIELDS: [FieldName; 23] = [
    "cmd",
    "act",
    "msg",
    "seq",
    "ack",
    "accepted",
    "errno",
    "key",
    "data",
    "sockname",
    "index",
    "address",
    "port",
    "addressType",
    "fd",
    "flags",
    "backlog",
    "readableAll",
    "writableAll",
    "type",
    "dgramType",
    "count",
    "report",
];

fn known_field<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FieldName, D::Error> {
    let name = String::deserialize(deserializer)?;
    let known = FIELDS.into_iter().find(|field| **field == *name);
    known.ok_or_else(|| D::Error::unknown_variant(&name, &FIELDS))
}

/// The kind of a value in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FieldKind {
    /// The message lacks the field.
    Absent,
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A number.
    Number,
    /// A text.
    Text,
    /// A list.
    List,
    /// An object.
    Object,
}

impl fmt::Display for FieldKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FieldKind::Absent => "nothing",
            FieldKind::Null => "null",
            FieldKind::Boolean => "a boolean",
            FieldKind::Number => "a number",
            FieldKind::Text => "a text",
            FieldKind::List => "a list",
            FieldKind::Object => "an object",
        })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Violation::Malformed => "received a message that cannot be decoded",
            Violation::TooLong => "received a message longer than `message_bytes`",
            Violation::UnaskedAck => "received an acknowledgement of a descriptor that was not sent",
            Violation::StrayDescriptor => "received a descriptor without a message",
            Violation::BadFields { field, found } => {
                return write!(f, "received an internal message with {found} in the field `{field}`");
            }
            Violation::Unacknowledged => {
                "received too many requests before the acknowledgement of a descriptor"
            }
        })
    }
}
