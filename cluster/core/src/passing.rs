//! Sockets that travel with a user's messages: what they are called, and whose they are while they travel.
//! It moves none of them.

use crate::os::SocketId;

/// What a passed socket is to its receiver. Node: the `type` of `NODE_HANDLE`.
///
/// It says how a Node receiver wraps the socket; what it really is, the kernel knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PassedKind {
    /// A bare stream socket, listening or connected. Node: `net.Native`.
    Native,
    /// A listening stream socket. Node: `net.Server`.
    Server,
    /// A connection. Node: `net.Socket`.
    Socket,
    /// A bare datagram socket. Node: `dgram.Native`.
    DatagramNative,
    /// A bound datagram socket. Node: `dgram.Socket`.
    Datagram {
        /// Whether it is of IPv6. Node: `dgramType`.
        v6: bool,
    },
}

/// A socket that came with a message: the program's from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Passed {
    /// The socket. Whoever is done with it closes it, and tells the machine by `release`.
    pub socket: SocketId,
    /// What its sender calls it.
    pub kind: PassedKind,
}

/// A socket to send along. Node: the second argument of `send()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Passing {
    /// The socket. From now on the machine's: it closes it once the peer has it, or cannot get it any more.
    pub socket: SocketId,
    /// What it is to the receiver.
    pub kind: PassedKind,
    /// The socket stays the sender's, and open. Node: `keepOpen`.
    pub keep_open: bool,
}
