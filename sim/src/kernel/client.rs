//! The other side of the network: what clients do and hear, and what a program does with a connection it has.

use cluster_core::SocketId;

use super::process::{Descriptor, Pid};
use super::socket::{Action, FileId, Flow, Kind, Place};
use super::{Kernel, Step, Verdict};
use crate::fault::Fault;
use crate::part::Part;
use crate::program::{ClientEvent, ClientId, Ending};
use crate::schedule::Schedule;

impl Kernel {
    pub(crate) fn add_client(&mut self) -> ClientId {
        self.clients.push(Part::default());
        ClientId(u32::try_from(self.clients.len()).expect("fewer than 2^32 clients a run"))
    }

    pub(crate) fn command(&mut self, id: ClientId, action: Action) {
        self.client_mut(id).actions.push_back(action);
        self.wake(Step::Act(id));
    }

    /// A connect waits while the backlog is full, as a dropped SYN is sent again.
    pub(crate) fn can_act(&self, id: ClientId) -> Verdict {
        match self.client(id).actions.front() {
            None => Verdict::Gone,
            Some(Action::Connect(port)) => match self.serving(*port) {
                Some(file) if self.is_full(file) => Verdict::Waiting,
                _ => Verdict::Enabled,
            },
            Some(_) => Verdict::Enabled,
        }
    }

    pub(crate) fn is_about_to_connect(&self, id: ClientId) -> bool {
        matches!(self.client(id).actions.front(), Some(Action::Connect(_)))
    }

    fn serving(&self, port: u16) -> Option<FileId> {
        let serves = |(id, listener): (FileId, &super::socket::Listener)| {
            (listener.address.port() == port && listener.limit.is_some()).then_some(id)
        };
        self.listeners().find_map(serves)
    }

    fn is_full(&self, file: FileId) -> bool {
        matches!(&self.file(file).kind, Kind::Listener(listener) if listener.is_full())
    }

    /// The next thing a client was told to do.
    pub(crate) fn act(&mut self, id: ClientId, schedule: &mut Schedule) {
        let Some(mut action) = self.client_mut(id).actions.pop_front() else { return };
        self.wake(Step::Act(id));
        if self.client(id).is_waiting() && schedule.strikes(Fault::ClientReset) {
            action = Action::Reset;
        }
        match action {
            Action::Connect(port) => self.connect(id, port),
            Action::Send(bytes) => self.send_to_server(id, &bytes),
            Action::End => self.finish_to_server(id, Flow::Ended),
            Action::Reset => self.finish_to_server(id, Flow::Reset),
        }
    }

    fn connect(&mut self, id: ClientId, port: u16) {
        let file = self.serving(port);
        self.client_mut(id).port = port;
        self.client_mut(id).answer = Some(file.is_some());
        self.wake(Step::Meet(id));
        let Some(file) = file else { return };
        self.client_mut(id).place = Place::Backlog;
        if let Kind::Listener(listener) = &mut self.file_mut(file).kind {
            listener.backlog.push_back(id);
        }
        for n in 0..self.processes.len() {
            let pid = Pid(u32::try_from(n).expect("counted by worker"));
            let acceptor = self.process(pid).descriptors().iter().find(|d| d.file == file && d.accepting);
            if let Some(socket) = acceptor.map(|descriptor| descriptor.id) {
                self.wake(Step::Accept(pid, socket));
            }
        }
    }

    fn send_to_server(&mut self, id: ClientId, bytes: &[u8]) {
        let client = self.client_mut(id);
        match client.place {
            Place::Nowhere => {}
            Place::Closed => client.outgoing.finish(Flow::Reset),
            Place::Backlog | Place::Accepted => client.incoming.bytes.extend_from_slice(bytes),
        }
        self.wake(Step::Meet(id));
        self.wake_holders(id);
    }

