//! What a program has itself, besides what its machine has: connections it was given, and sockets it opened, accepted or
//! was sent. What happens at them is heard by the program and not by the machine.

use std::net::SocketAddr;

use cluster_core::{BindAddress, Errno, LocalAddress, OsEvent, SocketId};

use super::bind::BoundSocket;
use super::channel::Side;
use super::process_table::{Accepting, Descriptor, Origin, Pid};
use super::socket::{FileId, Flow, SocketKind};
use super::{Kernel, Step};
use crate::program::{ClientId, Ending, SocketEvent};
use crate::schedule::Schedule;

impl Kernel {
    // ---- having

    /// A program has this connection from now on: a server gave it. `None`: it is not a connection of this process.
    pub(crate) fn give_connection(&mut self, pid: Pid, id: SocketId) -> Option<ClientId> {
        self.give_to_program(pid, id);
        let client = self.client_behind(pid, id)?;
        let is_honest = !self.process(pid).hostile;
        self.client_mut(client).served += u32::from(is_honest);
        Some(client)
    }

    /// A program has this socket of its process from now on.
    pub(crate) fn give_to_program(&mut self, pid: Pid, id: SocketId) {
        if let Some(descriptor) = self.process_mut(pid).descriptor_mut(id) {
            descriptor.held = true;
            self.wake(Step::Receive(pid, id));
        }
    }

    /// A program no longer has it; its machine does.
    pub(crate) fn give_to_machine(&mut self, pid: Pid, id: SocketId) {
        if let Some(descriptor) = self.process_mut(pid).descriptor_mut(id) {
            descriptor.held = false;
            descriptor.accepting = Accepting::No;
        }
    }

    /// A program keeps it and does not read from it.
    pub(crate) fn mute(&mut self, pid: Pid, id: SocketId) {
        if let Some(descriptor) = self.process_mut(pid).descriptor_mut(id) {
            descriptor.muted = true;
        }
    }

    pub(crate) fn is_held(&self, pid: Pid, id: SocketId) -> bool {
        self.process(pid).descriptor(id).is_some_and(|descriptor| descriptor.held)
    }

    /// The client behind a connection of this process.
    pub(crate) fn client_behind(&self, pid: Pid, id: SocketId) -> Option<ClientId> {
        match self.file(self.process(pid).descriptor(id)?.file).kind {
            SocketKind::Connection(client) => Some(client),
            SocketKind::Listener(_) | SocketKind::Udp(_) => None,
        }
    }

    /// The client behind a connection that a program has.
    pub(crate) fn held(&self, pid: Pid, id: SocketId) -> Option<ClientId> {
        self.client_behind(pid, id).filter(|_| self.is_held(pid, id))
    }

    /// The programs that have this connection. More than one, if one has kept what it sent, or a hostile one has it.
    pub(crate) fn holders(&self, id: ClientId) -> impl Iterator<Item = (Pid, SocketId)> {
        self.owners(move |kernel, descriptor| kernel.file(descriptor.file).kind == SocketKind::Connection(id))
    }

    fn owners(
        &self,
        of: impl Fn(&Self, &Descriptor) -> bool + Copy,
    ) -> impl Iterator<Item = (Pid, SocketId)> {
        (0..).map(Pid).zip(&self.processes).flat_map(move |(pid, process)| {
            let descriptors = process.descriptors().iter();
            descriptors.filter(move |it| it.held && of(self, it)).map(move |descriptor| (pid, descriptor.id))
        })
    }

    /// Whether a connection is with somebody who neither serves it nor lets it go: a child of a process, or a process that
    /// does nothing any more.
    pub(crate) fn is_kept(&self, id: ClientId) -> bool {
        let is_it = |file: FileId| self.file(file).kind == SocketKind::Connection(id);
        let idle = || (0..).map(Pid).zip(&self.processes).filter(|(pid, _)| self.is_stopped(*pid));
        self.processes.iter().filter_map(|process| process.child).any(is_it)
            || idle()
                .any(|(_, process)| process.descriptors().iter().any(|descriptor| is_it(descriptor.file)))
            || self.channels().any(|(pid, channel)| {
                self.is_stopped(pid) && channel.end(Side::Worker).in_flight().any(is_it)
            })
    }

    pub(crate) fn wake_holders(&mut self, id: ClientId) {
        let holders: Vec<_> = self.holders(id).collect();
        for (pid, socket) in holders {
            self.wake(Step::Receive(pid, socket));
        }
    }

    pub(crate) fn wake_owners(&mut self, file: FileId) {
        let owners: Vec<_> = self.owners(|_, descriptor| descriptor.file == file).collect();
        for (pid, socket) in owners {
            self.wake(Step::Receive(pid, socket));
        }
    }

    // ---- hearing

