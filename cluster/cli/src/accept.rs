//! The loop that accepts connections for a server of the command. The loop continues when the process has no
//! free descriptor.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

/// The pause after a failed accept. Without free descriptors the next accept would fail at once.
const PAUSE: Duration = Duration::from_secs(1);

/// Serves each accepted connection until the future is dropped. The log calls the socket `name`.
pub(crate) async fn accept<C>(
    name: &str,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<C>>,
    mut serve: impl FnMut(C),
) {
    loop {
        match poll_fn(&mut poll).await {
            Ok(connection) => serve(connection),
            Err(error) => {
                tracing::warn!(%error, "{name} cannot accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
