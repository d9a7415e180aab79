//! The open listeners of a worker, each with a pending reply and a queue of connections. The machine decides
//! when a listener opens and closes; here the results are delivered.

use std::collections::BTreeMap;

use cluster_core::{ListenError, ListenerId, LocalAddress, SocketId};
use tokio::sync::{mpsc, oneshot, watch};

use crate::system::Descriptor;

/// An acknowledged connection: the machine's number, and the descriptor.
pub(crate) type Accepted = (SocketId, Descriptor);

/// The queue of a listener's connections. The queue ends when the listener is closed.
pub(crate) type AcceptedConnections = mpsc::UnboundedReceiver<Accepted>;

/// The reply to a request to listen. The sender is dropped without a reply if the channel is lost.
pub(crate) type BindReply = oneshot::Receiver<Result<Bound, BindFailure>>;

/// Ends when the listener is closed or the channel is lost.
pub(crate) type OpenWatch = watch::Receiver<()>;

/// The reason why a listener does not listen.
#[derive(Debug)]
pub(crate) enum BindFailure {
    /// The address was not bound, or the worker was disconnected before the primary replied.
    Failed(ListenError),
    /// The listener was bound, and closed before the reply was delivered.
    Closed,
}

/// An open listener.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) address: LocalAddress,
    /// The descriptor of a UDP socket.
    pub(crate) socket: Option<Descriptor>,
}

/// The open listeners.
#[derive(Debug, Default)]
pub(crate) struct Listeners(BTreeMap<ListenerId, ListenerSlot>);

#[derive(Debug)]
struct ListenerSlot {
    reply: Option<oneshot::Sender<Result<Bound, BindFailure>>>,
    connections: mpsc::UnboundedSender<Accepted>,
    demand: Demand,
    _open: watch::Sender<()>,
}

/// Whether a caller waits for a connection of the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    None,
    Pending,
    /// The connection is in the queue; the caller has not taken the connection yet.
    Delivered,
}

impl Listeners {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn ids(&self) -> Vec<ListenerId> {
        self.0.keys().copied().collect()
    }

    /// Adds a listener with a pending reply.
    pub(crate) fn add(&mut self, listener: ListenerId) -> (BindReply, AcceptedConnections, OpenWatch) {
        let (reply, replied) = oneshot::channel();
        let (connections, accepted) = mpsc::unbounded_channel();
        let (open, watch) = watch::channel(());
        let slot = ListenerSlot { reply: Some(reply), connections, demand: Demand::None, _open: open };
        self.0.insert(listener, slot);
        (replied, accepted, watch)
    }

    /// Called when the listener is closed.
    pub(crate) fn close(&mut self, listener: ListenerId) {
        self.open(listener, Err(BindFailure::Closed));
        self.0.remove(&listener);
    }

    /// Called when the channel is lost: every listener is lost, too.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Delivers the reply.
    pub(crate) fn open(&mut self, listener: ListenerId, result: Result<Bound, BindFailure>) {
        let reply = self.0.get_mut(&listener).and_then(|slot| slot.reply.take());
        if let Some(reply) = reply {
            // If the caller no longer waits, the listener closes.
            let _ = reply.send(result);
        }
    }

    /// Queues a connection. Returns false if the listener is closed; then the caller closes the connection,
    /// as the kernel does with the backlog of a closed listener.
    pub(crate) fn deliver(&mut self, listener: ListenerId, connection: Accepted) -> bool {
        let Some(slot) = self.0.get_mut(&listener) else { return false };
        if slot.demand == Demand::Pending {
            slot.demand = Demand::Delivered;
        }
        slot.connections.send(connection).is_ok()
    }

    pub(crate) fn set_demand(&mut self, listener: ListenerId, demand: Demand) {
        if let Some(slot) = self.0.get_mut(&listener) {
            slot.demand = demand;
        }
    }

    /// Whether a delivered connection still waits for the caller.
    pub(crate) fn has_delivered(&self) -> bool {
        self.0.values().any(|slot| slot.demand == Demand::Delivered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A listener closed before the reply receives `Closed`. A listener of a lost channel receives no reply.
    #[test]
    fn closing_replies_to_pending_listen() {
        let mut listeners = Listeners::default();
        let (mut reply, _accepted, _open) = listeners.add(ListenerId(1));
        listeners.close(ListenerId(1));
        assert!(matches!(reply.try_recv(), Ok(Err(BindFailure::Closed))));
        let (mut lost, _accepted, _open) = listeners.add(ListenerId(2));
        listeners.clear();
        assert!(lost.try_recv().is_err(), "a lost listener got a reply");
    }

    /// A watch ends when the watched listener is closed, so listeners of all kinds end in the order in which
    /// the machine closes them.
    #[test]
    fn watch_ends_with_its_listener() {
        let mut listeners = Listeners::default();
        let [first, second] = [1, 2].map(|id| listeners.add(ListenerId(id)).2);
        let has_ended = |watch: &OpenWatch| watch.has_changed().is_err();
        listeners.close(ListenerId(1));
        assert_eq!([&first, &second].map(has_ended), [true, false]);
        listeners.clear();
        assert!(has_ended(&second));
    }

    #[test]
    fn ids_are_those_of_open_listeners() {
        let mut listeners = Listeners::default();
        assert!(listeners.is_empty() && listeners.ids().is_empty());
        let _replies = [1, 2, 3].map(|id| listeners.add(ListenerId(id)));
        listeners.close(ListenerId(2));
        assert_eq!(listeners.ids(), [ListenerId(1), ListenerId(3)]);
        assert!(!listeners.is_empty());
    }
}