    pub(crate) fn receivable(&self, pid: Pid, id: SocketId) -> bool {
        self.process(pid).descriptor(id).is_some_and(|descriptor| {
            descriptor.held
                && !descriptor.muted
                && match &self.file(descriptor.file).kind {
                    SocketKind::Connection(client) => {
                        let incoming = &self.client(*client).incoming;
                        let has_ended = incoming.flow != Flow::Open && !descriptor.told;
                        has_ended || !incoming.bytes.is_empty()
                    }
                    SocketKind::Udp(datagrams) => !datagrams.queue.is_empty(),
                    SocketKind::Listener(_) => false,
                }
        })
    }

    /// What has arrived at a socket that a program has. The end of a connection is heard once by everybody who has it.
    pub(crate) fn receive(&mut self, pid: Pid, id: SocketId) -> Option<SocketEvent> {
        let file = self.process(pid).descriptor(id).filter(|descriptor| descriptor.held)?.file;
        match &mut self.file_mut(file).kind {
            SocketKind::Connection(client) => {
                let client = *client;
                self.receive_bytes(pid, id, client)
            }
            SocketKind::Udp(datagrams) => {
                let datagram = datagrams.queue.pop_front()?;
                Some(SocketEvent::Datagram { socket: id, from: datagram.from, bytes: datagram.bytes })
            }
            SocketKind::Listener(_) => None,
        }
    }

    fn receive_bytes(&mut self, pid: Pid, connection: SocketId, client: ClientId) -> Option<SocketEvent> {
        let incoming = &mut self.client_mut(client).incoming;
        if !incoming.bytes.is_empty() {
            return Some(SocketEvent::Data { connection, bytes: std::mem::take(&mut incoming.bytes) });
        }
        let ending = if incoming.flow == Flow::Reset { Ending::Reset } else { Ending::Finished };
        self.process_mut(pid).descriptor_mut(connection)?.told = true;
        Some(SocketEvent::Ended { connection, ending })
    }

    /// A listener of a program's own accepts. A failure leaves the client where it is, and nobody is told.
    pub(crate) fn accept_for_program(
        &mut self,
        pid: Pid,
        listener: SocketId,
        schedule: &mut Schedule,
    ) -> Option<SocketEvent> {
        let Some(OsEvent::Accepted { socket: connection, .. }) = self.accept(pid, listener, schedule) else {
            return None;
        };
        self.give_to_program(pid, connection);
        Some(SocketEvent::Accepted { listener, connection })
    }

    // ---- doing

    /// A program starts a child that has its channel and this connection.
    pub(crate) fn leave_child(&mut self, pid: Pid, connection: SocketId) {
        let held = self.process(pid).descriptor(connection).filter(|descriptor| descriptor.held);
        if let (Some(file), None) = (held.map(|descriptor| descriptor.file), self.process(pid).child) {
            self.file_mut(file).refs += 1;
            self.process_mut(pid).child = Some(file);
        }
    }

    /// Opens a socket for a program. A listening one accepts.
    pub(crate) fn open_for_program(
        &mut self,
        pid: Pid,
        address: &BindAddress,
        backlog: Option<u32>,
    ) -> Result<BoundSocket, Errno> {
        self.asked();
        let (socket, local) = self.bind(pid, Origin::Program, address, None)?;
        self.give_to_program(pid, socket);
        if let Some(errno) = backlog.and_then(|backlog| self.listen_for_program(pid, socket, backlog).err()) {
            self.close(pid, socket);
            return Err(errno);
        }
        Ok((socket, local))
    }

    /// Makes a socket that a program has listen and accept.
    pub(crate) fn listen_for_program(
        &mut self,
        pid: Pid,
        socket: SocketId,
        backlog: u32,
    ) -> Result<LocalAddress, Errno> {
        self.asked();
        let descriptor = self.process(pid).descriptor(socket).filter(|descriptor| descriptor.held);
        let file = descriptor.ok_or(Errno::EBADF)?.file;
        self.listen(file, backlog)?;
        let _ = self.pause_accept(pid, socket, false);
        self.address_of(file).ok_or(Errno::EINVAL)
    }

    /// Sends a datagram from a socket that a program has. The kernel picks by the sender among sockets that share a port.
    pub(crate) fn send_from_program(&mut self, pid: Pid, socket: SocketId, to: SocketAddr, bytes: &[u8]) {
        self.asked();
        let Some(descriptor) = self.process(pid).descriptor(socket).filter(|descriptor| descriptor.held)
        else {
            return;
        };
        let SocketKind::Udp(datagrams) = &self.file(descriptor.file).kind else { return };
        let from = super::udp::sender(datagrams.bound.address, to);
        self.send_datagram(from, to, bytes.to_vec(), |n| usize::from(from.port()) % n);
    }
}
