//! The sockets of a simulated process that its machine does not own: connections, servers of the program, and
//! received handles. Their events become lines here, and the program of the process reacts to the lines.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use cluster_core::{BindAddress, HandleType, IncomingHandle, LocalAddress, OutgoingHandle, SocketId};
use cluster_sim::{Ending, Process, SocketEvent};

use crate::observation::Observation;
use crate::program::lines::Lines;
use crate::scenario::{Open, ServerName};
use crate::vocabulary;

/// The default backlog of Node.
const BACKLOG: u32 = 511;

/// All sockets of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Sockets {
    connections: BTreeMap<SocketId, Connection>,
    /// The listeners, and the sockets for datagrams.
    servers: BTreeMap<SocketId, Server>,
    /// The connections on which a write has failed.
    failed: BTreeSet<SocketId>,
}

/// A server of either kind: its name, and its type when sent as a handle.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Server {
    pub(super) name: String,
    kind: HandleType,
}

impl Server {
    /// A server for connections.
    pub(super) fn of_connections(name: &str) -> Self {
        Server { name: name.to_owned(), kind: HandleType::Server }
    }

    /// A server for datagrams.
    pub(super) fn of_datagrams(name: &str, v6: bool) -> Self {
        Server { name: name.to_owned(), kind: HandleType::Datagram { v6 } }
    }
}

/// One connection: its server, and the incomplete line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Connection {
    server: String,
    lines: Lines,
}

/// The peer of a line. Actions that answer send to this peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyTarget {
    Connection(SocketId),
    Sender(SocketId, SocketAddr),
}

impl Sockets {
    /// Adds a connection of this program.
    pub(super) fn track(&mut self, connection: SocketId, server: &str) {
        let connection_state = Connection { server: server.to_owned(), lines: Lines::default() };
        self.connections.insert(connection, connection_state);
    }

    /// Adds a server.
    pub(super) fn serve(&mut self, socket: SocketId, server: Server) {
        self.servers.insert(socket, server);
    }

    /// Removes a connection or a server.
    pub(super) fn forget(&mut self, socket: SocketId) {
        self.connections.remove(&socket);
        self.servers.remove(&socket);
    }

    /// Adds the handle of a message, with the text of the message as its name. Returns the kind of the
    /// handle, for the line.
    pub(super) fn adopt(
        &mut self,
        process: &mut Process<'_>,
        passed: IncomingHandle,
        text: &str,
    ) -> &'static str {
        match passed.kind {
            HandleType::Socket => {
                self.track(passed.socket, text);
                "connection"
            }
            HandleType::Server | HandleType::Native => {
                self.serve(passed.socket, Server::of_connections(text));
                // Already done by the sender, but this process must also call `listen` to accept.
                let _ = process.listen(passed.socket, BACKLOG);
                "server"
            }
            HandleType::Datagram { .. } | HandleType::DatagramNative => {
                let server = Server { name: text.to_owned(), kind: passed.kind };
                self.serve(passed.socket, server);
                "datagrams"
            }
        }
    }

    /// The newest server with this name.
    pub(super) fn named(&self, name: &str) -> Option<SocketId> {
        self.servers.iter().rev().find(|(_, server)| server.name == name).map(|(socket, _)| *socket)
    }

    /// The lines for an event in order, each with its peer.
    pub(super) fn on_event(&mut self, event: SocketEvent) -> Vec<(Observation, ReplyTarget)> {
        match event {
            SocketEvent::Accepted { listener, connection } => {
                let server =
                    self.servers.get(&listener).map(|server| server.name.clone()).unwrap_or_default();
                self.track(connection, &server);
                vec![(vocabulary::server("connection", &server), ReplyTarget::Connection(connection))]
            }
            SocketEvent::Data { connection, bytes } => {
                let Some(connection_state) = self.connections.get_mut(&connection) else { return Vec::new() };
                let lines = connection_state.lines.push(&bytes);
                let seen = |text: String| {
                    (
                        vocabulary::server_data(&connection_state.server, &text),
                        ReplyTarget::Connection(connection),
                    )
                };
                lines.into_iter().map(seen).collect()
            }
            SocketEvent::Ended { connection, ending } => {
                let Some(connection_state) = self.connections.get(&connection) else { return Vec::new() };
                let what = match ending {
                    Ending::Finished => "end",
                    Ending::Reset => "reset",
                };
                vec![(
                    vocabulary::server(what, &connection_state.server),
                    ReplyTarget::Connection(connection),
                )]
            }
            SocketEvent::Datagram { socket, from, bytes } => {
                let Some(server) = self.servers.get(&socket) else { return Vec::new() };
                let seen = vocabulary::datagram(&server.name, &String::from_utf8_lossy(&bytes), from.port());
                vec![(seen, ReplyTarget::Sender(socket, from))]
            }
        }
    }

    /// Answers the peer of a line.
    pub(super) fn reply(&mut self, process: &mut Process<'_>, target: Option<ReplyTarget>, text: &str) {
        match target {
            Some(ReplyTarget::Connection(connection)) if process.is_reset(connection) => {
                self.failed.insert(connection);
            }
            Some(ReplyTarget::Connection(connection)) => {
                process.write(connection, format!("{text}\n").as_bytes());
            }
            Some(ReplyTarget::Sender(socket, from)) => process.send_to(socket, from, text.as_bytes()),
            None => {}
        }
    }

    /// The line for the next connection with a failed write, if any. The connection has then ended, even if
    /// bytes are unread.
    pub(super) fn next_failed(&mut self) -> Option<(Observation, SocketId)> {
        let failed = std::iter::from_fn(|| self.failed.pop_first());
        let mut open = failed.filter_map(|failed| Some((self.connections.get(&failed)?, failed)));
        open.next().map(|(connection, failed)| (vocabulary::server("reset", &connection.server), failed))
    }

    /// Every open connection.
    pub(super) fn connections(&self) -> impl Iterator<Item = SocketId> {
        self.connections.keys().copied()
    }

    /// The handle to send: a server by name, or the peer of the line. `None`: the handle is closed.
    pub(super) fn passing(
        &self,
        what: Option<&ServerName>,
        target: Option<ReplyTarget>,
        keep_open: bool,
    ) -> Option<OutgoingHandle> {
        let connection = || match target? {
            ReplyTarget::Connection(connection) => {
                self.connections.contains_key(&connection).then_some(connection)
            }
            ReplyTarget::Sender(..) => None,
        };
        let socket = what.map_or_else(connection, |name| self.named(name.as_str()))?;
        let kind = self.servers.get(&socket).map_or(HandleType::Socket, |server| server.kind);
        Some(OutgoingHandle { socket, kind, keep_open })
    }

    /// Forgets a handle that was sent without `keep_open`.
    pub(super) fn passed(&mut self, process: &mut Process<'_>, passing: OutgoingHandle) {
        if !passing.keep_open {
            process.detach(passing.socket);
            self.forget(passing.socket);
        }
    }
}

