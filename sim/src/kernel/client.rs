//! The other side of the network: what clients do and hear.

use std::collections::VecDeque;
use std::net::{Ipv6Addr, SocketAddr};

use cluster_core::LocalAddress;

use super::process_table::{Accepting, Descriptor, Pid};
use super::ready::Dependencies;
use super::socket::{ClientState, FileId, Flow, SocketKind};
use super::udp::{self, Datagram};
use super::{Kernel, Readiness, Step};
use crate::cow::CowArc;
use crate::fault::Fault;
use crate::program::{ClientAction, ClientEvent, ClientId};
use crate::schedule::{Point, Schedule};

impl Kernel {
    pub(crate) fn add_client(&mut self) -> ClientId {
        self.clients.push(CowArc::default());
        ClientId(u32::try_from(self.clients.len()).expect("fewer than 2^32 clients a run"))
    }

    pub(crate) fn command(&mut self, id: ClientId, action: ClientAction) {
        self.client_mut(id).actions.push_back(action);
        self.wake(Step::ClientAction(id));
    }

    /// A connect waits while the backlog is full, as a dropped SYN is sent again.
    pub(crate) fn can_act(&self, id: ClientId) -> Readiness {
        match self.client(id).actions.front() {
            None => Readiness::Obsolete,
            Some(ClientAction::Connect(to)) => {
                let doors = self.matching_listeners(to);
                let is_open = doors.is_empty() || doors.iter().any(|door| !self.is_full(*door));
                if is_open { Readiness::Enabled } else { Readiness::Waiting }
            }
            Some(_) => Readiness::Enabled,
        }
    }

    /// Whether what a client does next depends on who is there.
    pub(crate) fn looks_up_sockets(&self, id: ClientId) -> bool {
        matches!(self.client(id).actions.front(), Some(ClientAction::Connect(_) | ClientAction::SendTo(..)))
    }

    /// How many sockets could get what a client is about to send or to ask for.
    pub(crate) fn candidates(&self, id: ClientId) -> usize {
        match self.client(id).actions.front() {
            Some(ClientAction::Connect(to)) => self.accepting_listeners(to).len(),
            Some(ClientAction::SendTo(to, _)) => self.matching_udp_sockets(*to).len(),
            Some(ClientAction::Send(_) | ClientAction::End | ClientAction::Reset) | None => 0,
        }
    }

    pub(super) fn accepting_listeners(&self, to: &LocalAddress) -> Vec<FileId> {
        let mut doors = self.matching_listeners(to);
        doors.retain(|door| !self.is_full(*door));
        doors
    }

    fn is_full(&self, file: FileId) -> bool {
        matches!(&self.file(file).kind, SocketKind::Listener(listener) if listener.is_full())
    }

    /// The next thing a client was told to do.
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
        let doors = self.accepting_listeners(&to);
        let client = self.client_mut(id);
        client.to = Some(to);
        client.answer = Some(!doors.is_empty());
        self.wake(Step::ClientEvent(id));
        if doors.is_empty() {
            return;
        }
        let file = doors[schedule.choose(Point::Target, doors.len())];
        self.client_mut(id).state = ClientState::Queued;
        self.change_backlog(file, |backlog| backlog.push_back(id));
        for acceptor in self.acceptors(file) {
            self.wake(acceptor);
        }
    }

    /// Changes who waits at a listener; `None` if it is none. Only what makes a difference to who would come or take one
    /// touches something.
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

    /// Who takes what comes to a listener. There are no more than refer to it: who comes after the last is not looked at.
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
            client.outgoing = super::socket::Pipe { flow, told: true, ..Default::default() };
        }
        client.incoming.finish(flow);
        self.wake_holders(id);
    }

    /// What a client hears next. One that hears the end ends too.
    pub(crate) fn next_client_event(&mut self, id: ClientId) -> ClientEvent {
        if let Some(connected) = self.client_mut(id).answer.take() {
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
