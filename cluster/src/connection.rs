//! A connection of a worker: a tokio stream. The worker counts the connection as open until the drop.

use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use cluster_core::SocketId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::driver::Inner;
use crate::net::TcpStream;

/// A connection of a [`Listener`](crate::Listener), as a stream. A graceful disconnect waits until the
/// connection is dropped.
///
/// Dropping the value closes the connection. Node: the socket of a `'connection'` event.
#[derive(Debug)]
pub struct Connection<T = TcpStream> {
    // Declared before the lease, so that the stream closes before the worker counts the connection as ended.
    stream: T,
    _lease: Lease,
}

impl<T> Connection<T> {
    /// Makes the stream of a connection. On failure the connection is closed and no longer counted.
    pub(crate) fn new(
        inner: &Arc<Inner>,
        id: SocketId,
        stream: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<Self> {
        let lease = Lease { inner: inner.clone(), id };
        Ok(Connection { stream: stream()?, _lease: lease })
    }

    /// Returns the stream, for example to pass on to another process. From now on a disconnect does not wait
    /// for the stream.
    pub fn into_inner(self) -> T {
        self.stream
    }
}

/// The worker counts the connection as open until the drop.
#[derive(Debug)]
struct Lease {
    inner: Arc<Inner>,
    id: SocketId,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.inner.command(|machine| machine.release(self.id));
    }
}

impl<T> Deref for Connection<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.stream
    }
}

impl<T> DerefMut for Connection<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.stream
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Connection<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Connection<T> {
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
