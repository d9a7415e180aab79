//! Received sockets, and the guards of the senders' counts. A dropped guard reaches the machine through a
//! queue, because a primary has no lock. The drop of a guard closes no socket; the drop of the socket does.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};

use cluster_core::SocketId;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::socket::{self, Socket};
use crate::system::System;

/// A socket received with a message. Node: the second argument of `'message'`.
///
/// A Node.js process counts a passed connection of a server until the receiver has closed the socket:
/// `server.getConnections` includes the connection, and the callback of `server.close` waits for the end of
/// the connection. The count ends with the drop of this value, or with the drop of the [`CountGuard`] of
/// [`into_parts`](Received::into_parts).
///
/// `send_with` accepts this value, to pass the socket on, and then ends the count. Node never ends the count
/// of a connection passed on by the receiver.
#[derive(Debug)]
pub struct Received {
    // Declared before the guard, so that the socket closes before the sender's count ends.
    socket: Socket,
    guard: CountGuard,
}

impl Received {
    /// Returns the socket for a conversion, and the guard of the sender's count. Keep the guard as long as
    /// the socket. With the names in this order, the end of a scope drops the socket first:
    ///
    /// ```no_run
    /// # fn serve(received: cluster::Received) -> std::io::Result<()> {
    /// let (guard, socket) = received.into_parts();
    /// if let cluster::Socket::TcpStream(stream) = socket {
    ///     let stream = tokio::net::TcpStream::from_std(stream)?;
    ///     tokio::spawn(async move {
    ///         stream.writable().await?;
    ///         stream.try_write(b"served")?;
    ///         drop(stream);
    ///         drop(guard);
    ///         std::io::Result::Ok(())
    ///     });
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "the sender's count ends with the guard"]
    pub fn into_parts(self) -> (CountGuard, Socket) {
        (self.guard, self.socket)
    }
}

impl Deref for Received {
    type Target = Socket;

    fn deref(&self) -> &Socket {
        &self.socket
    }
}

impl AsFd for Received {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<Received> for Socket {
    /// Returns the socket, and ends the sender's count.
    fn from(received: Received) -> Self {
        received.socket
    }
}

/// Until the drop of this guard, the sender of a [`Received`] socket counts the socket as an open connection.
#[derive(Debug)]
#[must_use = "the sender's count ends when the guard is dropped"]
pub struct CountGuard {
    socket: SocketId,
    dropped: UnboundedSender<SocketId>,
}

impl Drop for CountGuard {
    fn drop(&mut self) {
        // The send fails only after the drop of the machine, and then every count has ended.
        let _ = self.dropped.send(self.socket);
    }
}

/// The sockets of dropped guards, on the way to the machine. Bounded by the number of received sockets.
#[derive(Debug)]
pub(crate) struct Releases {
    guard: UnboundedSender<SocketId>,
    dropped: UnboundedReceiver<SocketId>,
    /// The sockets of guards that still exist.
    taken: BTreeSet<SocketId>,
}

impl Default for Releases {
    fn default() -> Self {
        let (guard, dropped) = unbounded_channel();
        Releases { guard, dropped, taken: BTreeSet::new() }
    }
}

impl Releases {
    /// Hands a received socket to the program. `None` after the first call.
    pub(crate) fn take(&mut self, system: &mut System, id: SocketId) -> Option<Received> {
        // Recorded even without a socket, because the drop of the guard reports the number.
        self.taken.insert(id);
        let guard = CountGuard { socket: id, dropped: self.guard.clone() };
        socket::take(system, id).map(|socket| Received { socket, guard })
    }

    /// The received sockets of guards that still exist.
    pub(crate) fn taken(&self) -> Vec<SocketId> {
        self.taken.iter().copied().collect()
    }

    /// The socket of the next dropped guard.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<SocketId> {
        // `self.guard` is a sender, so the queue never ends.
        let dropped = self.dropped.poll_recv(cx).map(|socket| socket.expect("the queue has a sender"));
        dropped.map(|socket| {
            self.taken.remove(&socket);
            socket
        })
    }
}
