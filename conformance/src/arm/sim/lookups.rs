//! The lookups of a worker on Node. `server.listen` and `socket.bind` look a host up before the worker sends
//! the query, so the query of a later server without a host may be sent first. A Rust worker sends queries at
//! once.

use std::collections::BTreeMap;

use cluster_core::SocketId;
use cluster_sim::Process;

use super::sockets;
use crate::scenario::{Bind, Listen};

/// A server that the worker opens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum RequestedServer {
    Listen(Listen),
    Bind(Bind),
}

/// The servers that wait for a lookup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Lookups {
    is_node: bool,
    /// Servers with an address as the host: the lookup ends one tick later.
    ticks: Vec<RequestedServer>,
    /// Servers with a name as the host: a thread looks the name up. Here a datagram from the socket to itself
    /// stands for the answer.
    threads: BTreeMap<SocketId, RequestedServer>,
}

/// When the answer of a lookup arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// At once: there is no host, or the program has its own lookup.
    Now,
    /// After the actions of the present line.
    Tick,
    /// At any later time.
    Later,
}

impl Lookups {
    /// The lookups of a worker on Node, or of a Rust worker.
    pub(super) fn new(is_node: bool) -> Self {
        Lookups { is_node, ..Lookups::default() }
    }

    /// Starts a lookup if necessary. Returns the server if no lookup is necessary.
    pub(super) fn start(
        &mut self,
        server: RequestedServer,
        process: &mut Process<'_>,
    ) -> Option<RequestedServer> {
        match server.answer() {
            Answer::Tick if self.is_node => self.ticks.push(server),
            Answer::Later if self.is_node => return self.ask_thread(server, process),
            Answer::Now | Answer::Tick | Answer::Later => return Some(server),
        }
        None
    }

    fn ask_thread(&mut self, server: RequestedServer, process: &mut Process<'_>) -> Option<RequestedServer> {
        let Some(socket) = sockets::later(process) else { return Some(server) };
        self.threads.insert(socket, server);
        None
    }

    /// Takes the servers that waited for the tick.
    pub(super) fn take_ticks(&mut self) -> Vec<RequestedServer> {
        std::mem::take(&mut self.ticks)
    }

    /// Takes the server with the answer that has arrived at this socket.
    pub(super) fn take_found(
        &mut self,
        socket: SocketId,
        process: &mut Process<'_>,
    ) -> Option<RequestedServer> {
        let server = self.threads.remove(&socket)?;
        process.close(socket);
        Some(server)
    }
}

impl RequestedServer {
    /// Node: `lookupAndListen`, and `lookup` of a datagram socket, which has a default address.
    fn answer(&self) -> Answer {
        let (looks_up, form) = match self {
            RequestedServer::Listen(Listen { host, path, fd_of, form, .. }) => {
                (host.is_some() && path.is_none() && fd_of.is_none(), form)
            }
            RequestedServer::Bind(Bind { fd_of, form, .. }) => (fd_of.is_none(), form),
        };
        let form = form.as_deref().unwrap_or_default();
        match looks_up {
            true if form.contains("localhost") => Answer::Later,
            true if !form.contains("lookup:") => Answer::Tick,
            true | false => Answer::Now,
        }
    }
}
