//! The servers of a worker, from the request to the close. Connections are in `connections`.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::Step;
use super::indexes::Indexes;
use super::open_connections::OpenConnections;
use super::peer::{Peer, PendingReply};
use crate::address::ListeningAddress;
use crate::backoff::Backoff;
use crate::event::{ListenError, ListenerId, Output, WorkerEvent};
use crate::listen::{ListenAddress, ListenOptions};
use crate::message::{HandleKey, QueryServer, Reply, Request};
use crate::os::{Call, Errno, HandleId, LocalAddress, SocketId};

/// The length of the kernel's queue of connections if the program sets none. Node: 511.
const BACKLOG: u32 = 511;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum ServerState {
    /// The primary has not answered yet.
    Requested,
    /// The primary accepts connections at this address.
    RoundRobin(LocalAddress),
    /// The worker accepts connections from this socket.
    Bound(SocketId),
    /// The server is closed, but has open connections.
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Server {
    pub(super) options: ListenOptions,
    /// The index among the worker's servers of the same address. `None`: an exclusive server.
    index: Option<u64>,
    pub(super) state: ServerState,
    pub(super) key: Option<HandleKey>,
    port: u16,
    /// Whether the application asks for a connection.
    pub(super) wanted: bool,
    /// Whether accepting is paused after a failure.
    pub(super) resting: bool,
    pub(super) backoff: Backoff,
    /// The connections offered by the primary, with the sequence numbers of the offers.
    pub(super) offered: VecDeque<(u64, SocketId)>,
}

/// A closed server, while the primary does not know of the close.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Unanswered {
    address: ListenAddress,
    index: u64,
}

/// The servers of a worker, and their connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Servers {
    /// Boxed, because each node of the map reserves the memory of eleven values.
    pub(super) rows: BTreeMap<ListenerId, Box<Server>>,
    last_listener: u64,
    indexes: Indexes,
    /// Servers closed before the primary's answer. They keep their indexes until the primary was informed of
    /// the close.
    unanswered: BTreeMap<ListenerId, Unanswered>,
    pub(super) connections: OpenConnections,
}

impl Servers {
    /// Continues the numbers of servers after `last`.
    #[cfg(feature = "testing")]
    pub(super) fn count_after(&mut self, last: u64) {
        self.last_listener = last.max(self.last_listener);
    }

    /// Opens a server, shared or exclusive.
    pub(super) fn listen(
        &mut self,
        options: ListenOptions,
        is_shutting_down: bool,
        peer: &mut Peer,
    ) -> ListenerId {
        self.last_listener += 1;
        let listener = ListenerId(self.last_listener);
        let index = (!options.is_exclusive()).then(|| self.indexes.take(&options.address));
        let server = Server {
            state: ServerState::Requested,
            key: None,
            port: options.address.port(),
            wanted: false,
            resting: false,
            backoff: Backoff::default(),
            offered: VecDeque::new(),
            options,
            index,
        };
        if index.is_some() {
            self.ask(listener, server, is_shutting_down, peer);
        } else {
            self.bind(listener, server, peer);
        }
        listener
    }

    /// Binds an exclusive server, without the primary.
    fn bind(&mut self, listener: ListenerId, server: Server, peer: &mut Peer) {
        let address = server.options.address.to_bind(server.options.reuse_port);
        let backlog = Some(server.backlog());
        self.rows.insert(listener, Box::new(server));
        peer.steps.call(Call::Bind { handle: HandleId(listener.0), address, backlog });
    }

    /// Called when the operating system has bound the socket of an exclusive server.
    pub(super) fn bound(
        &mut self,
        HandleId(listener): HandleId,
        socket: SocketId,
        address: LocalAddress,
        peer: &mut Peer,
    ) {
        let listener = ListenerId(listener);
        let Some(server) =
            self.rows.get_mut(&listener).filter(|server| server.state == ServerState::Requested)
        else {
            return peer.close_socket(Some(socket));
        };
        server.state = ServerState::Bound(socket);
        self.serves(listener, address, peer);
        self.serve(listener, peer);
    }

    pub(super) fn bind_failed(&mut self, HandleId(listener): HandleId, errno: Errno, peer: &mut Peer) {
        let listener = ListenerId(listener);
        if self.rows.get(&listener).is_some_and(|server| server.state == ServerState::Requested) {
            self.not_listening(listener, errno, peer);
        }
    }

