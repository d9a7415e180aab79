//! Serves a connection of hyper, and ends the connection when the worker drains. Listeners and applications
//! are elsewhere.

use std::pin::{Pin, pin};

use hyper_util::server::graceful::GracefulConnection;

use crate::lame_duck::lame_duck_ended;
use crate::worker::Worker;

/// Serves a connection of hyper, for a server with an accept loop of the program: with TLS, for example.
/// [`serve`](crate::serve()) does the same for an axum application.
///
/// From the start of the [lame duck](Worker::became_lame_duck), an HTTP/2 connection (`is_http2`) receives
/// GOAWAY, and the open streams complete. An HTTP/1 connection is closed at the [end of the lame
/// duck](crate::lame_duck_ended()), or later as soon as idle. Until then, the service answers with
/// `Connection: close` if the worker [is a lame duck](Worker::is_lame_duck). After a TLS handshake, ALPN
/// names the version for `is_http2`. Where the version is unknown, pass `false`: both versions are served,
/// and an HTTP/2 connection receives GOAWAY at the end of the lame duck.
///
/// The service `tls` in the repository is a complete server.
///
/// # Errors
/// As the connection: the client has violated the protocol, or the socket has failed.
pub async fn serve_connection<C: GracefulConnection>(
    worker: &Worker,
    connection: C,
    is_http2: bool,
) -> Result<(), C::Error> {
    let close = async {
        if is_http2 {
            worker.became_lame_duck().await;
        } else {
            lame_duck_ended(worker).await;
        }
    };
    serve_until(close, connection, C::graceful_shutdown).await
}

/// Serves a connection. When `close` completes, the connection ends with the open requests.
pub(crate) async fn serve_until<C: Future>(
    close: impl Future<Output = ()>,
    connection: C,
    shut_down: impl FnOnce(Pin<&mut C>),
) -> C::Output {
    let mut connection = pin!(connection);
    tokio::select! {
        result = connection.as_mut() => result,
        () = close => {
            shut_down(connection.as_mut());
            connection.await
        }
    }
}
