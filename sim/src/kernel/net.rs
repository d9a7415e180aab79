//! The network of the machine: sockets, clients, and the data between them. A datagram reaches a socket or a
//! client at once, or is dropped without an error.

use std::net::{Ipv6Addr, SocketAddr};

use cluster_core::{LocalAddress, SocketId};

use super::clients::Clients;
use super::datagram::Datagram;
use super::object_set::ObjectSet;
use super::processes::Processes;
use super::ready::{Dependencies, Readiness, Ready};
use super::socket::{ClientState, FileId, Flow, Pipe, SocketKind};
use super::sockets::Sockets;
use super::system::System;
use super::udp;
use crate::event::{ClientAction, ClientEvent, ClientId};
use crate::fault::Fault;
use crate::schedule::{Point, Schedule};
use crate::step::{Pid, Step};

/// Sockets and clients.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Network {
    pub(crate) sockets: Sockets,
    pub(crate) clients: Clients,
}

/// The surroundings of an action of a client, besides the network: the processes, the rest of the system, and
/// the ready steps.
pub(super) struct Surroundings<'a> {
    pub(super) processes: &'a Processes,
    pub(super) system: &'a System,
    pub(super) ready: &'a mut Ready,
}

impl Network {
    pub(super) fn new() -> Self {
        Network { sockets: Sockets::new(), clients: Clients::new() }
    }

    pub(super) fn copy_from(&mut self, other: &Network) {
        self.sockets.copy_from(&other.sockets);
        self.clients.copy_from(&other.clients);
    }

    pub(super) fn take_touched(&mut self) -> Dependencies {
        self.sockets.take_touched() | self.clients.take_touched()
    }

    pub(super) fn written_since(&self, before: &Network) -> ObjectSet {
        self.sockets.written_since(&before.sockets) | self.clients.written_since(&before.clients)
    }

    // ---- sockets

    /// Drops a reference; the last drop closes the socket.
    pub(super) fn release(&mut self, file: FileId, ready: &mut Ready) {
        let Network { sockets, clients } = self;
        match sockets.release(file) {
            Some(SocketKind::Listener(listener)) => {
                listener.limit = None;
                for client in std::mem::take(&mut listener.backlog) {
                    clients.close(client, Flow::Reset, ready);
                }
            }
            Some(&mut SocketKind::Connection(client)) => {
                let unread = !clients.get(client).incoming.bytes.is_empty();
                clients.close(client, if unread { Flow::Reset } else { Flow::Ended }, ready);
            }
            Some(SocketKind::Udp(datagrams)) => datagrams.queue.clear(),
            None => {}
        }
    }

    /// The programs that own a connection. There may be several, if a sender or a hostile process has kept a
    /// descriptor.
    pub(crate) fn holders(
        &self,
        id: ClientId,
        processes: &Processes,
    ) -> impl Iterator<Item = (Pid, SocketId)> {
        processes.owners(move |file| self.sockets.client(file) == Some(id))
    }

    fn wake_holders(&self, id: ClientId, processes: &Processes, ready: &mut Ready) {
        for (pid, socket) in self.holders(id, processes) {
            ready.last(Step::Receive(pid, socket));
        }
    }

    /// Sends a datagram. `pick` chooses among sockets that share a port.
    pub(super) fn send_datagram(
        &mut self,
        to: SocketAddr,
        datagram: Datagram,
        pick: impl FnOnce(usize) -> usize,
        (processes, ready): (&Processes, &mut Ready),
    ) {
        let sockets = self.sockets.matching_udp_sockets(to);
        if sockets.is_empty() {
            return self.clients.push_datagram(to.port(), datagram, ready);
        }
        let receiver = sockets[pick(sockets.len())];
        self.sockets.push_datagram(receiver, datagram);
        for (pid, socket) in processes.owners(|file| file == receiver) {
            ready.last(Step::Receive(pid, socket));
        }
    }

    // ---- the actions of clients

    /// Whether a client can act. A connect waits while the backlog is full, because the client's TCP repeats
    /// a dropped SYN.
    pub(super) fn can_act(&self, id: ClientId, system: &System) -> Readiness {
        match self.clients.next_action(id) {
            None => Readiness::Obsolete,
            Some(ClientAction::Connect(to)) => {
                let listeners = self.sockets.matching_listeners(to, system);
                let has_room = |listener: &FileId| !self.sockets.is_full(*listener);
                let is_open = listeners.is_empty() || listeners.iter().any(has_room);
                if is_open { Readiness::Enabled } else { Readiness::Waiting }
            }
            Some(_) => Readiness::Enabled,
        }
    }

    /// The number of sockets that could receive the next action of a client.
    pub(super) fn candidates(&self, id: ClientId, system: &System) -> usize {
        match self.clients.next_action(id) {
            Some(ClientAction::Connect(to)) => self.sockets.accepting_listeners(to, system).len(),
            Some(ClientAction::SendTo(to, _)) => self.sockets.matching_udp_sockets(*to).len(),
            Some(ClientAction::Send(_) | ClientAction::End | ClientAction::Reset) | None => 0,
        }
    }

