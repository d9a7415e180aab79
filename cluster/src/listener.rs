//! A worker's server: an address, and the connections that come to it one by one. It shares no descriptor with anyone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::{io, net};

use cluster_core::{Errno, ListenOptions, ListenerId};
use tokio::net::TcpStream;
use tracing::debug;

use crate::connection::Connection;
use crate::doors::{Arrival, Arrivals};
use crate::state::Shared;
use crate::worker::ListenError;

/// A server of a worker. Node: a `net.Server` that listens in a worker.
///
/// Dropped, it is closed: no new connection is taken, and those it had not taken go to other workers. Node:
/// `server.close()`.
#[derive(Debug)]
pub struct Listener {
    shared: Arc<Shared>,
    id: ListenerId,
    address: SocketAddr,
    connections: Arrivals,
}

impl Listener {
    pub(crate) async fn open(shared: Arc<Shared>, options: ListenOptions) -> Result<Self, ListenError> {
        let unknown = SocketAddr::new(net::Ipv4Addr::UNSPECIFIED.into(), options.address.port());
        let (id, opened, connections) = shared.listen(options);
        // From here on, dropping this future closes it.
        let mut listener = Listener { shared, id, address: unknown, connections };
        match opened.await {
            Ok(Ok(address)) => listener.address = address.ip().unwrap_or(unknown),
            Ok(Err(error)) if error.errno != Errno::ENOTCONN => return Err(ListenError::Bind(error)),
            Ok(Err(_)) | Err(_) => {
                listener.shared.left().await;
                return Err(ListenError::Disconnected);
            }
        }
        Ok(listener)
    }

    /// Where it listens, with the port the kernel chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The next connection, and where it comes from.
    ///
    /// It is acknowledged to the primary only when it is asked for here, so a worker that is busy does not get more, and
    /// nobody else gets it once it is returned. Dropping the future loses nothing: the demand is taken back, and a
    /// connection that was acknowledged meanwhile is kept for the next call.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected), in a program that [stays](crate::Worker::stay): the worker is
    /// leaving, the listener's last connection has ended (Node: `'close'` on the server), and none will come any more.
    /// Elsewhere this waits, and the process ends. Any other error is one of the connection alone: it was closed, and
    /// the next call gives the next one.
    pub async fn accept(&mut self) -> io::Result<(Connection, SocketAddr)> {
        loop {
            let Some((id, descriptor)) = self.arrival().await else {
                self.shared.left().await;
                return Err(io::ErrorKind::NotConnected.into());
            };
            let stream = net::TcpStream::from(descriptor);
            // Whatever happens to it, it is released.
            let stream = Connection::lend(&self.shared, id, || TcpStream::from_std(stream))?;
            match stream.peer_addr() {
                Ok(address) => return Ok((stream, address)),
                Err(error) => debug!(%error, "a client was gone before it was served"),
            }
        }
    }

    /// Closes it, and waits until its last connection has ended. Node: `server.close(callback)`. Dropping the future does
    /// not open it again.
    pub async fn close(mut self) {
        self.shared.command(|machine| machine.close(self.id));
        while let Some(arrival) = self.connections.recv().await {
            self.refuse(arrival);
        }
    }

    /// Closes a connection that nobody took.
    fn refuse(&self, (connection, descriptor): Arrival) {
        drop(descriptor);
        self.shared.command(|machine| machine.release(connection));
    }

    async fn arrival(&mut self) -> Option<Arrival> {
        if let Ok(arrival) = self.connections.try_recv() {
            return Some(arrival);
        }
        let _demand = Demand::new(&self.shared, self.id);
        self.connections.recv().await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.connections.close();
        while let Ok(arrival) = self.connections.try_recv() {
            self.refuse(arrival);
        }
        self.shared.command(|machine| machine.close(self.id));
    }
}

/// The application's wish for one connection, for as long as it waits.
struct Demand<'a> {
    shared: &'a Shared,
    listener: ListenerId,
}

impl<'a> Demand<'a> {
    fn new(shared: &'a Shared, listener: ListenerId) -> Self {
        shared.command(|machine| machine.accept(listener));
        Demand { shared, listener }
    }
}

impl Drop for Demand<'_> {
    fn drop(&mut self) {
        self.shared.command(|machine| machine.withdraw(self.listener));
    }
}

#[cfg(feature = "axum")]
impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    /// Waits for ever when no connection can come any more: the end of the process, or of the wait for
    /// [`Worker::disconnecting`](crate::Worker::disconnecting), ends the server.
    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            match Listener::accept(self).await {
                Ok(accepted) => return accepted,
                Err(error) if error.kind() == io::ErrorKind::NotConnected => std::future::pending().await,
                Err(error) => debug!(%error, "a connection was lost"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
