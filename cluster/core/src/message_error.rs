//! The error of reading or creating a message.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

use crate::os_bytes::Escaped;
use crate::serialization::advanced::NoJson;

/// The reason why a message was not read or not created.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageError {
    /// The text is not JSON.
    NotJson {
        /// The problem and its position.
        reason: String,
    },
    /// The message does not have the requested type.
    Type {
        /// The problem and the position. The middle of a long quotation is left out.
        reason: String,
    },
    /// The message is nested more than 128 levels deep. [`Message::as_bytes`](crate::Message::as_bytes)
    /// returns the whole message.
    TooDeep,
    /// The message would be longer than 1 GiB.
    TooLong,
    /// A JavaScript value inside the message has no form in the requested type.
    NoForm {
        /// The kind of the value, for example `a regular expression`.
        what: &'static str,
        /// The position of the value, for example `.list[3]`; empty for the whole message.
        path: String,
    },
}

impl MessageError {
    pub(crate) fn of_reading(error: &serde_json::Error) -> Self {
        let reason = error.to_string();
        if reason.starts_with("recursion limit exceeded") {
            MessageError::TooDeep
        } else {
            MessageError::unfit(&reason)
        }
    }

    /// An error of a library, which may quote a value of several megabytes: the middle of a long text is left
    /// out.
    pub(crate) fn unfit(reason: &str) -> Self {
        const END: usize = 120;
        let head = reason.floor_char_boundary(END);
        let tail = reason.ceil_char_boundary(reason.len().saturating_sub(END));
        let reason = if head < tail {
            format!("{} ... {}", &reason[..head], &reason[tail..])
        } else {
            String::from(reason)
        };
        MessageError::Type { reason }
    }

    pub(crate) fn of_no_json(error: NoJson) -> Self {
        match error {
            NoJson::TooLong => MessageError::TooLong,
            NoJson::BigInt | NoJson::Cycle | NoJson::Nothing | NoJson::Malformed => {
                MessageError::NoForm { what: error.what(), path: String::new() }
            }
        }
    }
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MessageError::NotJson { reason } => write!(f, "the text is not JSON: {}", Escaped(reason)),
            MessageError::Type { reason } => {
                write!(f, "the message and the type do not fit: {}", Escaped(reason))
            }
            MessageError::TooDeep => f.write_str("the message is nested more than 128 levels deep"),
            MessageError::TooLong => f.write_str("the message would be longer than a GiB"),
            MessageError::NoForm { what, path } => {
                let path = Escaped(path);
                write!(f, "message{path} is or holds {what}, which has no form in the requested type")
            }
        }
    }
}

impl core::error::Error for MessageError {}
