//! A server of a worker from the program's side, whatever it serves: asked for, answered, closed. It shares no descriptor
//! with anyone.

use std::sync::Arc;

use cluster_core::{Errno, ListenOptions, ListenerId};

use crate::driver::Inner;
use crate::listeners::{Accepted, AcceptedConnections, BindFailure, Bound};
use crate::worker::ListenError;

/// A server that is not closed. Dropped, it is.
#[derive(Debug)]
pub(crate) struct ListenerHandle {
    pub(crate) inner: Arc<Inner>,
    id: ListenerId,
    accepted: AcceptedConnections,
}

impl ListenerHandle {
    /// Asks for it, and waits for the answer. Dropping the future gives it up.
    pub(crate) async fn open(
        inner: Arc<Inner>,
        options: ListenOptions,
    ) -> Result<(Self, Bound), ListenError> {
        let (id, opening, accepted) = inner.listen(options);
        let server = ListenerHandle { inner, id, accepted };
        let unopened = match opening.await {
            Ok(Ok(opened)) => return Ok((server, opened)),
            Ok(Err(BindFailure::Failed(error))) if error.errno != Errno::ENOTCONN => {
                return Err(ListenError::Bind(error));
            }
            Ok(Err(BindFailure::Closed)) => ListenError::Closed,
            Ok(Err(BindFailure::Failed(_))) | Err(_) => ListenError::Disconnected,
        };
        server.inner.wait_for_exit().await;
        Err(unopened)
    }

    /// The next connection; `None` after the last.
    pub(crate) async fn next_accepted(&mut self) -> Option<Accepted> {
        if let Ok(accepted) = self.accepted.try_recv() {
            return Some(accepted);
        }
        let _demand = AcceptGuard::new(&self.inner, self.id);
        self.accepted.recv().await
    }

    /// Closes it, and waits until its last connection has ended.
    pub(crate) async fn close(mut self) {
        self.inner.command(|machine| machine.close(self.id));
        while let Some(accepted) = self.accepted.recv().await {
            self.refuse(accepted);
        }
    }

    /// Closes a connection that nobody took.
    fn refuse(&self, (connection, descriptor): Accepted) {
        drop(descriptor);
        self.inner.command(|machine| machine.release(connection));
    }
}

impl Drop for ListenerHandle {
    fn drop(&mut self) {
        self.accepted.close();
        while let Ok(accepted) = self.accepted.try_recv() {
            self.refuse(accepted);
        }
        self.inner.command(|machine| machine.close(self.id));
    }
}

/// The application's wish for one connection, for as long as it waits.
struct AcceptGuard<'a> {
    inner: &'a Inner,
    listener: ListenerId,
}

impl<'a> AcceptGuard<'a> {
    fn new(inner: &'a Inner, listener: ListenerId) -> Self {
        inner.demand(listener);
        AcceptGuard { inner, listener }
    }
}

impl Drop for AcceptGuard<'_> {
    fn drop(&mut self) {
        self.inner.withdraw(self.listener);
    }
}
