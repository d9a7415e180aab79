//! The listeners of a worker, from inside: what each is told first, and the way its connections take. It opens and closes
//! nothing in the machine.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use cluster_core::{ListenError, ListenerId, LocalAddress, SocketId};
use tokio::sync::{mpsc, oneshot};

/// A connection that is ours, with its number in the machine.
pub(crate) type Accepted = (SocketId, OwnedFd);

/// The connections of a listener; ends when it is closed.
pub(crate) type AcceptedConnections = mpsc::UnboundedReceiver<Accepted>;

/// What a new listener is told: that it listens, or why not. Dropped unsaid: the worker is disconnected.
pub(crate) type BindReply = oneshot::Receiver<Result<Bound, BindFailure>>;

/// A listener does not listen.
#[derive(Debug)]
pub(crate) enum BindFailure {
    /// It could not be bound, or nobody was left to ask.
    Failed(ListenError),
    /// It was bound, and closed before it was told so.
    Closed,
}

/// A listener listens.
#[derive(Debug)]
pub(crate) struct Bound {
    /// Where.
    pub(crate) address: LocalAddress,
    /// What a UDP socket is used by.
    pub(crate) socket: Option<OwnedFd>,
}

/// The listeners that are not closed.
#[derive(Debug, Default)]
pub(crate) struct Listeners(BTreeMap<ListenerId, ListenerSlot>);

#[derive(Debug)]
struct ListenerSlot {
    opening: Option<oneshot::Sender<Result<Bound, BindFailure>>>,
    connections: mpsc::UnboundedSender<Accepted>,
    demand: Demand,
}

/// Whether somebody waits for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    None,
    Pending,
    /// It is here, and was not taken yet.
    Delivered,
}

impl Listeners {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub(crate) fn ids(&self) -> Vec<ListenerId> {
        self.0.keys().copied().collect()
    }

    /// For a new listener.
    pub(crate) fn add(&mut self, listener: ListenerId) -> (BindReply, AcceptedConnections) {
        let (opening, opened) = oneshot::channel();
        let (connections, accepted) = mpsc::unbounded_channel();
        self.0.insert(listener, ListenerSlot { opening: Some(opening), connections, demand: Demand::None });
        (opened, accepted)
    }

    /// The listener is closed.
    pub(crate) fn close(&mut self, listener: ListenerId) {
        self.open(listener, Err(BindFailure::Closed));
        self.0.remove(&listener);
    }

    /// The worker is lost, and every listener with it.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Says that a listener listens, or why not.
    pub(crate) fn open(&mut self, listener: ListenerId, result: Result<Bound, BindFailure>) {
        let opening = self.0.get_mut(&listener).and_then(|slot| slot.opening.take());
        if let Some(opening) = opening {
            // Nobody may be waiting any more; then the listener is being closed.
            let _ = opening.send(result);
        }
    }

    /// Brings a connection to its listener. Whether it is still there; if not, the connection is closed, as those in a
    /// dropped listener's backlog are.
    pub(crate) fn deliver(&mut self, listener: ListenerId, accepted: Accepted) -> bool {
        let Some(slot) = self.0.get_mut(&listener) else { return false };
        if slot.demand == Demand::Pending {
            slot.demand = Demand::Delivered;
        }
        slot.connections.send(accepted).is_ok()
    }

    /// Somebody waits for a connection, or nobody does any more.
    pub(crate) fn set_demand(&mut self, listener: ListenerId, demand: Demand) {
        if let Some(slot) = self.0.get_mut(&listener) {
            slot.demand = demand;
        }
    }

    /// Whether a connection is here that somebody waits for.
    pub(crate) fn has_delivered(&self) -> bool {
        self.0.values().any(|slot| slot.demand == Demand::Delivered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_closed_before_it_was_told_that_it_listens_is_told_that() {
        let mut listeners = Listeners::default();
        let (mut opening, _arrivals) = listeners.add(ListenerId(1));
        listeners.close(ListenerId(1));
        assert!(matches!(opening.try_recv(), Ok(Err(BindFailure::Closed))));
        let (mut lost, _arrivals) = listeners.add(ListenerId(2));
        listeners.clear();
        assert!(lost.try_recv().is_err(), "nobody closed it");
    }
}
