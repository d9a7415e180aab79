//! A server of a worker from the program's side, whatever it serves: asked for, answered, closed. It shares no descriptor
//! with anyone.

use std::sync::Arc;

use cluster_core::{Errno, ListenOptions, ListenerId};

use crate::doors::{Arrival, Arrivals, Opened, Unopened};
use crate::state::Shared;
use crate::worker::ListenError;

/// A server that is not closed. Dropped, it is.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) shared: Arc<Shared>,
    id: ListenerId,
    arrivals: Arrivals,
}

impl Server {
    /// Asks for it, and waits for the answer. Dropping the future gives it up.
    pub(crate) async fn open(
        shared: Arc<Shared>,
        options: ListenOptions,
    ) -> Result<(Self, Opened), ListenError> {
        let (id, opening, arrivals) = shared.listen(options);
        let server = Server { shared, id, arrivals };
        let unopened = match opening.await {
            Ok(Ok(opened)) => return Ok((server, opened)),
            Ok(Err(Unopened::Failed(error))) if error.errno != Errno::ENOTCONN => {
                return Err(ListenError::Bind(error));
            }
            Ok(Err(Unopened::Closed)) => ListenError::Closed,
            Ok(Err(Unopened::Failed(_))) | Err(_) => ListenError::Disconnected,
        };
        server.shared.left().await;
        Err(unopened)
    }

    /// The next connection; `None` after the last.
    pub(crate) async fn arrival(&mut self) -> Option<Arrival> {
        if let Ok(arrival) = self.arrivals.try_recv() {
            return Some(arrival);
        }
        let _demand = Demand::new(&self.shared, self.id);
        self.arrivals.recv().await
    }

    /// Closes it, and waits until its last connection has ended.
    pub(crate) async fn close(mut self) {
        self.shared.command(|machine| machine.close(self.id));
        while let Some(arrival) = self.arrivals.recv().await {
            self.refuse(arrival);
        }
    }

    /// Closes a connection that nobody took.
    fn refuse(&self, (connection, descriptor): Arrival) {
        drop(descriptor);
        self.shared.command(|machine| machine.release(connection));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.arrivals.close();
        while let Ok(arrival) = self.arrivals.try_recv() {
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
        shared.demand(listener);
        Demand { shared, listener }
    }
}

impl Drop for Demand<'_> {
    fn drop(&mut self) {
        self.shared.withdraw(self.listener);
    }
}
