//! Replies that are awaited, by sequence number, as values. Each is tied to the peer that was asked: a reply from
//! another peer is not one (in Node any worker can answer for any other). It sends nothing.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::os::ChannelId;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Pending<A> {
    next: u64,
    awaited: BTreeMap<u64, (ChannelId, A)>,
}

impl<A> Pending<A> {
    pub(crate) fn new() -> Self {
        Pending { next: 0, awaited: BTreeMap::new() }
    }

    /// The sequence number of the next message of this process. Node reads it as a double, exact up to 2^53: a million
    /// messages a second reach that after 285 years.
    pub(crate) fn next_seq(&mut self) -> u64 {
        let seq = self.next;
        self.next += 1;
        seq
    }

    /// Continues after this number, unless it is further already; a million messages before 2^53 at the most.
    pub(crate) fn count_after(&mut self, last: u64) {
        const LATEST: u64 = (1 << 53) - 1_000_000;
        self.next = self.next.max(last.min(LATEST) + 1);
    }

    /// A reply to message `seq` is awaited from `peer`.
    pub(crate) fn expect(&mut self, seq: u64, peer: ChannelId, awaited: A) {
        let before = self.awaited.insert(seq, (peer, awaited));
        assert!(before.is_none(), "sequence number {seq} was used twice");
    }

    /// What a reply to `seq` from `peer` answers, if anything.
    pub(crate) fn take(&mut self, seq: u64, peer: ChannelId) -> Option<A> {
        match self.awaited.get(&seq) {
            Some((asked, _)) if *asked == peer => self.awaited.remove(&seq).map(|(_, awaited)| awaited),
            Some(_) | None => None,
        }
    }

    /// Everything that `peer` will no longer answer, oldest first.
    pub(crate) fn abandon(&mut self, peer: ChannelId) -> Vec<A> {
        self.awaited.extract_if(.., |_, (asked, _)| *asked == peer).map(|(_, (_, awaited))| awaited).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn only_the_peer_that_was_asked_can_answer_and_only_once() {
        let mut pending = Pending::new();
        let seq = pending.next_seq();
        pending.expect(seq, ChannelId(1), "newconn");
        assert_eq!(pending.take(seq, ChannelId(2)), None);
        assert_eq!(pending.take(seq, ChannelId(1)), Some("newconn"));
        assert_eq!(pending.take(seq, ChannelId(1)), None);
    }

    #[test]
    fn a_lost_peer_leaves_only_its_own_behind() {
        let mut pending = Pending::new();
        for peer in [1, 2, 1] {
            let seq = pending.next_seq();
            pending.expect(seq, ChannelId(peer), (peer, seq));
        }
        assert_eq!(pending.abandon(ChannelId(1)), vec![(1, 0), (1, 2)]);
        assert_eq!(pending.abandon(ChannelId(1)), vec![]);
    }
}
