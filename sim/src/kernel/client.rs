//! The actions and the events of clients.

use std::collections::VecDeque;
use std::net::{Ipv6Addr, SocketAddr};

use cluster_core::LocalAddress;

use super::process_table::{Accepting, Descriptor};
use super::ready::Dependencies;
use super::socket::{ClientState, FileId, Flow, SocketKind};
use super::udp::{self, Datagram};
use super::{Kernel, Readiness, Step};
use crate::cow::CowArc;
use crate::event::{ClientAction, ClientEvent, ClientId};
use crate::fault::Fault;
use crate::schedule::{Point, Schedule};
use crate::step::Pid;

impl Kernel {
    pub(crate) fn add_client(&mut self) -> ClientId {
        self.clients.push(CowArc::default());
        ClientId(u32::try_from(self.clients.len()).expect("fewer than 2^32 clients in a run"))
    }

    pub(crate) fn command(&mut self, id: ClientId, action: ClientAction) {
        self.client_mut(id).actions.push_back(action);
        self.wake(Step::ClientAction(id));
    }

    /// A connect waits while the backlog is full: the client's TCP repeats a dropped SYN.
    pub(crate) fn can_act(&self, id: ClientId) -> Readiness {
        match self.client(id).actions.front() {
            None => Readiness::Obsolete,
            Some(ClientAction::Connect(to)) => {
                let listeners = self.matching_listeners(to);
                let is_open =
                    listeners.is_empty() || listeners.iter().any(|listener| !self.is_full(*listener));
                if is_open { Readiness::Enabled } else { Readiness::Waiting }
            }
            Some(_) => Readiness::Enabled,
        }
    }

    /// Whether the next action of a client depends on the open sockets.
    pub(crate) fn looks_up_sockets(&self, id: ClientId) -> bool {
        matches!(self.client(id).actions.front(), Some(ClientAction::Connect(_) | ClientAction::SendTo(..)))
    }

    /// The number of sockets that could receive the next action of a client.
    pub(crate) fn candidates(&self, id: ClientId) -> usize {
        match self.client(id).actions.front() {
            Some(ClientAction::Connect(to)) => self.accepting_listeners(to).len(),
            Some(ClientAction::SendTo(to, _)) => self.matching_udp_sockets(*to).len(),
            Some(ClientAction::Send(_) | ClientAction::End | ClientAction::Reset) | None => 0,
        }
    }

    pub(super) fn accepting_listeners(&self, to: &LocalAddress) -> Vec<FileId> {
        let mut listeners = self.matching_listeners(to);
        listeners.retain(|listener| !self.is_full(*listener));
        listeners
    }

    fn is_full(&self, file: FileId) -> bool {
        matches!(&self.file(file).kind, SocketKind::Listener(listener) if listener.is_full())
    }

    /// Performs the next action of a client.
    pub(crate) fn act(&mut self, id: ClientId, schedule: &mut Schedule) {
        let Some(mut action) = self.client_mut(id).actions.pop_front() else { return };
        if self.client(id).is_waiting() && schedule.strikes(Fault::ClientReset) {
            action = ClientAction::Reset;
        }
        match action {
            ClientAction::Connect(to) => self.connect(id, to, schedule),
            ClientAction::Send(bytes) => self.send_to_server(id, &bytes),
            ClientAction::SendTo(to, bytes) => self.send_client_datagram(id, to, bytes, schedule),
            ClientAction::End => self.finish_to_server(id, Flow::Ended),
            ClientAction::Reset => self.finish_to_server(id, Flow::Reset),
        }
    }

    fn connect(&mut self, id: ClientId, to: LocalAddress, schedule: &mut Schedule) {
        let listeners = self.accepting_listeners(&to);
        let client = self.client_mut(id);
        client.to = Some(to);
        client.connect_result = Some(!listeners.is_empty());
        self.wake(Step::ClientEvent(id));
        if listeners.is_empty() {
            return;
        }
        let file = listeners[schedule.choose(Point::Target, listeners.len())];
        self.client_mut(id).state = ClientState::Queued;
        self.change_backlog(file, |backlog| backlog.push_back(id));
        for acceptor in self.acceptors(file) {
            self.wake(acceptor);
        }
    }

