//! The events of a worker.

use cluster_core::{ChannelError, Message};

use crate::received::Received;

/// An event of a worker. Node: the events of `process` and `cluster.worker` in a worker.
#[derive(Debug)]
#[non_exhaustive]
pub enum WorkerEvent {
    /// The primary has sent a message. Node: `'message'`.
    Message {
        /// The message.
        message: Message,
        /// The socket sent with the message, owned by the program. Node: the second argument.
        socket: Option<Received>,
    },
    /// An operation on the channel failed. Node: `'error'`.
    Error(ChannelError),
    /// A supervisor will disconnect the worker soon, and sends no further connection. Answer requests on open
    /// connections in a way that makes the clients connect to another worker (HTTP/1.1: `Connection: close`).
    /// Node has no counterpart.
    LameDuck,
    /// The channel is closed; the last event. Node: `'disconnect'`.
    Disconnect,
}
