//! Sockets that came with messages, and the guards of their senders' counts. A dropped guard reaches the machine through a
//! queue, as a primary has no lock. No socket is closed here except by its owner's drop.

use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};

use cluster_core::SocketId;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::socket::{self, Socket};
use crate::unix::Unix;

/// A socket that came with a message. Node: the second argument of `'message'`.
///
/// A Node.js process that has passed a connection of its own server counts the connection until its receiver has closed it:
/// `server.getConnections` includes the connection, and the callback of `server.close` waits for it. The count ends when this
/// value is dropped, after the socket has closed, or with the [`CountGuard`] of [`into_parts`](Received::into_parts).
///
/// To pass the socket on, give this value to `send_with`: the count ends there. Node never ends the count of a connection
/// that its receiver passes on.
#[derive(Debug)]
pub struct Received {
    // Before the guard: the socket closes before the sender's count ends.
    socket: Socket,
    guard: CountGuard,
}

impl Received {
    /// The socket, to become another type, and the guard of the sender's count, to be kept beside it. In this order a scope
    /// drops the socket first:
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
    /// The socket alone: the sender's count ends here.
    fn from(received: Received) -> Self {
        received.socket
    }
}

/// The sender of a [`Received`] socket counts the socket among its connections until this guard is dropped.
#[derive(Debug)]
#[must_use = "the sender's count ends when the guard is dropped"]
pub struct CountGuard {
    socket: SocketId,
    dropped: UnboundedSender<SocketId>,
}

impl Drop for CountGuard {
    fn drop(&mut self) {
        // A machine that no longer exists counts nothing.
        let _ = self.dropped.send(self.socket);
    }
}

/// The sockets of dropped guards, for the machine. As many as the machine has received, and no more.
#[derive(Debug)]
pub(crate) struct Releases {
    guard: UnboundedSender<SocketId>,
    dropped: UnboundedReceiver<SocketId>,
}

impl Default for Releases {
    fn default() -> Self {
        let (guard, dropped) = unbounded_channel();
        Releases { guard, dropped }
    }
}

impl Releases {
    /// A socket that a machine has received, for the program; `None` if the socket was taken before.
    pub(crate) fn take(&self, unix: &mut Unix, id: SocketId) -> Option<Received> {
        let guard = CountGuard { socket: id, dropped: self.guard.clone() };
        socket::take(unix, id).map(|socket| Received { socket, guard })
    }

    /// The next socket to release.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<SocketId> {
        // There is always a sender: this value's own.
        self.dropped.poll_recv(cx).map(|socket| socket.expect("the queue has a sender"))
    }
}
