//! A worker's UDP socket, shared with the other workers that bind the same address.

use std::future::{self, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use cluster_core::{ListenAddress, ListenOptions};
use tokio::net;

use crate::driver::Inner;
use crate::error::ListenError;
use crate::listener::ANOTHER_KIND;
use crate::listener_handle::ListenerHandle;

/// A UDP socket of a worker. Node: a `dgram.Socket` bound in a worker.
///
/// Each datagram is received by the worker that reads first, under every [policy](crate::SchedulingPolicy);
/// datagrams never pass through the primary. Dropping the value closes the socket. Node: `socket.close()`.
///
/// The type dereferences to [`tokio::net::UdpSocket`]. But [`recv_from`](UdpSocket::recv_from) of this type
/// also ends when the worker disconnects.
#[derive(Debug)]
pub struct UdpSocket {
    // Declared before the handle: the socket closes before the primary receives the report of the close.
    socket: net::UdpSocket,
    handle: ListenerHandle,
    exclusive: bool,
}

impl UdpSocket {
    pub(crate) async fn open(inner: Arc<Inner>, options: ListenOptions) -> Result<Self, ListenError> {
        let exclusive = options.exclusive || options.reuse_port;
        if !matches!(
            options.address,
            ListenAddress::Udp { .. }
                | ListenAddress::Zoned { udp: true, .. }
                | ListenAddress::Descriptor { udp: true, .. }
        ) {
            return Err(ListenError::Unsuitable { reason: ANOTHER_KIND });
        }
        let (handle, bound) = ListenerHandle::open(inner, options).await?;
        let no_socket = || ListenError::Unsuitable { reason: "the primary sent no socket for this address" };
        let socket = bound.socket.ok_or_else(no_socket)?;
        let socket = socket.into_unix().and_then(|socket| net::UdpSocket::from_std(socket.into()));
        let socket = socket.map_err(ListenError::Socket)?;
        Ok(UdpSocket { socket, handle, exclusive })
    }

    /// Receives the next datagram: the length, and the address of the sender. `None`: the worker is
    /// disconnecting (Node: `'close'` on the socket); an exclusive socket never ends. Dropping the future
    /// loses nothing.
    ///
    /// After [`join_as_node`](crate::Worker::join_as_node) the call never returns `None`: the process exits.
    ///
    /// # Errors
    /// The error of the kernel.
    pub async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        let mut disconnecting = pin!(self.disconnecting());
        let mut received = pin!(self.socket.recv_from(buffer));
        let received = poll_fn(|cx| match disconnecting.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => received.as_mut().poll(cx).map(Some),
        });
        if let Some(received) = received.await {
            return received.map(Some);
        }
        self.handle.inner.wait_for_exit().await;
        Ok(None)
    }

    async fn disconnecting(&self) {
        if self.exclusive {
            return future::pending().await;
        }
        // Waits for the close of this socket. The phase of the worker begins too early: the machine closes
        // earlier servers first, and the socket must not end before these servers.
        self.handle.closed().await;
    }
}

impl Deref for UdpSocket {
    type Target = net::UdpSocket;

    fn deref(&self) -> &net::UdpSocket {
        &self.socket
    }
}
