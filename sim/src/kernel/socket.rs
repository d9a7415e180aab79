//! Sockets behind their descriptors: listeners with a backlog, connections as two pipes between a client and whoever has
//! the descriptor, and UDP sockets. A file lives while anybody refers to it; the kernel counts.

use std::collections::VecDeque;
use std::net::SocketAddr;

use cluster_core::LocalAddress;

use super::datagram::{Datagram, Datagrams};
use super::name::Name;
use super::process::Pid;
use crate::program::ClientId;

/// What a descriptor refers to, in any number of processes and messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileId(pub(crate) u32);

/// A socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct File {
    /// Descriptors and messages in flight that refer to it. At 0 it is closed.
    pub(crate) refs: u32,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Listener(Listener),
    Connection(ClientId),
    Datagrams(Datagrams),
}

/// A bound stream socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Listener {
    pub(crate) name: Name,
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
    pub(crate) actions: VecDeque<Action>,
    pub(crate) place: Place,
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
    pub(crate) letters: VecDeque<Datagram>,
}

/// What a client is about to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Connect(LocalAddress),
    Send(Vec<u8>),
    SendTo(SocketAddr, Vec<u8>),
    End,
    Reset,
}

/// Where a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Place {
    /// Not connected, or not yet.
    #[default]
    Nowhere,
    /// In the backlog of a listener.
    Backlog,
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
        self.answer.is_some() || !self.letters.is_empty() || self.outgoing.has_news()
    }

    /// It hangs: connected, and neither side has said that it is over.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.place, Place::Backlog | Place::Accepted)
            && self.outgoing.flow == Flow::Open
            && self.incoming.flow != Flow::Reset
    }
}
