//! Connections of a simulated process, and the stream that is real or simulated.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use cluster_core::SocketId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net;

use super::{Action, CURRENT};

/// The bytes that one side of a simulated connection has not read, and the end.
#[derive(Debug, Default)]
pub struct ReceiveQueue {
    bytes: VecDeque<u8>,
    has_ended: bool,
    is_reset: bool,
    reader: Option<Waker>,
}

impl ReceiveQueue {
    /// Adds bytes. The caller wakes the reader.
    #[must_use]
    pub fn receive(&mut self, bytes: &[u8]) -> Option<Waker> {
        self.bytes.extend(bytes);
        self.reader.take()
    }

    /// Ends the direction, by an end of file or by a reset. The caller wakes the reader.
    #[must_use]
    pub fn end(&mut self, is_reset: bool) -> Option<Waker> {
        (self.has_ended, self.is_reset) = (true, is_reset);
        self.reader.take()
    }

    /// Whether the other side has reset the connection.
    pub fn is_reset(&self) -> bool {
        self.is_reset
    }

    /// As [`AsyncRead::poll_read`].
    pub fn poll_read(&mut self, cx: &Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let n = self.bytes.len().min(buffer.remaining());
        if n > 0 {
            let (first, second) = self.bytes.as_slices();
            let from_first = n.min(first.len());
            buffer.put_slice(&first[..from_first]);
            buffer.put_slice(&second[..n - from_first]);
            self.bytes.drain(..n);
            return Poll::Ready(Ok(()));
        }
        if self.is_reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if self.has_ended || buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The receiving side of a connection of a process.
#[derive(Debug)]
pub(super) struct Incoming {
    client: SocketAddr,
    queue: Mutex<ReceiveQueue>,
}

impl Incoming {
    pub(super) fn new(client: SocketAddr) -> Self {
        Incoming { client, queue: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, ReceiveQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn receive(&self, bytes: &[u8]) {
        let reader = self.lock().receive(bytes);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    pub(super) fn end(&self, is_reset: bool) {
        let reader = self.lock().end(is_reset);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn is_reset(&self) -> bool {
        self.lock().is_reset()
    }
}

/// A connection of a simulated process. A drop closes the connection.
#[derive(Debug)]
pub struct SimulatedSocket {
    id: SocketId,
    incoming: Arc<Incoming>,
}

impl SimulatedSocket {
    /// The connection with the number, if the world has announced the connection.
    pub(crate) fn take(id: SocketId) -> Option<Self> {
        let incoming = super::with(|current| current.sockets.get(&id).cloned())?;
        Some(SimulatedSocket { id, incoming })
    }

    /// A destructor may run after the end of the process, without an effect.
    fn act(&self, action: Action) {
        CURRENT.with_borrow_mut(|current| {
            if let Some(current) = current {
                if action == Action::Close(self.id) {
                    current.sockets.remove(&self.id);
                }
                current.actions.push(action);
            }
        });
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.incoming.is_reset() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.act(Action::Write(self.id, bytes.to_vec()));
        Ok(bytes.len())
    }
}

impl Drop for SimulatedSocket {
    fn drop(&mut self) {
        self.act(Action::Close(self.id));
    }
}

/// The stream of a TCP connection: a stream of tokio, or a simulated stream, which reads and writes in the
/// same way.
///
/// The type dereferences to [`tokio::net::TcpStream`]. In a simulated world only the methods of this type
/// work; the others panic.
#[derive(Debug)]
pub struct TcpStream(Stream);

#[derive(Debug)]
enum Stream {
    Tokio(net::TcpStream),
    Simulated(SimulatedSocket),
}

impl From<net::TcpStream> for TcpStream {
    fn from(stream: net::TcpStream) -> Self {
        TcpStream(Stream::Tokio(stream))
    }
}

impl From<SimulatedSocket> for TcpStream {
    fn from(socket: SimulatedSocket) -> Self {
        TcpStream(Stream::Simulated(socket))
    }
}

impl TcpStream {
    /// As [`tokio::net::TcpStream::peer_addr`].
    ///
    /// # Errors
    /// The client has reset the connection.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Stream::Tokio(stream) => stream.peer_addr(),
            Stream::Simulated(socket) if socket.incoming.is_reset() => {
                Err(io::ErrorKind::NotConnected.into())
            }
            Stream::Simulated(socket) => Ok(socket.incoming.client),
        }
    }

    /// As [`tokio::net::TcpStream::set_nodelay`]. Without an effect in a simulated world.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        match &self.0 {
            Stream::Tokio(stream) => stream.set_nodelay(nodelay),
            Stream::Simulated(_) => Ok(()),
        }
    }

    /// As [`tokio::net::TcpStream::into_std`].
    ///
    /// # Errors
    /// The error of the kernel; `Unsupported` in a simulated world.
    pub fn into_std(self) -> io::Result<std::net::TcpStream> {
        match self.0 {
            Stream::Tokio(stream) => stream.into_std(),
            Stream::Simulated(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// For the methods that a simulated stream does not have.
///
/// # Panics
/// In a simulated world.
impl Deref for TcpStream {
    type Target = net::TcpStream;

    fn deref(&self) -> &net::TcpStream {
        let Stream::Tokio(stream) = &self.0 else {
            panic_unsimulated();
        };
        stream
    }
}

/// For the descriptor of a real stream.
///
/// # Panics
/// In a simulated world.
impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        net::TcpStream::as_fd(self)
    }
}

#[expect(clippy::panic, reason = "the mistake of a caller, which the compiler cannot see")]
fn panic_unsimulated() -> ! {
    panic!(
        "this method of tokio::net::TcpStream is not simulated: use AsyncRead, AsyncWrite, peer_addr, set_nodelay"
    )
}

impl AsyncRead for TcpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Stream::Tokio(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Simulated(socket) => {
                // A stream that always has bytes does not starve the other tasks.
                let coop = ready!(tokio::task::coop::poll_proceed(cx));
                let read = socket.incoming.lock().poll_read(cx, buffer);
                if read.is_ready() {
                    coop.made_progress();
                }
                read
            }
        }
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Stream::Tokio(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Simulated(socket) => Poll::Ready(socket.write(bytes)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Stream::Tokio(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Simulated(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Stream::Tokio(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Simulated(socket) => {
                socket.act(Action::End(socket.id));
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Stream::Tokio(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Simulated(socket) => {
                let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
                Poll::Ready(socket.write(&bytes))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