    fn ask(&mut self, listener: ListenerId, server: Server, is_shutting_down: bool, peer: &mut Peer) {
        if !peer.channel.is_connected() || is_shutting_down {
            // The primary will not answer.
            self.indexes.give_back(&server.options.address, server.index);
            return failed(&server.options, listener, Errno::ENOTCONN, peer);
        }
        let seq = peer.request(Request::QueryServer(server.query()));
        peer.expect(seq, PendingReply::Listen(listener));
        self.rows.insert(listener, Box::new(server));
    }

    /// Handles the primary's answer to a query.
    pub(super) fn answered(
        &mut self,
        listener: ListenerId,
        reply: Reply,
        socket: Option<SocketId>,
        peer: &mut Peer,
    ) {
        let asked = self.rows.get_mut(&listener).filter(|server| server.state == ServerState::Requested);
        let Some(server) = asked else { return self.answered_too_late(listener, reply, socket, peer) };
        if let Some(errno) = reply.errno {
            peer.close_socket(socket);
            return self.not_listening(listener, errno, peer);
        }
        server.key = reply.key;
        if let Some(socket) = socket {
            server.state = ServerState::Bound(socket);
            let backlog = server.backlog();
            return peer.steps.call(Call::Listen { socket, backlog });
        }
        if server.is_udp() {
            // A UDP server cannot work without a socket.
            self.report_close(listener, peer);
            return self.not_listening(listener, Errno::EPROTO, peer);
        }
        let address = reply.sockname.unwrap_or_else(|| requested_address(&server.options.address));
        let asked = server.options.address.port();
        if asked != 0 && asked != address.port() {
            self.report_close(listener, peer);
            return self.not_listening(listener, Errno::EADDRINUSE, peer);
        }
        server.state = ServerState::RoundRobin(address.clone());
        self.serves(listener, address, peer);
    }

    /// Called when the primary's answer arrives after the server was closed. The primary is informed of the
    /// close only now, because the answer contains the key.
    fn answered_too_late(
        &mut self,
        listener: ListenerId,
        reply: Reply,
        socket: Option<SocketId>,
        peer: &mut Peer,
    ) {
        peer.close_socket(socket);
        if let Some(Unanswered { address, index }) = self.unanswered.remove(&listener) {
            self.indexes.give_back(&address, Some(index));
        }
        if let (None, Some(key)) = (reply.errno, reply.key) {
            peer.request(Request::Close(key));
        }
    }

    pub(super) fn listening(&mut self, socket: SocketId, address: LocalAddress, peer: &mut Peer) {
        let Some(listener) = self.owner(socket) else { return };
        let asked = self.rows[&listener].options.address.port();
        if asked != 0 && asked != address.port() {
            // A Node primary that has failed to bind sends its socket nevertheless.
            return self.listen_failed(socket, Errno::EADDRINUSE, peer);
        }
        self.serves(listener, address, peer);
        self.serve(listener, peer);
    }

    pub(super) fn listen_failed(&mut self, socket: SocketId, errno: Errno, peer: &mut Peer) {
        if let Some(listener) = self.owner(socket) {
            peer.steps.call(Call::Close { socket });
            self.report_close(listener, peer);
            self.not_listening(listener, errno, peer);
        }
    }

    pub(super) fn owner(&self, socket: SocketId) -> Option<ListenerId> {
        let own = |server: &Server| server.state == ServerState::Bound(socket);
        self.rows.iter().find(|(_, server)| own(server)).map(|(listener, _)| *listener)
    }

    /// Called when the server listens. As in Node, the program first receives the event, and after the
    /// reaction the primary receives the report.
    fn serves(&mut self, listener: ListenerId, address: LocalAddress, peer: &mut Peer) {
        if let Some(server) = self.rows.get_mut(&listener) {
            server.port = address.port();
        }
        peer.steps.own_tick(Step::Listening(listener, address));
    }

    /// Emits that the server listens, in the tick of this event, unless the server was closed in the
    /// meantime.
    pub(super) fn emit_listening(
        &mut self,
        listener: ListenerId,
        address: LocalAddress,
        peer: &mut Peer,
    ) -> Option<Output<WorkerEvent>> {
        let server = self.rows.get(&listener)?;
        if server.state == ServerState::Closed {
            return None;
        }
        let socket = match server.state {
            ServerState::Bound(socket) if server.is_udp() => Some(socket),
            ServerState::Bound(_)
            | ServerState::Requested
            | ServerState::RoundRobin(_)
            | ServerState::Closed => None,
        };
        peer.steps.own(Step::Announce(listener));
        Some(Output::Event(WorkerEvent::Listening { listener, address, socket }))
    }

