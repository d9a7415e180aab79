//! UDP sockets and their queues. A datagram beyond the capacity of a queue is dropped without an error.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::bound_address::BoundIp;

/// The capacity of a queue in bytes, as Linux counts bytes. Further datagrams are dropped.
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

    pub(super) fn push(&mut self, datagram: Datagram) {
        let queued: usize = self.queue.iter().map(|datagram| datagram.bytes.len() + OVERHEAD).sum();
        if queued + datagram.bytes.len() + OVERHEAD <= ROOM {
            self.queue.push_back(datagram);
        }
    }
}
