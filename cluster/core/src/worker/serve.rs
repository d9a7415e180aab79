//! The serving half of a worker: its servers, and the connections it is offered, acknowledges and gets.
//! A connection is acknowledged when the application asks for one, and it is the application's only once the
//! acknowledgement is written: so the primary always knows whose it is.

use alloc::collections::VecDeque;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde_json::Value;

use super::{Awaited, Step, Worker};
use crate::event::{AddressType, ListenError, ListenerId, ListeningAddress, Output, WorkerEvent};
use crate::message::{Act, HandleKey, QueryServer, Reply};
use crate::os::{Call, ChannelId, Errno, SocketId};

/// How many connections the kernel may hold where the user does not say. Node: 511.
const BACKLOG: u32 = 511;

/// Where and how to listen. Node: the options of `server.listen()`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ListenOptions {
    /// `None`: every address.
    pub host: Option<IpAddr>,
    /// 0: the kernel chooses, the same for the n-th such server of every worker.
    pub port: u16,
    /// With an IPv6 host: leave IPv4 alone.
    pub ipv6_only: bool,
    /// How many connections the kernel may hold before the primary accepts them; `None`: 511.
    pub backlog: Option<u32>,
}

impl From<SocketAddr> for ListenOptions {
    fn from(address: SocketAddr) -> Self {
        ListenOptions { host: Some(address.ip()), port: address.port(), ..ListenOptions::default() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Standing {
    /// The primary has not answered.
    Asked,
    /// The primary accepts for it, at this address.
    Given(SocketAddr),
    /// It accepts from this socket itself.
    Own(SocketId),
    /// Closed; its connections have still to end.
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Server {
    options: ListenOptions,
    index: u64,
    standing: Standing,
    key: Option<HandleKey>,
    /// The port that the kernel chose.
    port: u16,
    /// The application wants a connection.
    wanted: bool,
    /// Connections the primary has offered, with the number to answer.
    offered: VecDeque<(u64, SocketId)>,
}

/// A closed server of which the primary does not know yet that it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Unanswered {
    options: ListenOptions,
    index: u64,
}

impl Worker {
    /// Serves an address together with the other workers that do. [`WorkerEvent::Listening`] or
    /// [`WorkerEvent::ListenFailed`] follows. Node: `server.listen()`.
    pub fn listen(&mut self, options: ListenOptions) -> ListenerId {
        self.last_listener += 1;
        let listener = ListenerId(self.last_listener);
        let index = self.indexes.take(&options);
        let server = Server {
            standing: Standing::Asked,
            key: None,
            port: options.port,
            wanted: false,
            offered: VecDeque::new(),
            options,
            index,
        };
        self.command(|worker| worker.ask(listener, server));
        listener
    }

    /// The application wants one connection of this server. [`WorkerEvent::Connection`] follows when there is one.
    /// Until then, asking again changes nothing.
    pub fn accept(&mut self, listener: ListenerId) {
        self.command(|worker| {
            if let Some(server) = worker.servers.get_mut(&listener) {
                server.wanted = true;
                worker.serve(listener);
            }
        });
    }

    /// The application no longer wants one.
    pub fn withdraw(&mut self, listener: ListenerId) {
        self.command(|worker| {
            if let Some(server) = worker.servers.get_mut(&listener)
                && core::mem::take(&mut server.wanted)
                && let Standing::Own(socket) = server.standing
            {
                worker.steps.push(Step::Call(Call::PauseAccept { socket }));
            }
        });
    }

    /// The application is done with a connection and has closed it.
    pub fn release(&mut self, connection: SocketId) {
        if let Some(listener) = self.connections.remove(&connection) {
            self.command(|worker| worker.close_if_drained(listener));
        }
    }

    /// Closes a server; what it was offered and has not acknowledged goes to other workers.
    /// [`WorkerEvent::Closed`] follows when its connections have ended. Node: `server.close()`.
    pub fn close(&mut self, listener: ListenerId) {
        self.command(|worker| worker.close_server(listener));
    }

    fn ask(&mut self, listener: ListenerId, server: Server) {
        if !self.channel.is_connected() || self.exited_after_disconnect {
            // Nobody would answer.
            self.indexes.give_back(&server.options, server.index);
            return self.failed(&server.options, listener, Errno::ENOTCONN);
        }
        let seq = self.tell(Act::QueryServer(query(&server)));
        self.pending.expect(seq, ChannelId::PRIMARY, Awaited::Listen(listener));
        self.servers.insert(listener, server);
    }

    /// The primary has answered a `listen`.
    pub(super) fn answered(&mut self, listener: ListenerId, reply: Reply, socket: Option<SocketId>) {
        let asked = self.servers.get_mut(&listener).filter(|server| server.standing == Standing::Asked);
        let Some(server) = asked else { return self.answered_too_late(listener, reply, socket) };
        if let Some(errno) = reply.errno {
            self.close_socket(socket);
            return self.not_listening(listener, errno);
        }
        server.key = reply.key;
        if let Some(socket) = socket {
            server.standing = Standing::Own(socket);
            let backlog = server.options.backlog.filter(|backlog| *backlog > 0).unwrap_or(BACKLOG);
            return self.steps.push(Step::Call(Call::Listen { socket, backlog }));
        }
        let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let asked = SocketAddr::new(server.options.host.unwrap_or(any), server.options.port);
        let address = reply.sockname.unwrap_or(asked);
        if asked.port() != 0 && asked.port() != address.port() {
            self.say_closed(listener);
            return self.not_listening(listener, Errno::EADDRINUSE);
        }
        server.standing = Standing::Given(address);
        self.serves(listener, address);
    }

    /// The server was closed before the answer: the primary is told now, as it is only now that we know the key.
    fn answered_too_late(&mut self, listener: ListenerId, reply: Reply, socket: Option<SocketId>) {
        self.close_socket(socket);
        if let Some(Unanswered { options, index }) = self.unanswered.remove(&listener) {
            self.indexes.give_back(&options, index);
        }
        if let (None, Some(key)) = (reply.errno, reply.key) {
            self.tell(Act::Close(key));
        }
    }

    pub(super) fn listening(&mut self, socket: SocketId, address: SocketAddr) {
        let Some(listener) = self.owner(socket) else { return };
        let asked = self.servers[&listener].options.port;
        if asked != 0 && asked != address.port() {
            // A Node primary that could not bind sends its socket all the same.
            return self.listen_failed(socket, Errno::EADDRINUSE);
        }
        self.serves(listener, address);
        self.serve(listener);
    }

    pub(super) fn listen_failed(&mut self, socket: SocketId, errno: Errno) {
        if let Some(listener) = self.owner(socket) {
            self.steps.push(Step::Call(Call::Close { socket }));
            self.say_closed(listener);
            self.not_listening(listener, errno);
        }
    }

    fn owner(&self, socket: SocketId) -> Option<ListenerId> {
        let own = |server: &Server| server.standing == Standing::Own(socket);
        self.servers.iter().find(|(_, server)| own(server)).map(|(listener, _)| *listener)
    }

    /// It listens. The user hears it first, and the primary after the user's reaction, as in Node.
    fn serves(&mut self, listener: ListenerId, address: SocketAddr) {
        if let Some(server) = self.servers.get_mut(&listener) {
            server.port = address.port();
        }
        self.steps.tick(Step::Listening(listener, address));
    }

    /// The tick in which the user hears that a server listens, if it still does.
    pub(super) fn heard(&mut self, listener: ListenerId, address: SocketAddr) -> Option<Output<WorkerEvent>> {
        let server = self.servers.get(&listener)?;
        if server.standing == Standing::Closed {
            return None;
        }
        self.steps.push(Step::Announce(listener));
        Some(Output::Event(WorkerEvent::Listening { listener, address }))
    }

    pub(super) fn announce(&mut self, listener: ListenerId) {
        let Some(server) = self.servers.get(&listener) else { return };
        if server.standing != Standing::Closed {
            let QueryServer { address, address_type, .. } = query(server);
            let address = ListeningAddress { address, port: server.port, address_type };
            self.tell(Act::Listening(address));
        }
    }

    /// It does not listen, and never did: nothing of it stays.
    fn not_listening(&mut self, listener: ListenerId, errno: Errno) {
        let Some(server) = self.servers.remove(&listener) else { return };
        self.indexes.give_back(&server.options, server.index);
        self.failed(&server.options, listener, errno);
        self.steps.push(Step::Leave);
    }

    fn failed(&mut self, options: &ListenOptions, listener: ListenerId, errno: Errno) {
        let error = ListenError { errno, host: options.host, port: options.port };
        self.steps.tick(Step::Emit(WorkerEvent::ListenFailed { listener, error }));
    }

    // ---- connections

    /// The primary offers a connection. Node: `newconn`.
    pub(super) fn offered(&mut self, seq: u64, key: &HandleKey, connection: SocketId) {
        let open = |server: &Server| {
            server.key.as_ref() == Some(key) && matches!(server.standing, Standing::Given(_))
        };
        let found = self.servers.iter_mut().find(|(_, server)| open(server));
        let Some((&listener, server)) = found else { return self.decline(seq, connection) };
        server.offered.push_back((seq, connection));
        self.serve(listener);
    }

    /// If one is wanted: acknowledges an offered connection, or lets the socket accept one.
    fn serve(&mut self, listener: ListenerId) {
        let Some(server) = self.servers.get_mut(&listener) else { return };
        if !server.wanted {
            return;
        }
        if let Standing::Own(socket) = server.standing {
            return self.steps.push(Step::Call(Call::ResumeAccept { socket }));
        }
        if let Some((seq, connection)) = server.offered.pop_front() {
            server.wanted = false;
            self.accepting.insert(connection, listener);
            self.reply(Reply { ack: seq, accepted: Some(true), ..Reply::default() }, Some(connection));
        }
    }

    /// The acknowledgement of a connection is written: it is the application's.
    pub(super) fn written(&mut self, connection: SocketId) -> Option<Output<WorkerEvent>> {
        let listener = self.accepting.remove(&connection)?;
        self.connections.insert(connection, listener);
        Some(Output::Event(WorkerEvent::Connection { listener, connection }))
    }

    /// A socket of our own has accepted a connection.
    pub(super) fn accepted(&mut self, socket: SocketId, connection: SocketId) {
        let Some(listener) = self.owner(socket) else { return self.close_socket(Some(connection)) };
        self.connections.insert(connection, listener);
        if let Some(server) = self.servers.get_mut(&listener) {
            server.wanted = false;
        }
        self.steps.push(Step::Call(Call::PauseAccept { socket }));
        self.steps.push(Step::Emit(WorkerEvent::Connection { listener, connection }));
    }

    fn decline(&mut self, seq: u64, connection: SocketId) {
        self.reply(Reply { ack: seq, accepted: Some(false), ..Reply::default() }, None);
        self.steps.push(Step::Call(Call::Close { socket: connection }));
    }

    /// The channel is gone: the primary gives to others what we have not acknowledged.
    pub(super) fn drop_unacknowledged(&mut self) {
        let accepting = core::mem::take(&mut self.accepting);
        let offered = self.servers.values_mut().flat_map(|server| core::mem::take(&mut server.offered));
        let dropped: Vec<SocketId> =
            accepting.into_keys().chain(offered.map(|(_, connection)| connection)).collect();
        for connection in dropped {
            self.close_socket(Some(connection));
        }
        let listeners: Vec<ListenerId> = self.servers.keys().copied().collect();
        for listener in listeners {
            self.close_if_drained(listener);
        }
    }

    // ---- closing

    /// Closes every server. Those the primary has not answered for never were: it will not answer any more.
    pub(super) fn close_all(&mut self) {
        let asked = |_: &ListenerId, server: &mut Server| server.standing == Standing::Asked;
        for (listener, server) in self.servers.extract_if(.., asked).collect::<Vec<_>>() {
            self.failed(&server.options, listener, Errno::ENOTCONN);
        }
        let listeners: Vec<ListenerId> = self.servers.keys().copied().collect();
        for listener in listeners {
            self.close_server(listener);
        }
    }

    fn close_server(&mut self, listener: ListenerId) {
        let Some(server) = self.servers.get_mut(&listener) else { return };
        if server.standing == Standing::Closed {
            return;
        }
        let before = core::mem::replace(&mut server.standing, Standing::Closed);
        let offered = core::mem::take(&mut server.offered);
        if before == Standing::Asked {
            let unanswered = Unanswered { options: server.options.clone(), index: server.index };
            self.unanswered.insert(listener, unanswered);
        } else {
            self.indexes.give_back(&server.options, server.index);
        }
        if let Standing::Own(socket) = before {
            self.steps.push(Step::Call(Call::Close { socket }));
        }
        // The primary hears this first, so that it does not offer them to us again.
        self.say_closed(listener);
        for (seq, connection) in offered {
            self.decline(seq, connection);
        }
        self.close_if_drained(listener);
    }

    /// Tells the primary, once it has told us the key.
    fn say_closed(&mut self, listener: ListenerId) {
        if let Some(key) = self.servers.get(&listener).and_then(|server| server.key.clone()) {
            self.tell(Act::Close(key));
        }
    }

    fn close_if_drained(&mut self, listener: ListenerId) {
        let closed = self.servers.get(&listener).is_some_and(|server| server.standing == Standing::Closed);
        let mut held = self.connections.values().chain(self.accepting.values());
        if closed && held.all(|of| *of != listener) {
            self.steps.tick(Step::Closed(listener));
        }
    }
}

fn query(server: &Server) -> QueryServer {
    let ListenOptions { host, port, ipv6_only, backlog } = &server.options;
    QueryServer {
        index: server.index,
        data: Value::Null,
        address: host.map(|host| host.to_string()),
        port: Some(i64::from(*port)),
        address_type: if matches!(host, Some(IpAddr::V6(_))) { AddressType::V6 } else { AddressType::V4 },
        fd: None,
        flags: host.map(|_| u64::from(*ipv6_only)),
        backlog: Some(u64::from(backlog.unwrap_or(0))),
    }
}