    pub(super) fn announce(&mut self, listener: ListenerId, peer: &mut Peer) {
        let Some(server) = self.rows.get(&listener) else { return };
        if server.state != ServerState::Closed && server.index.is_some() {
            let QueryServer { address, address_type, port, fd, .. } = server.query();
            // A path has the port -1.
            let port = if port == Some(-1) { -1 } else { i32::from(server.port) };
            peer.request(Request::Listening(ListeningAddress { address, port, address_type, fd }));
        }
    }

    /// Removes a server that has failed to listen.
    fn not_listening(&mut self, listener: ListenerId, errno: Errno, peer: &mut Peer) {
        let Some(server) = self.rows.remove(&listener) else { return };
        self.indexes.give_back(&server.options.address, server.index);
        failed(&server.options, listener, errno, peer);
        peer.steps.own(Step::ShutDown);
    }

    /// Closes every server. A server that waits for the primary's answer fails, because a worker that shuts
    /// down gets no answer.
    pub(super) fn close_all(&mut self, peer: &mut Peer) {
        let asked = |_: &ListenerId, server: &mut Box<Server>| {
            server.state == ServerState::Requested && server.index.is_some()
        };
        for (listener, server) in self.rows.extract_if(.., asked).collect::<Vec<_>>() {
            failed(&server.options, listener, Errno::ENOTCONN, peer);
        }
        let listeners: Vec<ListenerId> = self.shared_servers().collect();
        for listener in listeners {
            self.close_server(listener, peer);
        }
    }

    /// The servers that a shutdown closes and waits for: all except the exclusive ones.
    pub(super) fn shared_servers(&self) -> impl Iterator<Item = ListenerId> {
        self.rows.iter().filter(|(_, server)| server.index.is_some()).map(|(listener, _)| *listener)
    }

    pub(super) fn close_server(&mut self, listener: ListenerId, peer: &mut Peer) {
        let Some(server) = self.rows.get_mut(&listener) else { return };
        if server.state == ServerState::Closed {
            return;
        }
        let before = core::mem::replace(&mut server.state, ServerState::Closed);
        let offered = core::mem::take(&mut server.offered);
        let address = server.options.address.clone();
        match server.index {
            Some(index) if before == ServerState::Requested => {
                self.unanswered.insert(listener, Unanswered { address, index });
            }
            index => self.indexes.give_back(&address, index),
        }
        if let ServerState::Bound(socket) = before {
            peer.steps.call(Call::Close { socket });
        }
        // The primary is informed first, so it does not offer these connections to this worker again.
        self.report_close(listener, peer);
        for (seq, connection) in offered {
            peer.decline(seq, connection);
        }
        self.close_if_drained(listener, peer);
    }

    /// Informs the primary of a close, if the key is known.
    fn report_close(&mut self, listener: ListenerId, peer: &mut Peer) {
        if let Some(key) = self.rows.get(&listener).and_then(|server| server.key.clone()) {
            peer.request(Request::Close(key));
        }
    }

    pub(super) fn close_if_drained(&self, listener: ListenerId, peer: &mut Peer) {
        let closed = self.rows.get(&listener).is_some_and(|server| server.state == ServerState::Closed);
        if closed && self.connections.count(listener) == 0 {
            peer.steps.own_tick(Step::Closed(listener));
        }
    }

    /// Removes a closed server. Returns false if it was removed before.
    pub(super) fn remove(&mut self, listener: ListenerId) -> bool {
        self.rows.remove(&listener).is_some()
    }
}

impl Server {
    fn query(&self) -> QueryServer {
        self.options.address.query(self.index.unwrap_or(0), self.options.backlog)
    }

    pub(super) fn is_udp(&self) -> bool {
        self.options.address.is_udp()
    }

    fn backlog(&self) -> u32 {
        self.options.backlog.filter(|backlog| *backlog > 0).unwrap_or(BACKLOG)
    }
}

/// The requested address of a server, used if the primary's answer contains none.
fn requested_address(asked: &ListenAddress) -> LocalAddress {
    match asked {
        ListenAddress::Tcp { host, port, .. } | ListenAddress::Udp { host, port: Some(port), .. } => {
            let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            SocketAddr::new(host.unwrap_or(any), *port).into()
        }
        ListenAddress::Zoned { host, zone, port, .. } => LocalAddress::in_zone(*host, zone, *port),
        ListenAddress::Path { path, .. } => LocalAddress::Path(path.clone()),
        ListenAddress::Descriptor { .. } | ListenAddress::Udp { .. } => LocalAddress::Path(String::new()),
    }
}

fn failed(options: &ListenOptions, listener: ListenerId, errno: Errno, peer: &mut Peer) {
    let error = ListenError { errno, address: options.address.clone(), exclusive: options.is_exclusive() };
    peer.steps.own_tick(Step::Emit(WorkerEvent::ListenFailed { listener, error }));
}
