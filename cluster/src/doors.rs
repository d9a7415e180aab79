//! The listeners of a worker, from inside: what each is told first, and the way its connections take. It opens and closes
//! nothing in the machine.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use cluster_core::{ListenError, ListenerId, LocalAddress, SocketId};
use tokio::sync::{mpsc, oneshot};

/// A connection that is ours, with its number in the machine.
pub(crate) type Arrival = (SocketId, OwnedFd);

/// The connections of a listener; ends when it is closed.
pub(crate) type Arrivals = mpsc::UnboundedReceiver<Arrival>;

/// What a new listener is told: that it listens, or why not. Dropped unsaid: the worker is disconnected.
pub(crate) type Opening = oneshot::Receiver<Result<Opened, Unopened>>;

/// A listener does not listen.
#[derive(Debug)]
pub(crate) enum Unopened {
    /// It could not be bound, or nobody was left to ask.
    Failed(ListenError),
    /// It was bound, and closed before it was told so.
    Closed,
}

/// A listener listens.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Where.
    pub(crate) address: LocalAddress,
    /// What a UDP socket is used by.
    pub(crate) socket: Option<OwnedFd>,
}

/// The listeners that are not closed.
#[derive(Debug, Default)]
pub(crate) struct Doors(BTreeMap<ListenerId, Door>);

#[derive(Debug)]
struct Door {
    opening: Option<oneshot::Sender<Result<Opened, Unopened>>>,
    connections: mpsc::UnboundedSender<Arrival>,
    wish: Wish,
}

/// Whether somebody waits for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    None,
    Open,
    /// It is here, and was not taken yet.
    Answered,
}

impl Doors {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub(crate) fn ids(&self) -> Vec<ListenerId> {
        self.0.keys().copied().collect()
    }

    /// For a new listener.
    pub(crate) fn add(&mut self, listener: ListenerId) -> (Opening, Arrivals) {
        let (opening, opened) = oneshot::channel();
        let (connections, arrivals) = mpsc::unbounded_channel();
        self.0.insert(listener, Door { opening: Some(opening), connections, wish: Wish::None });
        (opened, arrivals)
    }

    /// The listener is closed.
    pub(crate) fn close(&mut self, listener: ListenerId) {
        self.open(listener, Err(Unopened::Closed));
        self.0.remove(&listener);
    }

    /// The worker is lost, and every listener with it.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Says that a listener listens, or why not.
    pub(crate) fn open(&mut self, listener: ListenerId, result: Result<Opened, Unopened>) {
        let opening = self.0.get_mut(&listener).and_then(|door| door.opening.take());
        if let Some(opening) = opening {
            // Nobody may be waiting any more; then the listener is being closed.
            let _ = opening.send(result);
        }
    }

    /// Brings a connection to its listener. Whether it is still there; if not, the connection is closed, as those in a
    /// dropped listener's backlog are.
    pub(crate) fn bring(&mut self, listener: ListenerId, arrival: Arrival) -> bool {
        let Some(door) = self.0.get_mut(&listener) else { return false };
        if door.wish == Wish::Open {
            door.wish = Wish::Answered;
        }
        door.connections.send(arrival).is_ok()
    }

    /// Somebody waits for a connection, or nobody does any more.
    pub(crate) fn wish(&mut self, listener: ListenerId, wish: Wish) {
        if let Some(door) = self.0.get_mut(&listener) {
            door.wish = wish;
        }
    }

    /// Whether a connection is here that somebody waits for.
    pub(crate) fn has_answered(&self) -> bool {
        self.0.values().any(|door| door.wish == Wish::Answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_closed_before_it_was_told_that_it_listens_is_told_that() {
        let mut doors = Doors::default();
        let (mut opening, _arrivals) = doors.add(ListenerId(1));
        doors.close(ListenerId(1));
        assert!(matches!(opening.try_recv(), Ok(Err(Unopened::Closed))));
        let (mut lost, _arrivals) = doors.add(ListenerId(2));
        doors.clear();
        assert!(lost.try_recv().is_err(), "nobody closed it");
    }
}
