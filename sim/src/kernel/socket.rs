//! The sockets behind descriptors: listeners with a backlog, connections as two pipes between a client and a
//! process, and UDP sockets. The kernel counts the references to a socket, and closes a socket without
//! references.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use cluster_core::LocalAddress;

use super::bound_address::BoundAddress;
use super::datagram::{Datagram, UdpSocket};
use crate::event::{ClientAction, ClientId};
use crate::step::Pid;

/// The id of a socket, to which descriptors and messages in flight refer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileId(pub(crate) u32);

/// A socket and its references.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct File {
    /// The number of descriptors and messages in flight that refer to the socket. At 0 the socket is closed.
    pub(crate) refs: u32,
    pub(crate) kind: SocketKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum SocketKind {
    Listener(Listener),
    Connection(ClientId),
    Udp(UdpSocket),
}

/// A bound stream socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Listener {
    pub(crate) bound: BoundAddress,
    /// The largest length of `backlog`. `None`: the socket does not listen.
    pub(crate) limit: Option<u32>,
    pub(crate) backlog: VecDeque<ClientId>,
}

impl Listener {
    pub(crate) fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.backlog.len() >= limit as usize)
    }
}

/// A client, and its only connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Client {
    /// The source address of its connections; `None`: `127.0.0.1`.
    pub(crate) from: Option<IpAddr>,
    /// The address of its last connect.
    pub(crate) to: Option<LocalAddress>,
    pub(crate) actions: VecDeque<ClientAction>,
    pub(crate) state: ClientState,
    /// The result of the connect. `None` once the client has received the result.
    pub(crate) connect_result: Option<bool>,
    /// The direction from the client.
    pub(crate) incoming: Pipe,
    /// The direction to the client.
    pub(crate) outgoing: Pipe,
    /// The process of the machine that has accepted the connection. `None`: not accepted, or accepted by a
    /// program.
    pub(crate) accepted_by: Option<Pid>,
    /// The number of programs that have received the connection. Hostile processes do not count.
    pub(crate) served: u32,
    /// The source port for datagrams; `None` before the first datagram.
    pub(crate) udp_port: Option<u16>,
    /// Datagrams that the client has not received yet.
    pub(crate) datagrams: VecDeque<Datagram>,
}

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum ClientState {
    /// Not connected.
    #[default]
    Idle,
    /// In the backlog of a listener.
    Queued,
    /// Accepted; a process references the server's end.
    Accepted,
    /// The server's end is closed.
    Closed,
}

/// One direction of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Pipe {
    pub(crate) bytes: Vec<u8>,
    pub(crate) flow: Flow,
    /// The client has received the end.
    pub(crate) end_received: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Flow {
    #[default]
    Open,
    Ended,
    Reset,
}

impl Pipe {
    /// Ends the pipe. A second ending has no effect.
    pub(crate) fn finish(&mut self, flow: Flow) {
        if self.flow == Flow::Open {
            self.flow = flow;
        }
    }

    pub(crate) fn has_news(&self) -> bool {
        !self.bytes.is_empty() || (self.flow != Flow::Open && !self.end_received)
    }

    /// Takes the bytes. If there are none, returns the ending.
    pub(crate) fn take(&mut self) -> Result<Vec<u8>, Flow> {
        if self.bytes.is_empty() {
            self.end_received = true;
            return Err(self.flow);
        }
        Ok(std::mem::take(&mut self.bytes))
    }
}

impl Client {
    pub(crate) fn has_news(&self) -> bool {
        self.connect_result.is_some() || !self.datagrams.is_empty() || self.outgoing.has_news()
    }

    /// The source address of the last connection; `None`: a Unix socket.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.to.as_ref()?.ip()?;
        Some(self.from.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)))
    }

    /// Whether the client waits: it is connected, and neither side has ended.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.state, ClientState::Queued | ClientState::Accepted)
            && self.outgoing.flow == Flow::Open
            && self.incoming.flow != Flow::Reset
    }
}
