//! Sockets that travel with a user's messages: what they are called, and whose they are while they travel.
//! It moves and closes none of them; that is the machines' part.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;

use crate::message::{HandleType, SocketCount};
use crate::os::{ChannelId, SocketId};

/// A socket that came with a message: the program's from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IncomingHandle {
    /// The socket. Whoever is done with it closes it, and tells the machine by `release`.
    pub socket: SocketId,
    /// What its sender calls it.
    pub kind: HandleType,
}

/// A socket to send along. Node: the second argument of `send()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OutgoingHandle {
    /// The socket. From now on the machine's: it closes it once the peer has it, or cannot get it any more.
    pub socket: SocketId,
    /// What it is to the receiver.
    pub kind: HandleType,
    /// The socket stays the sender's, and open. Node: `keepOpen`.
    pub keep_open: bool,
}

/// Sockets on their way to peers. One that is kept open may be on several ways at once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct InFlightHandles(BTreeMap<SocketId, InFlight>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct InFlight {
    copies: usize,
    keep_open: bool,
}

impl InFlightHandles {
    /// Whether it was given away already.
    pub(crate) fn is_given(&self, socket: SocketId) -> bool {
        self.0.get(&socket).is_some_and(|trip| !trip.keep_open)
    }

    pub(crate) fn depart(&mut self, OutgoingHandle { socket, keep_open, .. }: OutgoingHandle) {
        let trip = self.0.entry(socket).or_insert(InFlight { copies: 0, keep_open });
        trip.copies += 1;
        trip.keep_open &= keep_open;
    }

    /// One copy has arrived, or never will. Returns whether the socket is to be closed here.
    pub(crate) fn settle(&mut self, socket: SocketId) -> bool {
        let trip = self.0.get_mut(&socket).unwrap_or_else(|| unreachable!("{socket:?} was not on its way"));
        trip.copies -= 1;
        let (over, keep_open) = (trip.copies == 0, trip.keep_open);
        if over {
            self.0.remove(&socket);
        }
        over && !keep_open
    }
}

/// Received connections whose sender counts them, as they are of a server of its own. Node: `SocketListReceive`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct CountedHandles {
    open: BTreeMap<SocketId, CountKey>,
    /// Who waits for the last of its connections.
    asked: BTreeSet<CountKey>,
}

/// Who counts, and by which key of its own.
type CountKey = (ChannelId, String);

impl CountedHandles {
    pub(crate) fn add(&mut self, socket: SocketId, peer: ChannelId, key: String) {
        self.open.insert(socket, (peer, key));
    }

    /// What a peer's question is answered at once, if anything.
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

    /// How many this peer would count under this key.
    fn count(&self, counting: &CountKey) -> u64 {
        self.open.values().filter(|open| *open == counting).count() as u64
    }

    /// The peer wants to know when there are none. Returns whether there are none now.
    fn ask(&mut self, counting: CountKey) -> bool {
        let none = self.count(&counting) == 0;
        if !none {
            self.asked.insert(counting);
        }
        none
    }

    /// The program is done with a socket. Returns who is to be told that it was the last.
    pub(crate) fn release(&mut self, socket: SocketId) -> Option<CountKey> {
        let counting = self.open.remove(&socket)?;
        if self.count(&counting) == 0 { self.asked.take(&counting) } else { None }
    }

    /// The peer is gone, and counts no more.
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

    #[test]
    fn a_socket_is_closed_when_its_last_copy_has_arrived_unless_it_is_kept() {
        let mut in_flight = InFlightHandles::default();
        in_flight.depart(passing(true));
        in_flight.depart(passing(true));
        assert!(!in_flight.is_given(SOCKET));
        assert_eq!((in_flight.settle(SOCKET), in_flight.settle(SOCKET)), (false, false));
        in_flight.depart(passing(true));
        in_flight.depart(passing(false));
        assert!(in_flight.is_given(SOCKET));
        assert_eq!((in_flight.settle(SOCKET), in_flight.settle(SOCKET)), (false, true));
    }

    #[test]
    fn who_asks_is_told_of_the_last_connection_once() {
        let of = |peer: u64| (ChannelId(peer), String::from("tcp4:80"));
        let mut counted = CountedHandles::default();
        for (socket, peer) in [(1, 1), (2, 1), (3, 2)] {
            counted.add(SocketId(socket), ChannelId(peer), String::from("tcp4:80"));
        }
        assert_eq!(counted.count(&of(1)), 2);
        assert!(!counted.ask(of(1)));
        assert_eq!(counted.release(SocketId(1)), None);
        assert_eq!(counted.release(SocketId(2)), Some(of(1)));
        assert_eq!(counted.release(SocketId(2)), None);
        assert_eq!(counted.release(SocketId(3)), None, "nobody has asked");
        assert!(counted.ask(of(1)), "there are none: that is said at once");
    }

    #[test]
    fn of_a_peer_that_is_gone_nothing_is_kept() {
        let mut counted = CountedHandles::default();
        counted.add(SOCKET, ChannelId(1), String::from("tcp4:80"));
        assert!(!counted.ask((ChannelId(1), String::from("tcp4:80"))));
        counted.forget(ChannelId(1));
        assert_eq!(counted, CountedHandles::default());
    }
}
