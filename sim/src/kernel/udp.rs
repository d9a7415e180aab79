//! UDP sockets, and the receiver of a datagram. A datagram reaches a socket or a client at once, or is dropped without
//! an error.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::bind::loopback;
use super::bound_address::BoundIp;
use super::socket::{FileId, SocketKind};
use super::{Kernel, Step};
use crate::event::ClientId;

/// The capacity of a queue in bytes, as Linux counts; further datagrams are dropped.
const ROOM: usize = 212_992;

/// The bytes that Linux counts for a datagram in addition to its data.
const OVERHEAD: usize = 768;

/// A UDP socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct UdpSocket {
    pub(crate) bound: BoundIp,
    pub(crate) queue: VecDeque<Datagram>,
}

/// One datagram.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

impl UdpSocket {
    pub(crate) fn new(bound: BoundIp) -> Self {
        UdpSocket { bound, queue: VecDeque::new() }
    }

    fn push(&mut self, datagram: Datagram) {
        let held: usize = self.queue.iter().map(|datagram| datagram.bytes.len() + OVERHEAD).sum();
        if held + datagram.bytes.len() + OVERHEAD <= ROOM {
            self.queue.push_back(datagram);
        }
    }
}

impl Kernel {
    /// Every UDP socket with a reference.
    pub(crate) fn udp_sockets(&self) -> impl Iterator<Item = (FileId, &UdpSocket)> {
        self.files().filter(|(_, file)| file.refs > 0).filter_map(|(id, file)| match &file.kind {
            SocketKind::Udp(datagrams) => Some((id, datagrams)),
            SocketKind::Listener(_) | SocketKind::Connection(_) => None,
        })
    }

    /// The sockets that can receive a datagram for this address: the most specific, and of those the newest with all
    /// that share its port by `SO_REUSEPORT`.
    pub(crate) fn matching_udp_sockets(&self, to: SocketAddr) -> Vec<FileId> {
        let to = loopback(to);
        let close =
            |(id, socket): (FileId, &UdpSocket)| Some((socket.bound.specificity(to)?, id, socket.bound));
        let mut found: Vec<(u8, FileId, BoundIp)> = self.udp_sockets().filter_map(close).collect();
        found.sort_unstable_by_key(|&(specificity, id, _)| (specificity, id));
        let Some(&(closest, newest, bound)) = found.last() else { return Vec::new() };
        let shares = |&(specificity, id, other): &(u8, FileId, BoundIp)| {
            specificity == closest && (id == newest || bound.reuse_port && other.reuse_port)
        };
        found.into_iter().filter(shares).map(|(_, id, _)| id).collect()
    }

    /// Sends a datagram; `pick` chooses among sockets that share a port.
    pub(crate) fn send_datagram(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
        pick: impl FnOnce(usize) -> usize,
    ) {
        let datagram = Datagram { from, bytes };
        let sockets = self.matching_udp_sockets(to);
        if sockets.is_empty() {
            return self.send_to_client(to.port(), datagram);
        }
        let file = sockets[pick(sockets.len())];
        if let SocketKind::Udp(socket) = &mut self.file_mut(file).kind {
            socket.push(datagram);
        }
        self.wake_owners(file);
    }

    fn send_to_client(&mut self, port: u16, datagram: Datagram) {
        let mut clients = (1..).map(ClientId).zip(&self.clients);
        let found = clients.find(|(_, client)| client.udp_port == Some(port)).map(|(id, _)| id);
        if let Some(client) = found {
            self.client_mut(client).datagrams.push_back(datagram);
            self.wake(Step::ClientEvent(client));
        }
    }
}

/// The source address that the receiver sees of a socket bound to `own`.
pub(crate) fn sender(own: SocketAddr, to: SocketAddr) -> SocketAddr {
    if !own.ip().is_unspecified() {
        return own;
    }
    let mut from = to;
    from.set_port(own.port());
    loopback(from)
}
