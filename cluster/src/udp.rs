//! A worker's UDP socket, shared with the other workers that bind the same. It forms no datagrams.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use cluster_core::{ListenAddress, ListenOptions};
use tokio::net;

use crate::driver::{Inner, Phase};
use crate::listener_handle::ListenerHandle;
use crate::worker::{ANOTHER_KIND, ListenError, unfit};

/// A UDP socket of a worker. Node: a `dgram.Socket` that is bound in a worker.
///
/// Whichever worker reads first gets a datagram, whatever the [policy](crate::SchedulingPolicy); nothing of it passes through the
/// primary. Dropped, it is closed. Node: `socket.close()`.
///
/// It is a [`tokio::net::UdpSocket`] in all but [`recv_from`](UdpSocket::recv_from), which also sees that the worker leaves.
#[derive(Debug)]
pub struct UdpSocket {
    // Before the server: it is closed when the primary is told so.
    socket: net::UdpSocket,
    server: ListenerHandle,
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
            return Err(unfit(ANOTHER_KIND));
        }
        let (server, opened) = ListenerHandle::open(inner, options).await?;
        let socket = opened.socket.ok_or_else(|| unfit("the primary sent no socket"))?;
        let socket = net::UdpSocket::from_std(socket.into()).map_err(ListenError::Socket)?;
        Ok(UdpSocket { socket, server, exclusive })
    }

    /// The next datagram, and where it comes from. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected), in a program that [stays](crate::Worker::keep_running): the worker is
    /// leaving (Node: `'close'` on the socket). Elsewhere this waits, and the process ends; an exclusive socket lives on.
    /// Any other error is the kernel's.
    pub async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let mut leaving = pin!(self.leaving());
        let mut received = pin!(self.socket.recv_from(buffer));
        let received = poll_fn(|cx| match leaving.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => received.as_mut().poll(cx).map(Some),
        });
        if let Some(received) = received.await {
            return received;
        }
        self.server.inner.wait_for_exit().await;
        Err(io::ErrorKind::NotConnected.into())
    }

    async fn leaving(&self) {
        if self.exclusive {
            return std::future::pending().await;
        }
        self.server.inner.wait_for_phase(Phase::Disconnecting).await;
    }
}

impl Deref for UdpSocket {
    type Target = net::UdpSocket;

    fn deref(&self) -> &net::UdpSocket {
        &self.socket
    }
}
