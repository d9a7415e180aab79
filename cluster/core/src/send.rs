//! The results of sending a user's message, in the primary and in a worker.

use core::fmt;

/// A message was accepted, and will be written. Node: the return value of `send()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sent {
    /// The channel has room. Node: `true`.
    Buffered,
    /// The peer reads slowly, or is slow to acknowledge a socket: send less. Node: `false`.
    Congested,
}

/// The reason why a message was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SendError {
    /// The primary has never forked a worker with this id.
    UnknownWorker,
    /// The channel is closed or closing, or no further write can succeed. Node: `ERR_IPC_CHANNEL_CLOSED`.
    Closed,
    /// [`Limits::unsent_bytes`](crate::settings::Limits::unsent_bytes) wait already, because the peer does
    /// not read.
    Full,
    /// The message is an object with a `cmd` that begins with `NODE_`: the peer would treat it as an internal
    /// message, and not deliver it. One such message is allowed, `{"cmd":"NODE_CLUSTER_STATS"}`, which the
    /// preload of the command `cluster` answers.
    Reserved,
    /// The message is longer than [`Limits::message_bytes`](crate::settings::Limits::message_bytes), so a
    /// peer with the same limits would reject it.
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The message is a structured clone without a JSON form (a big integer, or an object inside itself), and
    /// the channel uses JSON. Node: `JSON.stringify` throws.
    NoJson,
    /// The socket was sent before, without `keep_open`. Node sends the message without the socket.
    HandleAlreadySent,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::UnknownWorker => "no worker has this id; use an id that `fork` has returned",
            SendError::Closed => "the channel is closed; check `is_connected` before sending",
            SendError::Full => {
                "the peer reads its channel too slowly, or not at all; wait for room with `send_when_room`, or disconnect the peer"
            },
            SendError::Reserved => "`cmd` must not begin with NODE_: such messages are Node's own",
            SendError::TooLong { limit } => {
                let advice = "send it in parts, or raise `message_bytes`";
                return write!(f, "the message is longer than {limit} bytes, the limit of the peer; {advice}");
            }
            SendError::NoJson => {
                "the message holds a big integer or an object inside itself, which JSON cannot say; \
                 send it on a channel of `Serialization::Advanced`"
            }
            SendError::HandleAlreadySent => "the socket was given away before; pass it with `keep_open` to pass it again",
        })
    }
}

impl core::error::Error for SendError {}
