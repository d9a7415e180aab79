//! The servers of a worker, from the request to the close. Connections are in `connections`.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::{PendingReply, Step, Worker};
use crate::address::ListeningAddress;
use crate::backoff::Backoff;
use crate::event::{ListenError, ListenerId, Output, WorkerEvent};
use crate::listen::{ListenAddress, ListenOptions};
use crate::message::{HandleKey, QueryServer, Reply, Request};
use crate::os::{Call, ChannelId, Errno, HandleId, LocalAddress, SocketId};

/// The kernel's queue of connections if the program gives none. Node: 511.
const BACKLOG: u32 = 511;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum ServerState {
    /// No answer of the primary yet.
    Requested,
    /// The primary accepts connections, at this address.
    RoundRobin(LocalAddress),
    /// The worker accepts connections from this socket.
    Bound(SocketId),
    /// Closed, with open connections.
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Server {
    pub(super) options: ListenOptions,
    /// The index among the worker's servers of the address; `None` for an exclusive server.
    index: Option<u64>,
    pub(super) state: ServerState,
    pub(super) key: Option<HandleKey>,
    port: u16,
    /// The application asks for a connection.
    pub(super) wanted: bool,
    /// Accepting is paused after a failure.
    pub(super) resting: bool,
    pub(super) backoff: Backoff,
    /// Connections offered by the primary, with the sequence numbers of the offers.
    pub(super) offered: VecDeque<(u64, SocketId)>,
}

/// A closed server, with a close that the primary has not been informed of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Unanswered {
    address: ListenAddress,
    index: u64,
}

impl Worker {
    /// Listens on an address, shared with other workers that do. [`WorkerEvent::Listening`] or
    /// [`WorkerEvent::ListenFailed`] follows. Node: `server.listen()`.
    pub fn listen(&mut self, options: ListenOptions) -> ListenerId {
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
        self.command(|worker| {
            if index.is_some() { worker.ask(listener, server) } else { worker.bind(listener, server) }
        });
        listener
    }

    /// Closes a server; unacknowledged connections are handed to other workers. [`WorkerEvent::Closed`] follows when
    /// the server's connections have ended. Node: `server.close()`.
    pub fn close(&mut self, listener: ListenerId) {
        self.command(|worker| worker.close_server(listener));
    }

    /// Binds an exclusive server, without the primary.
    fn bind(&mut self, listener: ListenerId, server: Server) {
        let address = server.options.address.to_bind(server.options.reuse_port);
        let backlog = Some(server.backlog());
        self.servers.insert(listener, Box::new(server));
        self.steps.call(Call::Bind { handle: HandleId(listener.0), address, backlog });
    }

    /// The operating system has bound the socket of an exclusive server.
    pub(super) fn bound(&mut self, HandleId(listener): HandleId, socket: SocketId, address: LocalAddress) {
        let listener = ListenerId(listener);
        let Some(server) =
            self.servers.get_mut(&listener).filter(|server| server.state == ServerState::Requested)
        else {
            return self.close_socket(Some(socket));
        };
        server.state = ServerState::Bound(socket);
        self.serves(listener, address);
        self.serve(listener);
    }

    pub(super) fn bind_failed(&mut self, HandleId(listener): HandleId, errno: Errno) {
        let listener = ListenerId(listener);
        if self.servers.get(&listener).is_some_and(|server| server.state == ServerState::Requested) {
            self.not_listening(listener, errno);
        }
    }

    fn ask(&mut self, listener: ListenerId, server: Server) {
        if !self.channel.is_connected() || self.exited_after_disconnect {
            // No primary would answer.
            self.give_back(&server);
            return self.failed(&server.options, listener, Errno::ENOTCONN);
        }
        let seq = self.send_request(Request::QueryServer(server.query()));
        self.pending.expect(seq, ChannelId::PRIMARY, PendingReply::Listen(listener));
        self.servers.insert(listener, Box::new(server));
    }

    fn give_back(&mut self, server: &Server) {
        if let Some(index) = server.index {
            self.indexes.give_back(&server.options.address, index);
        }
    }

    /// Handles the primary's answer to a query.
    pub(super) fn answered(&mut self, listener: ListenerId, reply: Reply, socket: Option<SocketId>) {
        let asked = self.servers.get_mut(&listener).filter(|server| server.state == ServerState::Requested);
        let Some(server) = asked else { return self.answered_too_late(listener, reply, socket) };
        if let Some(errno) = reply.errno {
            self.close_socket(socket);
            return self.not_listening(listener, errno);
        }
        server.key = reply.key;
        if let Some(socket) = socket {
            server.state = ServerState::Bound(socket);
            let backlog = server.backlog();
            return self.steps.call(Call::Listen { socket, backlog });
        }
        if server.is_udp() {
            // A UDP server needs a socket.
            self.report_close(listener);
            return self.not_listening(listener, Errno::EPROTO);
        }
        let address = reply.sockname.unwrap_or_else(|| unsaid(&server.options.address));
        let asked = server.options.address.port();
        if asked != 0 && asked != address.port() {
            self.report_close(listener);
            return self.not_listening(listener, Errno::EADDRINUSE);
        }
        server.state = ServerState::RoundRobin(address.clone());
        self.serves(listener, address);
    }

