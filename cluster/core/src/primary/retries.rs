//! The pending timers of a primary, and the action of each.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::counters::Counter;
use crate::os::{HandleId, SocketId, TimerId, WorkerId};

/// The action of a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Retry {
    Worker(HandleId, WorkerId),
    Accept(SocketId),
    Write(WorkerId),
    /// The end of the wait for the channel of an exited worker.
    Orphan(WorkerId),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Retries {
    last: Counter,
    retries: BTreeMap<TimerId, Retry>,
}

impl Retries {
    #[cfg(feature = "testing")]
    pub(super) fn count_after(&mut self, last: u64) {
        self.last.count_after(last);
    }

    pub(super) fn set(&mut self, retry: Retry) -> TimerId {
        let timer = self.next();
        self.retries.insert(timer, retry);
        timer
    }

    pub(super) fn next(&mut self) -> TimerId {
        TimerId(self.last.next())
    }

    pub(super) fn take(&mut self, timer: TimerId) -> Option<Retry> {
        self.retries.remove(&timer)
    }

    /// Removes the retries of paused sockets, in order of their timers.
    pub(super) fn take_accepts(&mut self) -> Vec<Retry> {
        let rests = |_: &TimerId, retry: &mut Retry| matches!(retry, Retry::Accept(_));
        self.retries.extract_if(.., rests).map(|(_, retry)| retry).collect()
    }
}
