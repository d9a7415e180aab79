//! A worker's server of connections, TCP or Unix: where it is, and what comes to it one by one.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use cluster_core::{ListenAddress, ListenOptions, LocalAddress};
use tokio::net::{TcpStream, UnixStream};
#[cfg(feature = "axum")]
use tracing::debug;

use crate::connection::Connection;
use crate::driver::Inner;
use crate::listener_handle::ListenerHandle;
use crate::transport::Transport;
use crate::worker::{ANOTHER_KIND, ListenError, unfit};

/// A server of a worker. Node: a `net.Server` that listens in a worker.
///
/// Dropped, it is closed: no new connection is taken, and those it had not taken go to other workers. Node:
/// `server.close()`. The path of a Unix socket is removed by who has bound it, the primary unless the server is exclusive,
/// when its last server is closed.
#[derive(Debug)]
pub struct Listener<T: Transport = TcpStream> {
    server: ListenerHandle,
    place: T::Place,
}

impl<T: Transport> Listener<T> {
    pub(crate) async fn open(inner: Arc<Inner>, options: ListenOptions) -> Result<Self, ListenError> {
        if !T::serves(&options.address) {
            return Err(unfit(ANOTHER_KIND));
        }
        let path = path(&options.address);
        let (server, opened) = ListenerHandle::open(inner, options).await?;
        let place = T::place(path.unwrap_or(opened.address)).ok_or_else(|| unfit(ANOTHER_KIND))?;
        Ok(Listener { server, place })
    }

    #[cfg(feature = "axum")]
    pub(crate) fn place(&self) -> &T::Place {
        &self.place
    }

    /// The next connection.
    ///
    /// It is acknowledged to the primary only when it is asked for here, so a worker that is busy does not get more, and
    /// nobody else gets it once it is returned. Dropping the future loses nothing: the demand is taken back, and a
    /// connection that was acknowledged meanwhile is kept for the next call.
    ///
    /// Where it comes from is its `peer_addr()`. That fails if the client has broken off meanwhile; what it said can be
    /// read all the same. Node: the `'connection'` event, and a socket that may have no `remoteAddress`.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected), in a program that [stays](crate::Worker::keep_running): the worker is
    /// leaving, the listener's last connection has ended (Node: `'close'` on the server), and none will come any more.
    /// Elsewhere this waits, and the process ends. Any other error is one of the connection alone: it was closed, and
    /// the next call gives the next one.
    pub async fn accept(&mut self) -> io::Result<Connection<T>> {
        let Some((id, descriptor)) = self.server.next_accepted().await else {
            self.server.inner.wait_for_exit().await;
            return Err(io::ErrorKind::NotConnected.into());
        };
        // Whatever happens to it, it is released.
        Connection::lend(&self.server.inner, id, || T::adopt(descriptor))
    }

    /// Closes it, and waits until its last connection has ended. Node: `server.close(callback)`. Dropping the future does
    /// not open it again.
    pub async fn close(self) {
        self.server.close().await;
    }
}

impl Listener<TcpStream> {
    /// Where it listens, with the port the kernel chose. Node: `server.address()`.
    pub fn local_addr(&self) -> SocketAddr {
        self.place
    }
}

impl Listener<UnixStream> {
    /// Where it listens; empty for a descriptor that has no path. Node: `server.address()`.
    pub fn path(&self) -> &Path {
        &self.place
    }
}

/// The path that was asked for: the kernel may know a long one by another name.
fn path(address: &ListenAddress) -> Option<LocalAddress> {
    match address {
        ListenAddress::Path { path, .. } => Some(LocalAddress::Path(path.clone())),
        ListenAddress::Tcp { .. }
        | ListenAddress::Udp { .. }
        | ListenAddress::Zoned { .. }
        | ListenAddress::Descriptor { .. } => None,
    }
}

#[cfg(feature = "axum")]
impl<T: Transport> axum::serve::Listener for Listener<T> {
    type Io = Connection<T>;
    type Addr = T::Client;

    /// Passes over a client that has broken off: it must be said where a connection comes from, and that is not known any
    /// more. Waits for ever when no connection can come any more: the end of the process, or of the wait for
    /// [`Worker::disconnecting`](crate::Worker::disconnecting), ends the server.
    async fn accept(&mut self) -> (Connection<T>, T::Client) {
        loop {
            match Listener::accept(self).await {
                Ok(connection) => match connection.client() {
                    Ok(client) => return (connection, client),
                    Err(error) => debug!(%error, "a client was gone before it was served"),
                },
                Err(error) if error.kind() == io::ErrorKind::NotConnected => std::future::pending().await,
                Err(error) => debug!(%error, "a connection was lost"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<T::Client> {
        T::named(&self.place)
    }
}