    /// The server was closed before the answer. The primary is informed now, because the answer contains the key.
    fn answered_too_late(&mut self, listener: ListenerId, reply: Reply, socket: Option<SocketId>) {
        self.close_socket(socket);
        if let Some(Unanswered { address, index }) = self.unanswered.remove(&listener) {
            self.indexes.give_back(&address, index);
        }
        if let (None, Some(key)) = (reply.errno, reply.key) {
            self.send_request(Request::Close(key));
        }
    }

    pub(super) fn listening(&mut self, socket: SocketId, address: LocalAddress) {
        let Some(listener) = self.owner(socket) else { return };
        let asked = self.servers[&listener].options.address.port();
        if asked != 0 && asked != address.port() {
            // A Node primary that failed to bind sends its socket all the same.
            return self.listen_failed(socket, Errno::EADDRINUSE);
        }
        self.serves(listener, address);
        self.serve(listener);
    }

    pub(super) fn listen_failed(&mut self, socket: SocketId, errno: Errno) {
        if let Some(listener) = self.owner(socket) {
            self.steps.call(Call::Close { socket });
            self.report_close(listener);
            self.not_listening(listener, errno);
        }
    }

    pub(super) fn owner(&self, socket: SocketId) -> Option<ListenerId> {
        let own = |server: &Server| server.state == ServerState::Bound(socket);
        self.servers.iter().find(|(_, server)| own(server)).map(|(listener, _)| *listener)
    }

    /// The server listens: the program gets the event first, the primary the report after the program's reaction, as
    /// in Node.
    fn serves(&mut self, listener: ListenerId, address: LocalAddress) {
        if let Some(server) = self.servers.get_mut(&listener) {
            server.port = address.port();
        }
        self.steps.own_tick(Step::Listening(listener, address));
    }

    /// The tick of the listening event, unless the server was closed in the meantime.
    pub(super) fn emit_listening(
        &mut self,
        listener: ListenerId,
        address: LocalAddress,
    ) -> Option<Output<WorkerEvent>> {
        let server = self.servers.get(&listener)?;
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
        self.steps.own(Step::Announce(listener));
        Some(Output::Event(WorkerEvent::Listening { listener, address, socket }))
    }

    pub(super) fn announce(&mut self, listener: ListenerId) {
        let Some(server) = self.servers.get(&listener) else { return };
        if server.state != ServerState::Closed && server.index.is_some() {
            let QueryServer { address, address_type, port, fd, .. } = server.query();
            // The port of a path is -1.
            let port = if port == Some(-1) { -1 } else { i32::from(server.port) };
            self.send_request(Request::Listening(ListeningAddress { address, port, address_type, fd }));
        }
    }

    /// Removes a server that failed to listen.
    fn not_listening(&mut self, listener: ListenerId, errno: Errno) {
        let Some(server) = self.servers.remove(&listener) else { return };
        self.give_back(&server);
        self.failed(&server.options, listener, errno);
        self.steps.own(Step::Leave);
    }

    fn failed(&mut self, options: &ListenOptions, listener: ListenerId, errno: Errno) {
        let error =
            ListenError { errno, address: options.address.clone(), exclusive: options.is_exclusive() };
        self.steps.own_tick(Step::Emit(WorkerEvent::ListenFailed { listener, error }));
    }

    /// Closes every server. A server without an answer fails: a worker that shuts down gets none.
    pub(super) fn close_all(&mut self) {
        let asked = |_: &ListenerId, server: &mut Box<Server>| {
            server.state == ServerState::Requested && server.index.is_some()
        };
        for (listener, server) in self.servers.extract_if(.., asked).collect::<Vec<_>>() {
            self.failed(&server.options, listener, Errno::ENOTCONN);
        }
        let listeners: Vec<ListenerId> = self.shared_servers().collect();
        for listener in listeners {
            self.close_server(listener);
        }
    }

    /// The servers that a shutdown closes and waits for: those shared with other workers.
    pub(super) fn shared_servers(&self) -> impl Iterator<Item = ListenerId> {
        self.servers.iter().filter(|(_, server)| server.index.is_some()).map(|(listener, _)| *listener)
    }

    fn close_server(&mut self, listener: ListenerId) {
        let Some(server) = self.servers.get_mut(&listener) else { return };
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
            Some(index) => self.indexes.give_back(&address, index),
            None => {}
        }
        if let ServerState::Bound(socket) = before {
            self.steps.call(Call::Close { socket });
        }
        // Informs the primary first, so that it does not offer the connections to this worker again.
        self.report_close(listener);
        for (seq, connection) in offered {
            self.decline(seq, connection);
        }
        self.close_if_drained(listener);
    }

    /// Informs the primary of a close, once the key is known.
    fn report_close(&mut self, listener: ListenerId) {
        if let Some(key) = self.servers.get(&listener).and_then(|server| server.key.clone()) {
            self.send_request(Request::Close(key));
        }
    }

    pub(super) fn close_if_drained(&mut self, listener: ListenerId) {
        let closed = self.servers.get(&listener).is_some_and(|server| server.state == ServerState::Closed);
        let mut held = self.connections.values().chain(self.accepting.values());
        if closed && held.all(|of| *of != listener) {
            self.steps.own_tick(Step::Closed(listener));
        }
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

/// The address of a server without one in the primary's answer.
fn unsaid(asked: &ListenAddress) -> LocalAddress {
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