/// Ends the connection of a line.
pub(super) fn end(process: &mut Process<'_>, target: Option<ReplyTarget>) {
    if let Some(ReplyTarget::Connection(connection)) = target {
        process.end(connection);
    }
}

/// Sends a datagram to a port of 127.0.0.1, from the given socket or from a new socket.
pub(super) fn send_datagram(process: &mut Process<'_>, from: Option<SocketId>, port: u16, text: &str) {
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let (host, unset) = (Ipv4Addr::UNSPECIFIED.into(), false);
    let anywhere =
        BindAddress::Udp { host, port: 0, ipv6_only: unset, reuse_address: unset, reuse_port: unset };
    match from {
        Some(socket) => process.send_to(socket, to, text.as_bytes()),
        None => {
            if let Ok((socket, _)) = process.open(&anywhere, None) {
                process.send_to(socket, to, text.as_bytes());
                process.close(socket);
            }
        }
    }
}

/// A socket that receives a datagram at any later time: from itself.
pub(super) fn later(process: &mut Process<'_>) -> Option<SocketId> {
    let (host, port, unset) = (Ipv4Addr::LOCALHOST.into(), 0, false);
    let address = BindAddress::Udp { host, port, ipv6_only: unset, reuse_address: unset, reuse_port: unset };
    let Ok((socket, LocalAddress::Ip(own))) = process.open(&address, None) else { return None };
    process.send_to(socket, own, b"later");
    Some(socket)
}

/// Opens a server that the program itself owns. Returns the socket and the line.
pub(super) fn open(
    sockets: &mut Sockets,
    process: &mut Process<'_>,
    open: &Open,
) -> Option<(SocketId, Observation)> {
    let (host, port) = (Ipv4Addr::LOCALHOST.into(), 0);
    let address = match &open.path {
        Some(path) => BindAddress::Path {
            path: format!("{}/{path}", super::PLACE),
            readable_all: false,
            writable_all: false,
        },
        None if open.udp => {
            BindAddress::Udp { host, port, ipv6_only: false, reuse_address: false, reuse_port: false }
        }
        None => BindAddress::Tcp { host: Some(host), port, ipv6_only: false, reuse_port: false },
    };
    let backlog = (!open.udp && !open.bound).then_some(BACKLOG);
    let (socket, local) = process.open(&address, backlog).ok()?;
    if open.bound {
        process.mute(socket);
    }
    let name = open.server.as_str();
    let server = if open.udp { Server::of_datagrams(name, false) } else { Server::of_connections(name) };
    sockets.serve(socket, server);
    Some((socket, vocabulary::opened(open.server.as_str(), &super::super::translate::local(&local))))
}
