//! The processes and clients of a world, and the events and actions that programs exchange with them.

use std::fmt;
use std::net::SocketAddr;

use cluster_core::{LocalAddress, SocketId, WorkerId};

/// A client, numbered from 1 in the order of [`Driver::connect`](crate::Driver::connect).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u32);

/// A process or a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Actor {
    /// The primary.
    Primary,
    /// A worker.
    Worker(WorkerId),
    /// A client.
    Client(ClientId),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::Primary => f.write_str("primary"),
            Actor::Worker(worker) => write!(f, "worker {worker}"),
            Actor::Client(client) => write!(f, "client {}", client.0),
        }
    }
}

/// An action of a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClientAction {
    /// Connects.
    Connect(LocalAddress),
    /// Sends bytes.
    Send(Vec<u8>),
    /// Sends a datagram.
    SendTo(SocketAddr, Vec<u8>),
    /// Ends the client's side of the connection.
    End,
    /// Resets the connection.
    Reset,
}

/// An event at a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClientEvent {
    /// The kernel has completed the connection; a process may accept the connection later.
    Connected,
    /// No socket listens at the address.
    Refused,
    /// Bytes from the server.
    Data(Vec<u8>),
    /// The server's side has ended, and therefore the client's side as well.
    End,
    /// The connection was reset.
    Reset,
    /// A datagram.
    Datagram {
        /// The source address.
        from: SocketAddr,
        /// The data.
        bytes: Vec<u8>,
    },
}

/// How the client's side of a connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// By an end of file.
    Finished,
    /// By a reset.
    Reset,
}

/// An event of a program's sockets: connections of a server, and sockets that the program has opened,
/// accepted or received.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SocketEvent {
    /// A listening socket of the program has accepted a connection. The program owns the connection.
    Accepted {
        /// The listening socket.
        listener: SocketId,
        /// The connection.
        connection: SocketId,
    },
    /// Bytes arrived at a connection.
    Data {
        /// The connection.
        connection: SocketId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The client's side of a connection has ended.
    Ended {
        /// The connection.
        connection: SocketId,
        /// The end of the side.
        ending: Ending,
    },
    /// A datagram arrived at a UDP socket.
    Datagram {
        /// The UDP socket.
        socket: SocketId,
        /// The source address.
        from: SocketAddr,
        /// The data.
        bytes: Vec<u8>,
    },
}
