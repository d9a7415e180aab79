//! The sockets of a program rather than of the machine: connections delivered by a server, and sockets
//! opened, accepted or received by the program. The program receives the events of these sockets.

use std::net::SocketAddr;

use cluster_core::{BindAddress, Errno, LocalAddress, OsEvent, SocketId};

use super::datagram::Datagram;
use super::process_table::Origin;
use super::socket::{Flow, SocketKind};
use super::udp;
use super::{BoundSocket, Kernel};
use crate::event::{ClientId, Ending, SocketEvent};
use crate::schedule::Schedule;
use crate::step::Pid;

/// The sockets of the program of a process.
#[derive(Debug)]
pub(crate) struct ProgramSockets<'a> {
    kernel: &'a mut Kernel,
    pid: Pid,
}

impl Kernel {
    /// The sockets of the program of a process.
    pub(crate) fn program_sockets(&mut self, pid: Pid) -> ProgramSockets<'_> {
        ProgramSockets { kernel: self, pid }
    }
}

impl ProgramSockets<'_> {
    /// The client behind a connection that the program owns.
    pub(crate) fn client(&self, id: SocketId) -> Option<ClientId> {
        let file = self.kernel.processes.socket_of_program(self.pid, id)?;
        self.kernel.network.sockets.client(file)
    }

    /// Passes a connection of a server to the program. `None`: the process has no such connection.
    pub(crate) fn give_connection(&mut self, id: SocketId) -> Option<ClientId> {
        let Kernel { processes, network, ready, .. } = &mut *self.kernel;
        processes.give_to_program(self.pid, id, ready);
        let client = network.sockets.client(processes.socket(self.pid, id)?)?;
        let is_honest = !processes.get(self.pid).hostile;
        network.clients.get_mut(client).served += u32::from(is_honest);
        Some(client)
    }

    // ---- events

    /// Takes the bytes, the end or the datagram that has arrived at a socket of the program. If several
    /// programs own a connection, each receives the end once.
    pub(crate) fn receive(&mut self, id: SocketId) -> Option<SocketEvent> {
        let file = self.kernel.processes.socket_of_program(self.pid, id)?;
        match &mut self.kernel.network.sockets.get_mut(file).kind {
            SocketKind::Connection(client) => {
                let client = *client;
                self.receive_bytes(id, client)
            }
            SocketKind::Udp(datagrams) => {
                let datagram = datagrams.queue.pop_front()?;
                Some(SocketEvent::Datagram { socket: id, from: datagram.from, bytes: datagram.bytes })
            }
            SocketKind::Listener(_) => None,
        }
    }

    fn receive_bytes(&mut self, connection: SocketId, client: ClientId) -> Option<SocketEvent> {
        let incoming = &mut self.kernel.network.clients.get_mut(client).incoming;
        if !incoming.bytes.is_empty() {
            return Some(SocketEvent::Data { connection, bytes: std::mem::take(&mut incoming.bytes) });
        }
        let ending = if incoming.flow == Flow::Reset { Ending::Reset } else { Ending::Finished };
        self.kernel.processes.get_mut(self.pid).descriptor_mut(connection)?.end_received = true;
        Some(SocketEvent::Ended { connection, ending })
    }

    /// Accepts from a listener of the program. After a failure the client stays in the backlog, and the
    /// program receives no event.
    pub(crate) fn accept(&mut self, listener: SocketId, schedule: &mut Schedule) -> Option<SocketEvent> {
        let accepted = self.kernel.accept(self.pid, listener, schedule);
        let Some(OsEvent::Accepted { socket: connection, .. }) = accepted else { return None };
        self.kernel.processes.give_to_program(self.pid, connection, &mut self.kernel.ready);
        Some(SocketEvent::Accepted { listener, connection })
    }

    // ---- actions

    /// Starts a child of the process. The child inherits the channel and the connection.
    pub(crate) fn leave_child(&mut self, connection: SocketId) {
        let Kernel { processes, network, .. } = &mut *self.kernel;
        let (file, child) =
            (processes.socket_of_program(self.pid, connection), processes.get(self.pid).child);
        if let (Some(file), None) = (file, child) {
            network.sockets.retain(file);
            processes.get_mut(self.pid).child = Some(file);
        }
    }

    /// Opens a socket. With a backlog the socket listens and accepts.
    pub(crate) fn open(&mut self, address: &BindAddress, backlog: Option<u32>) -> Result<BoundSocket, Errno> {
        self.kernel.lookups.mark();
        let (socket, local) = self.kernel.bind(self.pid, Origin::Program, address, None)?;
        self.kernel.processes.give_to_program(self.pid, socket, &mut self.kernel.ready);
        if let Some(errno) = backlog.and_then(|backlog| self.listen(socket, backlog).err()) {
            self.kernel.close(self.pid, socket);
            return Err(errno);
        }
        Ok((socket, local))
    }

    /// Makes a socket listen and accept.
    pub(crate) fn listen(&mut self, socket: SocketId, backlog: u32) -> Result<LocalAddress, Errno> {
        self.kernel.lookups.mark();
        let Kernel { processes, network, ready, .. } = &mut *self.kernel;
        let file = processes.socket_of_program(self.pid, socket).ok_or(Errno::EBADF)?;
        let address = network.sockets.listen(file, backlog)?;
        processes.pause_accept(self.pid, socket, false, ready);
        Ok(address)
    }

    /// Sends a datagram. If several sockets share the port, the kernel picks one of them by the sender, as
    /// Linux does.
    pub(crate) fn send_to(&mut self, socket: SocketId, to: SocketAddr, bytes: &[u8]) {
        self.kernel.lookups.mark();
        let Kernel { processes, network, ready, .. } = &mut *self.kernel;
        let Some(file) = processes.socket_of_program(self.pid, socket) else { return };
        let SocketKind::Udp(datagrams) = &network.sockets.get(file).kind else { return };
        let from = udp::sender(datagrams.bound.address, to);
        let pick = |n| usize::from(from.port()) % n;
        network.send_datagram(to, Datagram { from, bytes: bytes.to_vec() }, pick, (processes, ready));
    }
}
