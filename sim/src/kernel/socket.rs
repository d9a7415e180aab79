//! Sockets behind their descriptors: listeners with a backlog, connections as two pipes between a client and whoever has
//! the descriptor, and UDP sockets. A file lives while anybody refers to it; the kernel counts.

use std::collections::VecDeque;

use cluster_core::LocalAddress;

use super::bound_address::BoundAddress;
use super::process_table::Pid;
use super::udp::{Datagram, UdpSocket};
use crate::program::{ClientAction, ClientId};

/// What a descriptor refers to, in any number of processes and messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileId(pub(crate) u32);

/// A socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct File {
    /// Descriptors and messages in flight that refer to it. At 0 it is closed.
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
    /// How many connections may wait; `None`: it is bound and does not listen.
    pub(crate) limit: Option<u32>,
    pub(crate) backlog: VecDeque<ClientId>,
}

impl Listener {
    pub(crate) fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.backlog.len() >= limit as usize)
    }
}

/// A client and its one connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Client {
    /// Where it last tried to connect.
    pub(crate) to: Option<LocalAddress>,
    pub(crate) actions: VecDeque<ClientAction>,
    pub(crate) state: ClientState,
    /// Whether it was connected or refused, until it has heard.
    pub(crate) answer: Option<bool>,
    /// From the client.
    pub(crate) incoming: Pipe,
    /// To the client.
    pub(crate) outgoing: Pipe,
    /// The process whose machine accepted it from the kernel; `None`: none, or its program did.
    pub(crate) accepted_by: Option<Pid>,
    /// How many programs were ever given it, not counting those in hostile processes.
    pub(crate) served: u32,
    /// The port its datagrams come from, once it has sent one.
    pub(crate) udp_port: Option<u16>,
    /// Datagrams it has not heard.
    pub(crate) datagrams: VecDeque<Datagram>,
}

/// Where a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum ClientState {
    /// Not connected, or not yet.
    #[default]
    Idle,
    /// In the backlog of a listener.
    Queued,
    /// Accepted, and somebody refers to the server's end.
    Accepted,
    /// The server's end is closed.
    Closed,
}

/// One direction of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Pipe {
    pub(crate) bytes: Vec<u8>,
    pub(crate) flow: Flow,
    /// The client has heard how it ended.
    pub(crate) told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Flow {
    #[default]
    Open,
    Ended,
    Reset,
}

impl Pipe {
    /// The first ending stays.
    pub(crate) fn finish(&mut self, flow: Flow) {
        if self.flow == Flow::Open {
            self.flow = flow;
        }
    }

    pub(crate) fn has_news(&self) -> bool {
        !self.bytes.is_empty() || (self.flow != Flow::Open && !self.told)
    }

    /// The bytes, or how it ended.
    pub(crate) fn take(&mut self) -> Result<Vec<u8>, Flow> {
        if self.bytes.is_empty() {
            self.told = true;
            return Err(self.flow);
        }
        Ok(std::mem::take(&mut self.bytes))
    }
}

impl Client {
    pub(crate) fn has_news(&self) -> bool {
        self.answer.is_some() || !self.datagrams.is_empty() || self.outgoing.has_news()
    }

    /// It hangs: connected, and neither side has said that it is over.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.state, ClientState::Queued | ClientState::Accepted)
            && self.outgoing.flow == Flow::Open
            && self.incoming.flow != Flow::Reset
    }
}
