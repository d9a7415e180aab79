//! A worker's listener for connections, TCP or Unix.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use cluster_core::{ListenAddress, ListenOptions, LocalAddress};
use tokio::net::{TcpStream, UnixStream};

use crate::connection::Connection;
use crate::driver::Inner;
use crate::error::ListenError;
use crate::listener_handle::ListenerHandle;
use crate::transport::Transport;

/// The remedy for an address that the called method does not serve.
pub(crate) const ANOTHER_KIND: &str = "use `listen` for TCP, `listen_path` for a path, `bind_udp` for UDP; a descriptor must be of the called kind";

/// A listener of a worker. Node: a `net.Server` that listens in a worker.
///
/// A drop closes the listener: the worker accepts no new connection, and connections that the program has not taken are
/// handed to other workers. Node: `server.close()`. The path of a Unix socket is removed when the last listener is closed, by
/// the process that bound the path: the primary, or the worker if the listener is exclusive.
#[derive(Debug)]
pub struct Listener<T: Transport = TcpStream> {
    handle: ListenerHandle,
    local: T::Local,
}

impl<T: Transport> Listener<T> {
    pub(crate) async fn open(inner: Arc<Inner>, options: ListenOptions) -> Result<Self, ListenError> {
        let unsuitable = || ListenError::Unsuitable { reason: ANOTHER_KIND };
        if !T::serves(&options.address) {
            return Err(unsuitable());
        }
        let path = requested_path(&options.address);
        let (handle, bound) = ListenerHandle::open(inner, options).await?;
        let local = T::local(path.unwrap_or(bound.address)).ok_or_else(unsuitable)?;
        Ok(Listener { handle, local })
    }

    #[cfg(feature = "axum")]
    pub(crate) fn local(&self) -> &T::Local {
        &self.local
    }

    /// Accepts the next connection. `None`: the worker is disconnected, and the last connection of the listener has ended
    /// (Node: `'close'` on the server).
    ///
    /// The worker acknowledges a connection only while a call is pending: a busy worker is handed no more, and a returned
    /// connection belongs to this worker alone. Dropping the future loses nothing: the demand is withdrawn, and the next call
    /// returns a connection that was acknowledged meanwhile.
    ///
    /// [`peer_addr`](TcpStream::peer_addr) fails after a reset by the client; earlier bytes of the client can be read. Node:
    /// the `'connection'` event; the `remoteAddress` of the socket may be undefined.
    ///
    /// After [`join_as_node`](crate::Worker::join_as_node) the call never returns `None`: the process exits.
    ///
    /// # Errors
    /// The connection cannot be registered with the runtime, and is closed. The next call returns the next connection.
    pub async fn accept(&mut self) -> io::Result<Option<Connection<T>>> {
        let Some((id, descriptor)) = self.handle.next_accepted().await else {
            self.handle.inner.wait_for_exit().await;
            return Ok(None);
        };
        Connection::new(&self.handle.inner, id, || T::adopt(descriptor)).map(Some)
    }

    /// Closes the listener, and waits until the last connection has ended. Node: `server.close(callback)`. Dropping the
    /// future does not reopen the listener.
    pub async fn close(self) {
        self.handle.close().await;
    }
}

impl Listener<TcpStream> {
    /// The local address. For port 0, with the port chosen by the kernel. Node: `server.address()`.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl Listener<UnixStream> {
    /// The path; empty for a descriptor without a path. Node: `server.address()`.
    pub fn path(&self) -> &Path {
        &self.local
    }
}

/// The path as given by the caller: the kernel may have bound a long path under another name.
fn requested_path(address: &ListenAddress) -> Option<LocalAddress> {
    match address {
        ListenAddress::Path { path, .. } => Some(LocalAddress::Path(path.clone())),
        ListenAddress::Tcp { .. }
        | ListenAddress::Udp { .. }
        | ListenAddress::Zoned { .. }
        | ListenAddress::Descriptor { .. } => None,
    }
}