    fn finish_to_server(&mut self, id: ClientId, flow: Flow) {
        let client = self.client_mut(id);
        if flow == Flow::Reset {
            client.actions.clear();
            client.incoming.bytes.clear();
            client.incoming.flow = Flow::Open;
            client.outgoing = super::socket::Pipe { flow, told: true, ..Default::default() };
        }
        client.incoming.finish(flow);
        self.wake_holders(id);
    }

    /// The programs that have this connection. More than one, if a hostile process has it too.
    pub(crate) fn holders(&self, id: ClientId) -> impl Iterator<Item = (Pid, SocketId)> {
        let holds = move |descriptor: &&Descriptor| {
            descriptor.held && self.file(descriptor.file).kind == Kind::Connection(id)
        };
        (0..).map(Pid).zip(&self.processes).flat_map(move |(pid, process)| {
            process.descriptors().iter().filter(holds).map(move |descriptor| (pid, descriptor.id))
        })
    }

    fn wake_holders(&mut self, id: ClientId) {
        let holders: Vec<_> = self.holders(id).collect();
        for (pid, socket) in holders {
            self.wake(Step::Receive(pid, socket));
        }
    }

    /// What a client hears next. One that hears the end ends too.
    pub(crate) fn hear(&mut self, id: ClientId) -> ClientEvent {
        self.wake(Step::Meet(id));
        if let Some(connected) = self.client_mut(id).answer.take() {
            return if connected { ClientEvent::Connected } else { ClientEvent::Refused };
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

    /// A program has this connection from now on. `None`: it is not a connection of this process.
    pub(crate) fn hold(&mut self, pid: Pid, id: SocketId) -> Option<ClientId> {
        let descriptor = self.process_mut(pid).descriptor_mut(id)?;
        descriptor.held = true;
        let file = descriptor.file;
        let is_honest = !self.process(pid).hostile;
        let Kind::Connection(client) = self.file(file).kind else { return None };
        let held = self.client_mut(client);
        held.served += u32::from(is_honest);
        self.wake(Step::Receive(pid, id));
        Some(client)
    }

    /// The client behind a connection of this process.
    pub(crate) fn client_behind(&self, pid: Pid, id: SocketId) -> Option<ClientId> {
        match self.file(self.process(pid).descriptor(id)?.file).kind {
            Kind::Connection(client) => Some(client),
            Kind::Listener(_) => None,
        }
    }

    /// The client behind a connection that a program has.
    pub(crate) fn held(&self, pid: Pid, id: SocketId) -> Option<ClientId> {
        let is_held = self.process(pid).descriptor(id).is_some_and(|descriptor| descriptor.held);
        self.client_behind(pid, id).filter(|_| is_held)
    }

    /// What has arrived at a connection that a program has. Its end is heard once by everybody who has it.
    pub(crate) fn receive(&mut self, pid: Pid, id: SocketId) -> Option<Result<Vec<u8>, Ending>> {
        let client = self.held(pid, id)?;
        let incoming = &mut self.client_mut(client).incoming;
        let arrived = if incoming.bytes.is_empty() {
            let is_reset = incoming.flow == Flow::Reset;
            self.process_mut(pid).descriptor_mut(id)?.told = true;
            Err(if is_reset { Ending::Reset } else { Ending::Finished })
        } else {
            Ok(std::mem::take(&mut incoming.bytes))
        };
        self.wake(Step::Receive(pid, id));
        Some(arrived)
    }

    pub(crate) fn write_to_client(&mut self, id: ClientId, bytes: &[u8]) {
        let client = self.client_mut(id);
        if client.outgoing.flow == Flow::Open {
            client.outgoing.bytes.extend_from_slice(bytes);
            self.wake(Step::Meet(id));
        }
    }

    pub(crate) fn finish_to_client(&mut self, id: ClientId, flow: Flow) {
        self.client_mut(id).outgoing.finish(flow);
        self.wake(Step::Meet(id));
    }
}
