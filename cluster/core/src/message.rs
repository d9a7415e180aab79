//! The vocabulary of the channel: the content of one frame, with Node's field names and envelopes. `encode`
//! and `decode` convert to and from both serializations. The machines decide what a message means.

use alloc::boxed::Box;
use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::address::{AddressType, ListeningAddress};
use crate::os::{Errno, LocalAddress};
use crate::user_message::Message;

mod data;
mod decode;
mod encode;
mod fields;
mod js;
mod object_writer;

pub(crate) use data::Data;

pub(crate) use decode::{ADDRESS, decode, decode_advanced};
pub(crate) use encode::{encode, encode_ack};

/// One frame of the channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Frame {
    /// A message without a descriptor.
    Message(ChannelMessage),
    /// A message with a descriptor. Node: `NODE_HANDLE`. Boxed, because few messages have a descriptor, and
    /// frames move through the queue of steps.
    Handle(Box<Envelope>),
    /// The descriptor was received. Node: `NODE_HANDLE_ACK`.
    Ack,
    /// The descriptor was not received. Node: `NODE_HANDLE_NACK`.
    Nack,
}

/// A message with a descriptor, and the description of the descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Envelope {
    pub(crate) message: ChannelMessage,
    /// The type of the descriptor. Node: `type`.
    pub(crate) kind: HandleType,
    /// The key of the sender's server that had accepted the socket, if the sender counts its connections.
    /// Node: `key`.
    pub(crate) key: Option<String>,
}

/// The type that a socket has for the receiver. Node: the `type` of `NODE_HANDLE`.
///
/// A Node receiver wraps the socket in this type, whatever the socket is in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HandleType {
    /// A stream socket, listening or connected, without a wrapper. Node: `net.Native`.
    Native,
    /// A listening stream socket. Node: `net.Server`.
    Server,
    /// A connection. Node: `net.Socket`.
    Socket,
    /// A datagram socket without a wrapper. Node: `dgram.Native`.
    DatagramNative,
    /// A bound datagram socket. Node: `dgram.Socket`.
    Datagram {
        /// IPv6. Node: `dgramType`.
        v6: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum ChannelMessage {
    /// A user's message: any message without a `cmd` that begins with `NODE_`.
    User(#[serde(with = "crate::user_message::whole")] Message),
    /// An internal message of the cluster.
    Cluster(Box<ClusterMessage>),
    /// A question or an answer about connections sent to another process.
    SocketCount(SocketCount),
    /// A message between a supervisor and the workers. Node ignores it.
    Supervision(Supervision),
    /// Another internal message of Node. A cluster ignores it, as Node does.
    Foreign,
}

impl ChannelMessage {
    /// The message offers a connection.
    pub(crate) fn is_offer(&self) -> bool {
        match self {
            ChannelMessage::Cluster(cluster) => matches!(cluster.request, Some(Request::NewConn(_))),
            ChannelMessage::User(_)
            | ChannelMessage::SocketCount(_)
            | ChannelMessage::Supervision(_)
            | ChannelMessage::Foreign => false,
        }
    }
}

impl From<ClusterMessage> for ChannelMessage {
    fn from(cluster: ClusterMessage) -> Self {
        ChannelMessage::Cluster(Box::new(cluster))
    }
}

/// Questions and answers about connections that a server has accepted and another process has received. Each
/// has the key of the server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum SocketCount {
    /// The question for the number of open connections. Node: `NODE_SOCKET_GET_COUNT`.
    GetCount(String),
    /// The number of open connections. Node: `NODE_SOCKET_COUNT`.
    Count(String, u64),
    /// The request for a notification when no connection is open. Node: `NODE_SOCKET_NOTIFY_CLOSE`.
    NotifyClose(String),
    /// The notification that no connection is open. Node: `NODE_SOCKET_ALL_CLOSED`.
    AllClosed(String),
}

/// The messages of a supervisor, and the report for a policy. An unmodified Node program ignores these
/// messages, because Node does not know their `cmd`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Supervision {
    /// The worker receives no further connection, and the clients should connect to other workers:
    /// `NODE_CLUSTER_LAME_DUCK`.
    LameDuck,
    /// Is the worker alive, and how many connections are open? `NODE_CLUSTER_PING`.
    Ping { seq: u64 },
    /// The answer to the ping with this number: `NODE_CLUSTER_PONG`.
    Pong { seq: u64, connections: u64 },
    /// The number of open connections has changed: `NODE_CLUSTER_LOAD`.
    Load { connections: u64 },
}

