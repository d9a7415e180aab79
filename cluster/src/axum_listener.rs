//! A worker's listener as a listener of `axum::serve`, and the address of the client for axum's
//! `ConnectInfo`.

use std::net::SocketAddr;
use std::{future, io};

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tracing::debug;

use crate::connection::Connection;
use crate::listener::Listener;
use crate::transport::Transport;

impl<T: Transport> Listener<T> {
    /// The next connection with a client address, or `None` after the last. A connection reset by the client
    /// has no address, and is skipped.
    pub(crate) async fn accept_with_client(&mut self) -> Option<(Connection<T>, T::Client)> {
        loop {
            match self.accept().await {
                Ok(Some(connection)) => match connection.client() {
                    Ok(client) => return Some((connection, client)),
                    Err(error) => debug!(%error, "a client has reset its connection"),
                },
                Ok(None) => return None,
                Err(error) => debug!(%error, "a connection was closed"),
            }
        }
    }
}

impl<T: Transport> axum::serve::Listener for Listener<T> {
    type Io = Connection<T>;
    type Addr = T::Client;

    /// The next connection with a client address. A connection reset by the client has no address, and is
    /// skipped.
    ///
    /// The future never completes after the last connection, because a listener of axum cannot end. Pass
    /// [`Worker::disconnecting`](crate::Worker::disconnecting) to `with_graceful_shutdown`, or use
    /// [`serve`](crate::serve()), which loses no request.
    async fn accept(&mut self) -> (Connection<T>, T::Client) {
        match self.accept_with_client().await {
            Some(accepted) => accepted,
            None => future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<T::Client> {
        T::as_client(self.local())
    }
}

/// The address of a client, for axum's `ConnectInfo` with `axum::serve`:
///
/// ```no_run
/// # async fn program() -> Result<(), Box<dyn std::error::Error>> {
/// use axum::extract::ConnectInfo;
/// use axum::{Router, routing::get};
/// use cluster::ClientAddr;
///
/// let worker = cluster::Worker::join()?;
/// let listener = worker.listen("127.0.0.1:8000").await?;
/// let app = Router::new().route("/", get(|ConnectInfo(ClientAddr(client)): ConnectInfo<ClientAddr>| async move {
///     client.to_string()
/// }));
/// axum::serve(listener, app.into_make_service_with_connect_info::<ClientAddr>())
///     .with_graceful_shutdown(worker.disconnecting())
///     .await?;
/// # Ok(()) }
/// ```
///
/// Only axum may implement `Connected` for [`SocketAddr`], hence this type. With [`serve`](crate::serve()),
/// extract `ConnectInfo<SocketAddr>` instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddr<A = SocketAddr>(
    /// A [`SocketAddr`] for TCP, a [`SocketAddr`](tokio::net::unix::SocketAddr) of tokio for Unix.
    pub A,
);

impl<T: Transport> Connected<IncomingStream<'_, Listener<T>>> for ClientAddr<T::Client> {
    fn connect_info(stream: IncomingStream<'_, Listener<T>>) -> Self {
        ClientAddr(stream.remote_addr().clone())
    }
}
