//! Outstanding replies, by sequence number, as plain values. Only the peer that was asked can reply; a reply
//! from another peer is ignored. (In Node any worker can answer for any other.)

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::ascending_map::AscendingMap;
use crate::os::ChannelId;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Pending<A> {
    next: u64,
    awaited: AscendingMap<u64, (ChannelId, A)>,
}

impl<A> Pending<A> {
    pub(crate) fn new() -> Self {
        Pending { next: 0, awaited: AscendingMap::default() }
    }

    /// The sequence number of this process's next message. Node reads it as a double, which is exact up to
    /// 2^53: 285 years at a million messages per second.
    pub(crate) fn next_seq(&mut self) -> u64 {
        let seq = self.next;
        self.next += 1;
        seq
    }

    /// Continues after `last`, unless the number is higher already. The last million numbers before 2^53
    /// remain free.
    #[cfg(feature = "testing")]
    pub(crate) fn count_after(&mut self, last: u64) {
        const LATEST: u64 = (1 << 53) - 1_000_000;
        self.next = self.next.max(last.min(LATEST) + 1);
    }

    /// Whether the next message has a greater number than every outstanding reply.
    pub(crate) fn is_ahead(&self) -> bool {
        self.awaited.last_key().is_none_or(|seq| seq < self.next)
    }

    /// For each outstanding reply, the peer and the purpose.
    pub(crate) fn awaited(&self) -> impl Iterator<Item = &(ChannelId, A)> {
        self.awaited.values()
    }

    /// Expects a reply to message `seq` from `peer`.
    pub(crate) fn expect(&mut self, seq: u64, peer: ChannelId, awaited: A) {
        let before = self.awaited.insert(seq, (peer, awaited));
        assert!(before.is_none(), "sequence number {seq} was used twice");
    }

    /// Removes the expectation of a reply to `seq` from `peer`, if any.
    pub(crate) fn take(&mut self, seq: u64, peer: ChannelId) -> Option<A> {
        match self.awaited.get(seq) {
            Some((asked, _)) if *asked == peer => self.awaited.remove(seq).map(|(_, awaited)| awaited),
            Some(_) | None => None,
        }
    }

    /// Removes all outstanding replies of a peer that can no longer answer, oldest first.
    pub(crate) fn take_all(&mut self, peer: ChannelId) -> Vec<A> {
        let taken = self.awaited.take_if(|_, (asked, _)| *asked == peer);
        taken.into_iter().map(|(_, awaited)| awaited).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// Only the peer that was asked can answer, and only once.
    #[test]
    fn reply_counts_once_from_asked_peer() {
        let mut pending = Pending::new();
        let seq = pending.next_seq();
        pending.expect(seq, ChannelId(1), "newconn");
        assert_eq!(pending.take(seq, ChannelId(2)), None);
        assert_eq!(pending.take(seq, ChannelId(1)), Some("newconn"));
        assert_eq!(pending.take(seq, ChannelId(1)), None);
    }

    /// When a peer can no longer answer, its outstanding replies are returned, and no others.
    #[test]
    fn take_all_returns_own_expectations() {
        let mut pending = Pending::new();
        for peer in [1, 2, 1] {
            let seq = pending.next_seq();
            pending.expect(seq, ChannelId(peer), (peer, seq));
        }
        assert_eq!(pending.take_all(ChannelId(1)), vec![(1, 0), (1, 2)]);
        assert_eq!(pending.take_all(ChannelId(1)), vec![]);
    }
}
