//! A worker's listener for connections, TCP or Unix.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use cluster_core::{ListenAddress, ListenOptions, LocalAddress};
use tokio::net::UnixStream;

use crate::connection::Connection;
use crate::driver::Inner;
use crate::error::ListenError;
use crate::listener_handle::ListenerHandle;
use crate::net::TcpStream;
use crate::transport::Transport;

/// The advice in the error for an address not served by the called method.
pub(crate) const ANOTHER_KIND: &str = "use `listen` for TCP, `listen_path` for a path, `bind_udp` for UDP; a descriptor must be of the called kind";

/// A listener of a worker. Node: a `net.Server` that listens in a worker.
///
/// Dropping the listener closes the listener: the worker accepts no new connection, and the primary hands
/// untaken connections to other workers. Node: `server.close()`. When the last listener of a Unix socket is
/// closed, the path is removed by the process that has bound the path: the primary, or the worker of an
/// exclusive listener.
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

    /// Accepts the next connection. `None`: the worker is disconnected, and the last connection of the
    /// listener has ended (Node: `'close'` on the server).
    ///
    /// The worker acknowledges a connection only while a call is pending. A busy worker therefore receives no
    /// more connections, and a returned connection belongs to this worker alone. Dropping the future loses
    /// nothing: the worker no longer asks for a connection, and the next call returns a connection
    /// acknowledged meanwhile.
    ///
    /// [`peer_addr`](TcpStream::peer_addr) fails if the client has reset the connection; earlier bytes can
    /// still be read. Node: the `'connection'` event, where the `remoteAddress` of the socket may be
    /// undefined.
    ///
    /// After [`join_as_node`](crate::Worker::join_as_node) the call never returns `None`: the process exits.
    ///
    /// # Errors
    /// The connection cannot be registered with the runtime, and is closed. The next call returns the next
    /// connection.
    pub async fn accept(&mut self) -> io::Result<Option<Connection<T>>> {
        let Some((id, descriptor)) = self.handle.next_accepted().await else {
            self.handle.inner.wait_for_exit().await;
            return Ok(None);
        };
        Connection::new(&self.handle.inner, id, || T::adopt(descriptor)).map(Some)
    }

    /// Closes the listener, and waits until the last connection has ended. Node: `server.close(callback)`.
    /// Dropping the future does not reopen the listener.
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

/// The path as the caller has given it. The kernel may have bound a long path under another name.
fn requested_path(address: &ListenAddress) -> Option<LocalAddress> {
    match address {
        ListenAddress::Path { path, .. } => Some(LocalAddress::Path(path.clone())),
        ListenAddress::Tcp { .. }
        | ListenAddress::Udp { .. }
        | ListenAddress::Zoned { .. }
        | ListenAddress::Descriptor { .. } => None,
    }
}
