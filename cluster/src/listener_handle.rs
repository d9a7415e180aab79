//! A program's handle of a listener of any kind, to open the listener, take connections and close it.

use std::sync::Arc;

use cluster_core::{Errno, ListenOptions, ListenerId};

use crate::driver::Inner;
use crate::error::ListenError;
use crate::listeners::{Accepted, AcceptedConnections, BindFailure, Bound, OpenWatch};

/// An open listener. Dropping the handle closes the listener.
#[derive(Debug)]
pub(crate) struct ListenerHandle {
    pub(crate) inner: Arc<Inner>,
    id: ListenerId,
    accepted: AcceptedConnections,
    open: OpenWatch,
}

impl ListenerHandle {
    /// Requests a listener, and waits for the reply. Dropping the future closes the listener.
    pub(crate) async fn open(
        inner: Arc<Inner>,
        options: ListenOptions,
    ) -> Result<(Self, Bound), ListenError> {
        let (id, reply, accepted, open) = inner.listen(options);
        let handle = ListenerHandle { inner, id, accepted, open };
        let error = match reply.await {
            Ok(Ok(bound)) => return Ok((handle, bound)),
            Ok(Err(BindFailure::Failed(error))) if error.errno != Errno::ENOTCONN => return Err(error.into()),
            Ok(Err(BindFailure::Closed)) => ListenError::Closed,
            Ok(Err(BindFailure::Failed(_))) | Err(_) => ListenError::Disconnected,
        };
        handle.inner.wait_for_exit().await;
        Err(error)
    }

    /// The next connection, or `None` after the last.
    pub(crate) async fn next_accepted(&mut self) -> Option<Accepted> {
        if let Ok(accepted) = self.accepted.try_recv() {
            return Some(accepted);
        }
        let _guard = AcceptGuard::new(&self.inner, self.id);
        self.accepted.recv().await
    }

    /// Waits until the machine has closed the listener, or the channel is lost.
    pub(crate) async fn closed(&self) {
        // The watched value never changes: the call returns when the sender is dropped, with an error.
        let _ = self.open.clone().changed().await;
    }

    /// Closes the listener, and waits for the end of the last connection.
    pub(crate) async fn close(mut self) {
        self.inner.command(|machine| machine.close(self.id));
        while let Some(accepted) = self.accepted.recv().await {
            self.refuse(accepted);
        }
    }

    /// Closes a connection not taken by an `accept`.
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

/// The demand of a pending `accept`, withdrawn on drop.
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
