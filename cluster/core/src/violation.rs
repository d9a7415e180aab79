//! How a peer breaks the protocol of a channel. What is a violation is decided where a message is read.

use core::fmt;

/// How a peer broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Violation {
    /// A line that is not JSON, or an empty one; of the 'advanced' serialization, a payload that V8 would not have written.
    Malformed,
    /// A message longer than [`Limits::message_bytes`](crate::settings::Limits::message_bytes).
    TooLong,
    /// An acknowledgement of a descriptor that was not sent, or an answer for a connection that it has not got.
    UnaskedAck,
    /// A descriptor without a message it belongs to.
    StrayDescriptor,
    /// A field of one of Node's own messages holds what no Node of any version writes there.
    BadFields {
        /// The name of the field.
        field: &'static str,
        /// The kind of value that was found there.
        found: FieldKind,
    },
    /// More than [`Limits::answer_bytes`](crate::settings::Limits::answer_bytes) of answers wait for the acknowledgement of a
    /// descriptor that it does not give.
    Unacknowledged,
}

/// A kind of value in a field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FieldKind {
    /// The message does not have the field.
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
            Violation::Malformed => "it sent a message that cannot be read",
            Violation::TooLong => "it sent a message longer than the limit",
            Violation::UnaskedAck => "it answered for a descriptor that it has not got",
            Violation::StrayDescriptor => "it sent a descriptor that belongs to no message",
            Violation::BadFields { field, found } => {
                return write!(f, "it sent a message of the protocol with {found} in its field `{field}`");
            }
            Violation::Unacknowledged => {
                "it asks and asks, and does not acknowledge a descriptor that it was sent"
            }
        })
    }
}