    /// Changes the backlog of a listener; returns `None` for another socket. Only a change that a connecting client or
    /// an acceptor could notice counts as a write of the listener.
    pub(super) fn change_backlog<T>(
        &mut self,
        file: FileId,
        change: impl FnOnce(&mut VecDeque<ClientId>) -> T,
    ) -> Option<T> {
        let SocketKind::Listener(listener) = &mut self.files[file.0 as usize].kind else { return None };
        let before = (listener.is_full(), listener.backlog.is_empty());
        let changed = change(&mut listener.backlog);
        if before != (listener.is_full(), listener.backlog.is_empty()) {
            self.touched |= Dependencies::LISTENERS;
        }
        Some(changed)
    }

    /// The accept steps of a listener. The scan ends with the last reference to the listener.
    fn acceptors(&self, file: FileId) -> Vec<Step> {
        let takes = |it: &&Descriptor| it.file == file && it.accepting != Accepting::No;
        let acceptors = (0..).map(Pid).zip(&self.processes).filter_map(|(pid, process)| {
            process.descriptors().iter().find(takes).map(|descriptor| Step::Accept(pid, descriptor.id))
        });
        acceptors.take(self.file(file).refs as usize).collect()
    }

    fn send_client_datagram(
        &mut self,
        id: ClientId,
        to: SocketAddr,
        bytes: Vec<u8>,
        schedule: &mut Schedule,
    ) {
        let port = self.client(id).udp_port.unwrap_or_else(|| self.free_port());
        self.client_mut(id).udp_port = Some(port);
        let from = udp::sender(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), to);
        self.send_datagram(from, to, bytes, |n| schedule.choose(Point::Target, n));
    }

    fn send_to_server(&mut self, id: ClientId, bytes: &[u8]) {
        let client = self.client_mut(id);
        match client.state {
            ClientState::Idle => {}
            ClientState::Closed => client.outgoing.finish(Flow::Reset),
            ClientState::Queued | ClientState::Accepted => client.incoming.bytes.extend_from_slice(bytes),
        }
        self.wake(Step::ClientEvent(id));
        self.wake_holders(id);
    }

    pub(crate) fn finish_to_server(&mut self, id: ClientId, flow: Flow) {
        let client = self.client_mut(id);
        if flow == Flow::Reset {
            client.actions.clear();
            client.incoming.flow = Flow::Open;
            client.outgoing = super::socket::Pipe { flow, end_received: true, ..Default::default() };
        }
        client.incoming.finish(flow);
        self.wake_holders(id);
    }

    /// The next event of a client. A client ends its side at the end of the server's.
    pub(crate) fn next_client_event(&mut self, id: ClientId) -> ClientEvent {
        if let Some(connected) = self.client_mut(id).connect_result.take() {
            return if connected { ClientEvent::Connected } else { ClientEvent::Refused };
        }
        if let Some(Datagram { from, bytes }) = self.client_mut(id).datagrams.pop_front() {
            return ClientEvent::Datagram { from, bytes };
        }
        match self.client_mut(id).outgoing.take() {
            Ok(bytes) => ClientEvent::Data(bytes),
            Err(Flow::Reset) => ClientEvent::Reset,
            Err(Flow::Open | Flow::Ended) => {
                self.finish_to_server(id, Flow::Ended);
                ClientEvent::End
            }
        }
    }

    pub(crate) fn write_to_client(&mut self, id: ClientId, bytes: &[u8]) {
        let client = self.client_mut(id);
        if client.outgoing.flow == Flow::Open {
            client.outgoing.bytes.extend_from_slice(bytes);
            self.wake(Step::ClientEvent(id));
        }
    }

    pub(crate) fn finish_to_client(&mut self, id: ClientId, flow: Flow) {
        self.client_mut(id).outgoing.finish(flow);
        self.wake(Step::ClientEvent(id));
    }
}
