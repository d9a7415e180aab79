//! The sockets of a program, as opposed to the machine's: connections delivered by a server, and sockets that
//! the program opened, accepted or received. Their events are delivered to the program, not to the machine.

use std::net::SocketAddr;

use cluster_core::{BindAddress, Errno, LocalAddress, OsEvent, SocketId};

use super::bind::BoundSocket;
use super::channel::Side;
use super::process_table::{Accepting, Descriptor, Origin};
use super::socket::{FileId, Flow, SocketKind};
use super::{Kernel, Step};
use crate::event::{ClientId, Ending, SocketEvent};
use crate::schedule::Schedule;
use crate::step::Pid;

impl Kernel {
    // ---- ownership

    /// Gives a server's connection to the program. `None`: the process has no such connection.
    pub(crate) fn give_connection(&mut self, pid: Pid, id: SocketId) -> Option<ClientId> {
        self.give_to_program(pid, id);
        let client = self.client_behind(pid, id)?;
        let is_honest = !self.process(pid).hostile;
        self.client_mut(client).served += u32::from(is_honest);
        Some(client)
    }

    /// Gives a socket of the process to its program.
    pub(crate) fn give_to_program(&mut self, pid: Pid, id: SocketId) {
        if let Some(descriptor) = self.process_mut(pid).descriptor_mut(id) {
            descriptor.owned_by_program = true;
            self.wake(Step::Receive(pid, id));
        }
    }

    /// Gives a socket of the program back to the machine.
    pub(crate) fn give_to_machine(&mut self, pid: Pid, id: SocketId) {
        if let Some(descriptor) = self.process_mut(pid).descriptor_mut(id) {
            descriptor.owned_by_program = false;
            descriptor.accepting = Accepting::No;
        }
    }

    /// The program keeps a socket and does not read it.
    pub(crate) fn mute(&mut self, pid: Pid, id: SocketId) {
        if let Some(descriptor) = self.process_mut(pid).descriptor_mut(id) {
            descriptor.muted = true;
        }
    }

    pub(crate) fn is_owned_by_program(&self, pid: Pid, id: SocketId) -> bool {
        self.process(pid).descriptor(id).is_some_and(|descriptor| descriptor.owned_by_program)
    }

    /// The client behind a connection of this process.
    pub(crate) fn client_behind(&self, pid: Pid, id: SocketId) -> Option<ClientId> {
        match self.file(self.process(pid).descriptor(id)?.file).kind {
            SocketKind::Connection(client) => Some(client),
            SocketKind::Listener(_) | SocketKind::Udp(_) => None,
        }
    }

    /// The client behind a connection that the program owns.
    pub(crate) fn client_of_program(&self, pid: Pid, id: SocketId) -> Option<ClientId> {
        self.client_behind(pid, id).filter(|_| self.is_owned_by_program(pid, id))
    }

    /// The programs that own a connection: several, if a sender or a hostile process kept a descriptor.
    pub(crate) fn holders(&self, id: ClientId) -> impl Iterator<Item = (Pid, SocketId)> {
        self.owners(move |kernel, descriptor| kernel.file(descriptor.file).kind == SocketKind::Connection(id))
    }

    fn owners(
        &self,
        of: impl Fn(&Self, &Descriptor) -> bool + Copy,
    ) -> impl Iterator<Item = (Pid, SocketId)> {
        (0..).map(Pid).zip(&self.processes).flat_map(move |(pid, process)| {
            let descriptors = process.descriptors().iter();
            descriptors
                .filter(move |it| it.owned_by_program && of(self, it))
                .map(move |descriptor| (pid, descriptor.id))
        })
    }

    /// Whether a connection is with a process that neither serves nor closes it: a worker's child, or a stopped
    /// process.
    pub(crate) fn is_out_of_reach(&self, id: ClientId) -> bool {
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

    // ---- events

    pub(crate) fn receivable(&self, pid: Pid, id: SocketId) -> bool {
        self.process(pid).descriptor(id).is_some_and(|descriptor| {
            descriptor.owned_by_program
                && !descriptor.muted
                && match &self.file(descriptor.file).kind {
                    SocketKind::Connection(client) => {
                        let incoming = &self.client(*client).incoming;
                        let has_ended = incoming.flow != Flow::Open && !descriptor.end_received;
                        has_ended || !incoming.bytes.is_empty()
                    }
                    SocketKind::Udp(datagrams) => !datagrams.queue.is_empty(),
                    SocketKind::Listener(_) => false,
                }
        })
    }

    /// Takes the bytes, the end or the datagram that has arrived at a socket of the program. Each program that owns a
    /// connection receives its end once.
    pub(crate) fn receive(&mut self, pid: Pid, id: SocketId) -> Option<SocketEvent> {
        let file = self.process(pid).descriptor(id).filter(|descriptor| descriptor.owned_by_program)?.file;
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
        self.process_mut(pid).descriptor_mut(connection)?.end_received = true;
        Some(SocketEvent::Ended { connection, ending })
    }

    /// Accepts from a listener of the program. After a failure the client stays in the backlog, and the program is not
    /// notified.
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

    // ---- actions

    /// Starts a child of the process that inherits the channel and a connection.
    pub(crate) fn leave_child(&mut self, pid: Pid, connection: SocketId) {
        let held = self.process(pid).descriptor(connection).filter(|descriptor| descriptor.owned_by_program);
        if let (Some(file), None) = (held.map(|descriptor| descriptor.file), self.process(pid).child) {
            self.file_mut(file).refs += 1;
            self.process_mut(pid).child = Some(file);
        }
    }

    /// Opens a socket for a program. With a backlog the socket listens and accepts.
    pub(crate) fn open_for_program(
        &mut self,
        pid: Pid,
        address: &BindAddress,
        backlog: Option<u32>,
    ) -> Result<BoundSocket, Errno> {
        self.mark_lookup();
        let (socket, local) = self.bind(pid, Origin::Program, address, None)?;
        self.give_to_program(pid, socket);
        if let Some(errno) = backlog.and_then(|backlog| self.listen_for_program(pid, socket, backlog).err()) {
            self.close(pid, socket);
            return Err(errno);
        }
        Ok((socket, local))
    }

    /// Makes a socket of the program listen and accept.
    pub(crate) fn listen_for_program(
        &mut self,
        pid: Pid,
        socket: SocketId,
        backlog: u32,
    ) -> Result<LocalAddress, Errno> {
        self.mark_lookup();
        let descriptor =
            self.process(pid).descriptor(socket).filter(|descriptor| descriptor.owned_by_program);
        let file = descriptor.ok_or(Errno::EBADF)?.file;
        self.listen(file, backlog)?;
        let _ = self.pause_accept(pid, socket, false);
        self.address_of(file).ok_or(Errno::EINVAL)
    }

    /// Sends a datagram from a socket of the program. Of sockets that share a port the kernel picks one by the sender,
    /// as Linux does.
    pub(crate) fn send_from_program(&mut self, pid: Pid, socket: SocketId, to: SocketAddr, bytes: &[u8]) {
        self.mark_lookup();
        let Some(descriptor) =
            self.process(pid).descriptor(socket).filter(|descriptor| descriptor.owned_by_program)
        else {
            return;
        };
        let SocketKind::Udp(datagrams) = &self.file(descriptor.file).kind else { return };
        let from = super::udp::sender(datagrams.bound.address, to);
        self.send_datagram(from, to, bytes.to_vec(), |n| usize::from(from.port()) % n);
    }
}