    /// Performs the next action of a client.
    pub(super) fn act(&mut self, id: ClientId, around: &mut Surroundings<'_>, schedule: &mut Schedule) {
        let Some(mut action) = self.clients.get_mut(id).actions.pop_front() else { return };
        if self.clients.get(id).is_waiting() && schedule.strikes(Fault::ClientReset) {
            action = ClientAction::Reset;
        }
        match action {
            ClientAction::Connect(to) => self.connect(id, to, around, schedule),
            ClientAction::Send(bytes) => self.send_to_server(id, &bytes, around),
            ClientAction::SendTo(to, bytes) => self.send_client_datagram(id, (to, bytes), around, schedule),
            ClientAction::End => self.finish_to_server(id, Flow::Ended, around.processes, around.ready),
            ClientAction::Reset => self.finish_to_server(id, Flow::Reset, around.processes, around.ready),
        }
    }

    fn connect(
        &mut self,
        id: ClientId,
        to: LocalAddress,
        around: &mut Surroundings<'_>,
        schedule: &mut Schedule,
    ) {
        let listeners = self.sockets.accepting_listeners(&to, around.system);
        let client = self.clients.get_mut(id);
        client.to = Some(to);
        client.connect_result = Some(!listeners.is_empty());
        around.ready.last(Step::ClientEvent(id));
        if listeners.is_empty() {
            return;
        }
        let file = listeners[schedule.choose(Point::Target, listeners.len())];
        self.clients.get_mut(id).state = ClientState::Queued;
        self.sockets.change_backlog(file, |backlog| backlog.push_back(id));
        for acceptor in around.processes.acceptors(file, self.sockets.get(file).refs) {
            around.ready.last(acceptor);
        }
    }

    fn send_client_datagram(
        &mut self,
        id: ClientId,
        (to, bytes): (SocketAddr, Vec<u8>),
        around: &mut Surroundings<'_>,
        schedule: &mut Schedule,
    ) {
        let port = self.clients.get(id).udp_port;
        let port = port.unwrap_or_else(|| self.sockets.free_port(around.system));
        self.clients.get_mut(id).udp_port = Some(port);
        let from = udp::sender(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), to);
        let pick = |n| schedule.choose(Point::Target, n);
        self.send_datagram(to, Datagram { from, bytes }, pick, (around.processes, around.ready));
    }

    fn send_to_server(&mut self, id: ClientId, bytes: &[u8], around: &mut Surroundings<'_>) {
        let client = self.clients.get_mut(id);
        match client.state {
            ClientState::Idle => {}
            ClientState::Closed => client.outgoing.finish(Flow::Reset),
            ClientState::Queued | ClientState::Accepted => client.incoming.bytes.extend_from_slice(bytes),
        }
        around.ready.last(Step::ClientEvent(id));
        self.wake_holders(id, around.processes, around.ready);
    }

    /// Ends the client's side of a connection.
    pub(super) fn finish_to_server(
        &mut self,
        id: ClientId,
        flow: Flow,
        processes: &Processes,
        ready: &mut Ready,
    ) {
        let client = self.clients.get_mut(id);
        // Linux: a Unix socket has no reset. The server reads an end of file, unless the client has left
        // bytes unread.
        let has_reset =
            !matches!(client.to, Some(LocalAddress::Path(_))) || !client.outgoing.bytes.is_empty();
        if flow == Flow::Reset {
            client.actions.clear();
            client.outgoing = Pipe { flow, end_received: true, ..Default::default() };
        }
        if flow == Flow::Reset && has_reset {
            client.incoming.flow = Flow::Reset;
        } else {
            client.incoming.finish(Flow::Ended);
        }
        self.wake_holders(id, processes, ready);
    }

    /// The next event of a client. The end of the server's side ends the client's side.
    pub(super) fn next_client_event(
        &mut self,
        id: ClientId,
        processes: &Processes,
        ready: &mut Ready,
    ) -> ClientEvent {
        if let Some(connected) = self.clients.get_mut(id).connect_result.take() {
            return if connected { ClientEvent::Connected } else { ClientEvent::Refused };
        }
        if let Some(Datagram { from, bytes }) = self.clients.get_mut(id).datagrams.pop_front() {
            return ClientEvent::Datagram { from, bytes };
        }
        match self.clients.get_mut(id).outgoing.take() {
            Ok(bytes) => ClientEvent::Data(bytes),
            Err(Flow::Reset) => ClientEvent::Reset,
            Err(Flow::Open | Flow::Ended) => {
                self.finish_to_server(id, Flow::Ended, processes, ready);
                ClientEvent::End
            }
        }
    }
}
