//! Virtual time: what occurs next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use cluster_core::{SocketId, TimerId, WorkerId};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Occurrence {
    /// A client connects.
    Arrival(usize),
    /// A client sends the next request of a connection.
    Ask(WorkerId, usize, Option<SocketId>),
    /// A worker has run a slice.
    SliceEnd(WorkerId),
    /// A process has started.
    Started(WorkerId),
    /// A timer of a worker, or of the primary, has fired.
    Timer(Option<WorkerId>, TimerId),
    /// The open connections are counted.
    Sample,
    /// A worker is killed, or the cluster is scaled.
    Change,
}

/// The occurrences in order of their time, in microseconds; at the same time in the order of the calls.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Reverse<(u64, u64, Occurrence)>>,
    count: u64,
    now: u64,
}

impl Agenda {
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    pub(crate) fn at(&mut self, time: u64, occurrence: Occurrence) {
        self.count += 1;
        self.heap.push(Reverse((time, self.count, occurrence)));
    }

    pub(crate) fn after(&mut self, time: u64, occurrence: Occurrence) {
        self.at(self.now.saturating_add(time), occurrence);
    }

    /// Lets time pass until the next occurrence.
    pub(crate) fn next(&mut self) -> Option<Occurrence> {
        let Reverse((time, _, occurrence)) = self.heap.pop()?;
        self.now = time;
        Some(occurrence)
    }
}
