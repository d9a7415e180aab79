//! What a user of the simulator writes: a program, as one executable that knows its role when it starts.
//!
//! Every process begins with its own copy of the program, as after an exec; so does the driver, who stands outside,
//! reads the log and commands the clients. Machines are commanded directly; everything else is an effect of the
//! context. A program sees no kernel, no schedule and no other process.

use std::fmt;
use std::hash::Hash;
use std::net::SocketAddr;

use cluster_core::{Event, LocalAddress, Primary, SocketId, Worker, WorkerEvent, WorkerId};

use crate::kernel::process_table::Pid;

mod driver;
mod process;

pub use driver::Driver;
pub use process::Process;

/// A client, ascending from 1 in the order of [`Driver::connect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u32);

/// Who does and sees things.
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

impl From<Pid> for Actor {
    fn from(pid: Pid) -> Self {
        if pid == Pid::PRIMARY { Actor::Primary } else { Actor::Worker(pid.worker()) }
    }
}

/// What a client does.
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

/// What a client hears.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClientEvent {
    /// The kernel took its connection. Somebody may accept it.
    Connected,
    /// Nobody listens there.
    Refused,
    /// Bytes from the server.
    Data(Vec<u8>),
    /// The server's side is over; the client's side is over with it.
    End,
    /// The connection was reset.
    Reset,
    /// A datagram came.
    Datagram {
        /// From where.
        from: SocketAddr,
        /// What.
        bytes: Vec<u8>,
    },
}

/// How the client's side of a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// It said that it is done.
    Finished,
    /// It reset the connection.
    Reset,
}

/// What happens at a socket that a program has: a connection a server gave it, or one it opened or was sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SocketEvent {
    /// A listening socket of the program's own has accepted a connection, which is the program's, too.
    Accepted {
        /// Which listened.
        listener: SocketId,
        /// The connection.
        connection: SocketId,
    },
    /// Bytes arrived at a connection.
    Data {
        /// At which.
        connection: SocketId,
        /// What.
        bytes: Vec<u8>,
    },
    /// The client's side of a connection is over.
    Ended {
        /// Of which.
        connection: SocketId,
        /// How.
        ending: Ending,
    },
    /// A datagram arrived at a UDP socket.
    Datagram {
        /// At which.
        socket: SocketId,
        /// From where.
        from: SocketAddr,
        /// What.
        bytes: Vec<u8>,
    },
}

/// One executable. Every hook runs to completion before its process does anything else; a hook left out does nothing.
#[expect(unused_variables, reason = "the names are the documentation of the hooks that do nothing")]
pub trait Program: Clone + Eq + Hash + fmt::Debug {
    /// The primary begins.
    fn primary_start(&mut self, primary: &mut Primary, process: &mut Process<'_>) {}

    /// The primary hears an event.
    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {}

    /// Something happens at a socket that the primary's program has. Unless told otherwise, a connection whose client is
    /// done is closed.
    fn primary_socket(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: SocketEvent) {
        if let SocketEvent::Ended { connection, .. } = event {
            process.close(connection);
        }
    }

    /// A worker begins.
    fn worker_start(&mut self, worker: &mut Worker, process: &mut Process<'_>) {}

    /// A worker hears an event. A [`WorkerEvent::Connection`] is the program's until [`Process::close`].
    fn worker_event(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {}

    /// Something happens at a socket that a worker's program has. Unless told otherwise, bytes and ends of connections go
    /// to [`Program::connection_data`] and [`Program::connection_end`], whoever accepted them.
    fn worker_socket(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: SocketEvent) {
        match event {
            SocketEvent::Data { connection, bytes } => {
                self.connection_data(worker, process, connection, &bytes);
            }
            SocketEvent::Ended { connection, ending } => {
                self.connection_end(worker, process, connection, ending);
            }
            SocketEvent::Accepted { .. } | SocketEvent::Datagram { .. } => {}
        }
    }

    /// Bytes arrived at a connection that this worker has.
    fn connection_data(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        connection: SocketId,
        bytes: &[u8],
    ) {
    }

    /// The client's side of a connection is over. Unless told otherwise, so is this side.
    fn connection_end(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        connection: SocketId,
        ending: Ending,
    ) {
        process.close(connection);
    }

    /// The driver hears an observation, some time after it was made, in the order in which all of them were made.
    fn observed(&mut self, driver: &mut Driver<'_>, observer: Actor, text: &str) {}

    /// The driver hears a note, in the same order.
    fn notified(&mut self, driver: &mut Driver<'_>, author: Actor, text: &str) {}

    /// A client hears something.
    fn client_event(&mut self, driver: &mut Driver<'_>, client: ClientId, event: ClientEvent) {}

    /// The driver begins, before anything else.
    fn driver_start(&mut self, driver: &mut Driver<'_>) {}
}