/// An internal message of the cluster. Node: `NODE_CLUSTER`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct ClusterMessage {
    /// The number of the message in the sending process.
    pub(crate) seq: u64,
    /// The reply, if the message answers a message of the receiver.
    pub(crate) reply: Option<Reply>,
    /// The request, if the message is not a reply.
    pub(crate) request: Option<Request>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Request {
    Online,
    QueryServer(QueryServer),
    Listening(ListeningAddress),
    Close(HandleKey),
    ExitedAfterDisconnect,
    NewConn(HandleKey),
    Disconnect,
}

/// The identity of a shared socket: two workers with equal keys share a socket. Node:
/// `address:port:addressType:fd:index`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub(crate) struct HandleKey(pub(crate) String);

impl HandleKey {
    /// The key as Node writes it, so recordings and logs agree. Each part is a field, converted to a
    /// JavaScript string.
    pub(crate) fn of(parts: [&str; 5]) -> Self {
        HandleKey(parts.join(":"))
    }

    /// The key up to the index.
    pub(crate) fn without_index(&self) -> &str {
        self.0.rsplit_once(':').map_or("", |(place, _)| place)
    }
}

/// The bits in the `flags` of a query. Node: `UV_UDP_IPV6ONLY`, which also applies to TCP, and
/// `UV_UDP_REUSEADDR`.
pub(crate) const IPV6_ONLY: u64 = 1;
pub(crate) const REUSE_ADDRESS: u64 = 4;

/// A worker's query for a socket. Each field is converted as in Node's primary.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct QueryServer {
    /// The key, made of the fields as they were written. The worker receives the key in the reply.
    pub(crate) key: HandleKey,
    pub(crate) index: u64,
    /// `None`: the data is too long or nested too deep to be kept.
    pub(crate) data: Option<Data>,
    pub(crate) address: Option<String>,
    pub(crate) port: Option<i64>,
    pub(crate) address_type: AddressType,
    /// The descriptor. `i64::MAX` stands for a number that no descriptor has.
    pub(crate) fd: Option<i64>,
    pub(crate) flags: Option<u64>,
    /// The backlog. 0 and `None`: the default of the primary.
    pub(crate) backlog: Option<u32>,
    /// Whether every user may read at the path.
    pub(crate) readable_all: bool,
    /// Whether every user may write at the path.
    pub(crate) writable_all: bool,
}

/// The answer to a `QueryServer`, a `NewConn` or an `ExitedAfterDisconnect`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// The `seq` of the answered message.
    pub(crate) ack: u64,
    /// For a `QueryServer`: the error.
    pub(crate) errno: Option<Errno>,
    /// For a `QueryServer`: the key of the handle.
    pub(crate) key: Option<HandleKey>,
    pub(crate) data: Data,
    /// For a `QueryServer` under round robin: the address of the socket.
    pub(crate) sockname: Option<LocalAddress>,
    /// For a `NewConn`: whether the worker takes the connection.
    pub(crate) accepted: Option<bool>,
    /// For a `QueryServer` under a policy that reads the open connections: the worker reports each change of
    /// the number of open connections after this many milliseconds. Node ignores the field.
    pub(crate) report_ms: Option<u32>,
    /// For a `NewConn`, if the primary has asked for reports: the number of open connections, including this
    /// one. Node ignores the field.
    pub(crate) open: Option<u64>,
}
