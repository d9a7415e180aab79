//! A set of objects of a world, as bits. If a world has more objects than the set has bits, the surplus
//! objects stand for every object.

use std::ops::{BitOr, BitOrAssign};

use super::channel::Side;
use crate::event::ClientId;
use crate::step::Pid;

/// A set of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ObjectSet(u128);

/// The objects read and written by a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Footprint {
    pub(crate) reads: ObjectSet,
    pub(crate) writes: ObjectSet,
}

impl Footprint {
    /// Whether two steps commute.
    pub(crate) fn is_independent_of(self, other: Footprint) -> bool {
        let (ObjectSet(reads), ObjectSet(writes)) = (self.reads, self.writes);
        let (ObjectSet(other_reads), ObjectSet(other_writes)) = (other.reads, other.writes);
        writes & (other_reads | other_writes) == 0 && other_writes & reads == 0
    }
}

impl BitOr for ObjectSet {
    type Output = ObjectSet;

    fn bitor(self, other: ObjectSet) -> ObjectSet {
        ObjectSet(self.0 | other.0)
    }
}

impl BitOrAssign for ObjectSet {
    fn bitor_assign(&mut self, other: ObjectSet) {
        self.0 |= other.0;
    }
}

impl FromIterator<ObjectSet> for ObjectSet {
    fn from_iter<I: IntoIterator<Item = ObjectSet>>(objects: I) -> Self {
        objects.into_iter().fold(ObjectSet::NONE, BitOr::bitor)
    }
}

impl ObjectSet {
    pub(crate) const NONE: ObjectSet = ObjectSet(0);
    pub(crate) const ALL: ObjectSet = ObjectSet(u128::MAX);
    /// The program of the driver.
    pub(crate) const DRIVER: ObjectSet = ObjectSet(1 << 120);
    /// The end of the log to which observers append.
    pub(crate) const LOG_WRITTEN: ObjectSet = ObjectSet(1 << 121);
    /// The end of the log from which the driver reads.
    pub(crate) const LOG_READ: ObjectSet = ObjectSet(1 << 125);
    /// The number of faults that may still strike.
    pub(crate) const FAULTS: ObjectSet = ObjectSet(1 << 122);
    pub(super) const CLOCK: ObjectSet = ObjectSet(1 << 123);
    /// The counters for new objects of each kind.
    pub(super) const NUMBERS: ObjectSet = ObjectSet(1 << 124);
    /// Paths, foreign sockets, rights and limits.
    pub(super) const SYSTEM: ObjectSet = ObjectSet(1 << 126);
    pub(super) const FILES: ObjectSet = ObjectSet(((1 << 32) - 1) << 40);

    /// The bit of object `n` of a kind with `of` bits from bit `first` on.
    fn nth(first: usize, of: usize, n: usize) -> ObjectSet {
        if n < of { ObjectSet(1 << (first + n)) } else { ObjectSet::ALL }
    }

    /// A running process: machine and program.
    pub(crate) fn running(pid: Pid) -> ObjectSet {
        ObjectSet::nth(0, 8, pid.index())
    }

    /// The entry of a process in the process table.
    pub(super) fn process(process: usize) -> ObjectSet {
        ObjectSet::nth(8, 8, process)
    }

    /// The flags of both ends of a channel.
    pub(super) fn ends(worker: usize) -> ObjectSet {
        ObjectSet::nth(16, 8, worker)
    }

    /// The inbox of one end of a channel.
    pub(super) fn inbox(worker: usize, side: Side) -> ObjectSet {
        ObjectSet::nth(24, 16, worker * 2 + side as usize)
    }

    /// Both ends of a channel and their inboxes.
    pub(super) fn channel(worker: usize) -> ObjectSet {
        let [one, other] = [Side::Primary, Side::Worker].map(|side| ObjectSet::inbox(worker, side));
        ObjectSet::ends(worker) | one | other
    }

    pub(super) fn file(file: usize) -> ObjectSet {
        ObjectSet::nth(40, 32, file)
    }

    /// The client in row `n`.
    pub(super) fn nth_client(n: usize) -> ObjectSet {
        ObjectSet::nth(72, 48, n)
    }

    pub(super) fn client(ClientId(client): ClientId) -> ObjectSet {
        ObjectSet::nth_client(client as usize - 1)
    }
}
