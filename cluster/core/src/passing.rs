//! Sockets sent with users' messages: their types, the ownership of sockets in flight, and the counts of
//! connections that Node keeps. The machines send and close the sockets.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::message::{HandleType, SocketCount};
use crate::os::{ChannelId, SocketId};

/// A socket that was received with a message, owned by the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IncomingHandle {
    /// The socket. The program closes it after use, and reports the close to the machine by `release`.
    pub socket: SocketId,
    /// The type given by the sender.
    pub kind: HandleType,
}

/// A socket to send with a message. Node: the second argument of `send()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OutgoingHandle {
    /// The socket. The machine owns it, and closes it once the peer has received a copy or cannot receive
    /// one.
    pub socket: SocketId,
    /// The type for the receiver.
    pub kind: HandleType,
    /// Whether the sender keeps the socket open. Node: `keepOpen`.
    pub keep_open: bool,
}

/// Sockets in flight to peers. With `keep_open`, a socket may be in flight several times at once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub(crate) struct InFlightHandles(BTreeMap<SocketId, InFlight>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct InFlight {
    copies: usize,
    keep_open: bool,
}

impl InFlightHandles {
    /// Whether the socket was sent before without `keep_open`, and so was given away.
    pub(crate) fn is_given(&self, socket: SocketId) -> bool {
        self.0.get(&socket).is_some_and(|trip| !trip.keep_open)
    }

    /// Whether the counts include each of these flights, and no count is zero.
    pub(crate) fn cover(&self, flights: &BTreeMap<SocketId, usize>) -> bool {
        let copies = |socket| self.0.get(socket).map_or(0, |trip| trip.copies);
        flights.iter().all(|(socket, flights)| *flights <= copies(socket))
            && self.0.values().all(|trip| trip.copies > 0)
    }

    pub(crate) fn start(&mut self, OutgoingHandle { socket, keep_open, .. }: OutgoingHandle) {
        let trip = self.0.entry(socket).or_insert(InFlight { copies: 0, keep_open });
        trip.copies += 1;
        trip.keep_open &= keep_open;
    }

    /// Called when a copy has arrived, or never will. Returns true if the caller must close the socket.
    pub(crate) fn end(&mut self, socket: SocketId) -> bool {
        let trip = self.0.get_mut(&socket).unwrap_or_else(|| unreachable!("{socket:?} was not on its way"));
        trip.copies -= 1;
        let (over, keep_open) = (trip.copies == 0, trip.keep_open);
        if over {
            self.0.remove(&socket);
        }
        over && !keep_open
    }
}

/// Received connections that the sender still counts as connections of its own server. Node:
/// `SocketListReceive`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub(crate) struct CountedHandles {
    open: BTreeMap<SocketId, CountKey>,
    /// The counts for which the peer has asked for a notification at zero.
    asked: BTreeSet<CountKey>,
}

/// A peer that counts its open connections, and the key of the counted server.
type CountKey = (ChannelId, String);

impl CountedHandles {
    /// Records a socket received with a message. The sender counts the socket if there is a key.
    pub(crate) fn add(&mut self, socket: SocketId, peer: ChannelId, key: Option<String>) {
        if let Some(key) = key {
            self.open.insert(socket, (peer, key));
        }
    }

    /// The immediate answer to a peer's question. `None`: no answer, or a later one.
    pub(crate) fn answer(&mut self, peer: ChannelId, question: SocketCount) -> Option<SocketCount> {
        match question {
            SocketCount::GetCount(key) => {
                let counting = (peer, key);
                let count = self.count(&counting);
                Some(SocketCount::Count(counting.1, count))
            }
            SocketCount::NotifyClose(key) => {
                self.ask((peer, key.clone())).then_some(SocketCount::AllClosed(key))
            }
            SocketCount::Count(..) | SocketCount::AllClosed(_) => None,
        }
    }

    /// The number of open connections under a key.
    fn count(&self, counting: &CountKey) -> u64 {
        self.open.values().filter(|open| *open == counting).count() as u64
    }

    /// Records that the peer asks for a notification at zero. Returns true if the count is zero already.
    fn ask(&mut self, counting: CountKey) -> bool {
        let none = self.count(&counting) == 0;
        if !none {
            self.asked.insert(counting);
        }
        none
    }

    /// Called when the program has released a socket. Returns the key to notify, if its count is zero now.
    pub(crate) fn release(&mut self, socket: SocketId) -> Option<CountKey> {
        let counting = self.open.remove(&socket)?;
        if self.count(&counting) == 0 { self.asked.take(&counting) } else { None }
    }

    /// Called when the channel of a peer is closed: its counts end.
    pub(crate) fn forget(&mut self, peer: ChannelId) {
        self.open.retain(|_, (of, _)| *of != peer);
        self.asked.retain(|(of, _)| *of != peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKET: SocketId = SocketId(1);

    fn passing(keep_open: bool) -> OutgoingHandle {
        OutgoingHandle { socket: SOCKET, kind: HandleType::Socket, keep_open }
    }

    /// A socket is closed when the last copy has arrived, unless the sender keeps it open.
    #[test]
    fn last_copy_closes_socket() {
        let mut in_flight = InFlightHandles::default();
        in_flight.start(passing(true));
        in_flight.start(passing(true));
        assert!(!in_flight.is_given(SOCKET));
        assert_eq!((in_flight.end(SOCKET), in_flight.end(SOCKET)), (false, false));
        in_flight.start(passing(true));
        in_flight.start(passing(false));
        assert!(in_flight.is_given(SOCKET));
        assert_eq!((in_flight.end(SOCKET), in_flight.end(SOCKET)), (false, true));
    }

    /// A peer that has asked for a notification receives one when the last connection has ended, and no
    /// second one.
    #[test]
    fn last_release_notifies_once() {
        let of = |peer: u64| (ChannelId(peer), String::from("tcp4:80"));
        let mut counted = CountedHandles::default();
        for (socket, peer) in [(1, 1), (2, 1), (3, 2)] {
            counted.add(SocketId(socket), ChannelId(peer), Some(String::from("tcp4:80")));
        }
        assert_eq!(counted.count(&of(1)), 2);
        assert!(!counted.ask(of(1)));
        assert_eq!(counted.release(SocketId(1)), None);
        assert_eq!(counted.release(SocketId(2)), Some(of(1)));
        assert_eq!(counted.release(SocketId(2)), None);
        assert_eq!(counted.release(SocketId(3)), None, "no peer has asked");
        assert!(counted.ask(of(1)), "the count is zero");
    }

    /// The counts of a peer end with its channel.
    #[test]
    fn closed_peer_is_forgotten() {
        let mut counted = CountedHandles::default();
        counted.add(SOCKET, ChannelId(1), Some(String::from("tcp4:80")));
        assert!(!counted.ask((ChannelId(1), String::from("tcp4:80"))));
        counted.forget(ChannelId(1));
        assert_eq!(counted, CountedHandles::default());
    }
}
