//! A connection of a worker: a tokio stream that says when the application is done with it. It reads and writes nothing.

use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use cluster_core::SocketId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::state::Shared;

/// A connection of a [`Listener`](crate::Listener): a [`TcpStream`] that a graceful disconnect waits for.
///
/// Node: the socket of a `'connection'` event. Dropped, it is closed, and the worker no longer waits for it.
#[derive(Debug)]
pub struct Connection {
    // Before the lease: the stream is closed when the worker is told so.
    stream: TcpStream,
    _lease: Lease,
}

impl Connection {
    /// Makes the stream of a connection; if that fails, the connection is given back.
    pub(crate) fn lend(
        shared: &Arc<Shared>,
        id: SocketId,
        stream: impl FnOnce() -> io::Result<TcpStream>,
    ) -> io::Result<Self> {
        let lease = Lease { shared: shared.clone(), id };
        Ok(Connection { stream: stream()?, _lease: lease })
    }
}

/// What the worker waits for.
#[derive(Debug)]
struct Lease {
    shared: Arc<Shared>,
    id: SocketId,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.command(|machine| machine.release(self.id));
    }
}

impl Deref for Connection {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
