//! The receivers of a datagram.

use std::net::SocketAddr;

use super::bind::loopback;
use super::bound_address::BoundIp;
use super::datagram::{Datagram, UdpSocket};
use super::socket::{FileId, SocketKind};
use super::sockets::Sockets;

impl Sockets {
    /// The sockets that can receive a datagram for an address: the newest of the most specific sockets, and
    /// every socket that shares the port with the newest by `SO_REUSEPORT`.
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

    /// Adds a datagram to the queue of a UDP socket.
    pub(super) fn push_datagram(&mut self, file: FileId, datagram: Datagram) {
        if let SocketKind::Udp(socket) = &mut self.get_mut(file).kind {
            socket.push(datagram);
        }
    }
}

/// The source address of a datagram to `to`, from a socket bound to `own`.
pub(crate) fn sender(own: SocketAddr, to: SocketAddr) -> SocketAddr {
    if !own.ip().is_unspecified() {
        return own;
    }
    let mut from = to;
    from.set_port(own.port());
    loopback(from)
}
