//! The two serializations of Node, JSON text and V8's structured clone: validation, conversion between them,
//! and detection of Node's internal messages. `message` has the content of a frame, `user_message` and
//! `structured` the values of a program.

use serde::{Deserialize, Serialize};

pub(crate) mod advanced;
pub(crate) mod json;
pub(crate) mod surrogates;

/// The encoding of messages on a channel. Node: the `serialization` of `cluster.settings`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Serialization {
    /// One JSON text per line. Node: `'json'`.
    #[default]
    Json,
    /// Structured clones of V8, each preceded by the length. Node: `'advanced'`. A
    /// [`Message`](crate::Message) keeps every JavaScript type, and [`Structured`](crate::Structured) models
    /// all of them.
    Advanced,
}
