//! The typed vocabulary of the channel: what one frame can hold. Field names and envelopes are Node's; their JSON is in
//! `encode` and `decode`, Node's other serialization in `advanced`. It knows no channel and no state; what a message means
//! is decided by the machines.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;

use crate::address::{AddressType, ListeningAddress};
use crate::os::{Errno, LocalAddress};
use crate::payload::Message;

pub(crate) mod advanced;
mod data;
mod decode;
mod encode;
mod fields;
mod js;
pub(crate) mod json;
pub(crate) mod surrogates;

pub(crate) use data::Data;

pub(crate) use decode::{ADDRESS, decode, decode_advanced};
pub(crate) use encode::{encode, encode_ack};

/// One frame of the channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Frame {
    /// A message without a descriptor.
    Message(ChannelMessage),
    /// A message that travels with a descriptor. Node: `NODE_HANDLE`.
    Handle(Envelope),
    /// The descriptor has arrived. Node: `NODE_HANDLE_ACK`.
    Ack,
    /// The descriptor has not. Node: `NODE_HANDLE_NACK`.
    Nack,
}

/// What stands around a message that travels with a descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Envelope {
    pub(crate) message: ChannelMessage,
    /// What the descriptor is. Node: `type`.
    pub(crate) kind: HandleType,
    /// Which server of the sender has accepted it, if it asks after its connections. Node: `key`.
    pub(crate) key: Option<String>,
}

/// What a passed socket is to its receiver. Node: the `type` of `NODE_HANDLE`.
///
/// It says how a Node receiver wraps the socket; what it really is, the kernel knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HandleType {
    /// A bare stream socket, listening or connected. Node: `net.Native`.
    Native,
    /// A listening stream socket. Node: `net.Server`.
    Server,
    /// A connection. Node: `net.Socket`.
    Socket,
    /// A bare datagram socket. Node: `dgram.Native`.
    DatagramNative,
    /// A bound datagram socket. Node: `dgram.Socket`.
    Datagram {
        /// Whether it is of IPv6. Node: `dgramType`.
        v6: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ChannelMessage {
    /// A user's. Node: anything whose `cmd` does not begin with `NODE_`.
    User(Message),
    /// The cluster's own.
    Cluster(Box<ClusterMessage>),
    /// Of connections that were passed on by whom counts them.
    SocketCount(SocketCount),
    /// Node's own, but nothing a cluster needs: swallowed, as Node does.
    Foreign,
}

impl From<ClusterMessage> for ChannelMessage {
    fn from(cluster: ClusterMessage) -> Self {
        ChannelMessage::Cluster(Box::new(cluster))
    }
}

/// Questions of a server's owner after the connections it has passed on, by its key, and their answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum SocketCount {
    /// How many are open? Node: `NODE_SOCKET_GET_COUNT`.
    GetCount(String),
    /// So many. Node: `NODE_SOCKET_COUNT`.
    Count(String, u64),
    /// Say when none is open. Node: `NODE_SOCKET_NOTIFY_CLOSE`.
    NotifyClose(String),
    /// None is. Node: `NODE_SOCKET_ALL_CLOSED`.
    AllClosed(String),
}

/// A message of the cluster. Node: `NODE_CLUSTER`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClusterMessage {
    /// Its number in the process that sent it.
    pub(crate) seq: u64,
    /// If it answers one of ours.
    pub(crate) reply: Option<Reply>,
    /// What it asks, if it is not a reply.
    pub(crate) request: Option<Request>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Request {
    Online,
    QueryServer(QueryServer),
    Listening(ListeningAddress),
    Close(HandleKey),
    ExitedAfterDisconnect,
    NewConn(HandleKey),
    Disconnect,
}

/// What two workers must agree on to share a socket. Node: `address:port:addressType:fd:index`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct HandleKey(pub(crate) String);

impl HandleKey {
    /// As Node writes it, so that recordings and logs agree: each part is what JavaScript makes of the field as a text.
    pub(crate) fn of([address, port, address_type, fd, index]: [&str; 5]) -> Self {
        HandleKey(format!("{address}:{port}:{address_type}:{fd}:{index}"))
    }
}

/// The `flags` of a query. Node: `UV_UDP_IPV6ONLY`, which TCP has too, and `UV_UDP_REUSEADDR`.
pub(crate) const IPV6_ONLY: u64 = 1;
pub(crate) const REUSE_ADDRESS: u64 = 4;

/// A worker wants to serve an address. Each field is coerced as Node's primary coerces it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct QueryServer {
    /// From the fields as they were written. A worker needs none: its primary sends it.
    pub(crate) key: HandleKey,
    pub(crate) index: u64,
    /// `None` if it is too long or too deep to be kept.
    pub(crate) data: Option<Data>,
    pub(crate) address: Option<String>,
    pub(crate) port: Option<i64>,
    pub(crate) address_type: AddressType,
    /// A number that no descriptor has is `i64::MAX`.
    pub(crate) fd: Option<i64>,
    pub(crate) flags: Option<u64>,
    /// 0 and `None`: the default of the primary.
    pub(crate) backlog: Option<u32>,
    /// Of a path: let everybody read it.
    pub(crate) readable_all: bool,
    /// Of a path: let everybody write to it.
    pub(crate) writable_all: bool,
}

/// The answer to a `QueryServer`, a `NewConn` or an `ExitedAfterDisconnect`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Reply {
    /// The `seq` of the question.
    pub(crate) ack: u64,
    /// To a `QueryServer`: why not.
    pub(crate) errno: Option<Errno>,
    /// To a `QueryServer`: under which key.
    pub(crate) key: Option<HandleKey>,
    pub(crate) data: Data,
    /// To a `QueryServer` under round robin: where.
    pub(crate) sockname: Option<LocalAddress>,
    /// To a `NewConn`: whether the worker takes it.
    pub(crate) accepted: Option<bool>,
}
