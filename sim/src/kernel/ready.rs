//! The steps that may be enabled, oldest first, each with its last known status.
//!
//! Most steps change few dependencies, so the status of a step is computed again only after one of its
//! dependencies has changed. The kernel and the world define the dependencies and the status of a step.

use std::ops::{BitOr, BitOrAssign};

use super::socket::SocketKind;
use crate::event::ClientId;
use crate::step::{Pid, Step};

/// Whether a step can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    Enabled,
    /// Disabled until something else happens.
    Waiting,
    /// The step is never enabled again, unless it is added again.
    Obsolete,
}

impl Readiness {
    /// The same readiness if `condition` holds; otherwise the step waits.
    pub(super) fn after(self, condition: bool) -> Readiness {
        if self == Readiness::Enabled && !condition { Readiness::Waiting } else { self }
    }
}

/// A set of dependencies of steps. Two dependencies may share a bit: then a status is computed again without
/// need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Dependencies(u64);

impl BitOr for Dependencies {
    type Output = Dependencies;

    fn bitor(self, other: Dependencies) -> Dependencies {
        Dependencies(self.0 | other.0)
    }
}

impl BitOrAssign for Dependencies {
    fn bitor_assign(&mut self, other: Dependencies) {
        *self = *self | other;
    }
}

impl Dependencies {
    pub(crate) const NONE: Dependencies = Dependencies(0);
    pub(crate) const ALL: Dependencies = Dependencies(u64::MAX);
    /// The dependency of a step that has no status yet.
    const NEW: Dependencies = Dependencies(1 << 59);
    /// The listening sockets and their backlogs.
    pub(crate) const LISTENERS: Dependencies = Dependencies(1 << 60);
    /// The queues of UDP sockets.
    pub(crate) const UDP_QUEUES: Dependencies = Dependencies(1 << 61);
    const PRIMARY: Dependencies = Dependencies(1 << 62);
    /// A bit of its own, because the primary's life changes seldom and many steps depend on it.
    const LIFE_OF_PRIMARY: Dependencies = Dependencies(1 << 63);

    /// The dependency on a process and its descriptors; for a worker, also on its phase, channel and next
    /// action.
    pub(crate) fn process(pid: Pid) -> Dependencies {
        if pid == Pid::PRIMARY { Dependencies::PRIMARY } else { Dependencies(1 << (pid.0 % 32)) }
    }

    /// The dependency on whether a process is alive and not stopped.
    pub(crate) fn life(pid: Pid) -> Dependencies {
        if pid == Pid::PRIMARY { Dependencies::LIFE_OF_PRIMARY } else { Dependencies::process(pid) }
    }

    pub(crate) fn client(ClientId(client): ClientId) -> Dependencies {
        Dependencies(1 << (32 + client % 27))
    }

    fn intersects(self, other: Dependencies) -> bool {
        self.0 & other.0 != 0
    }

    /// The dependency on a socket. The client of a connection has a dependency of its own.
    pub(crate) fn file(kind: &SocketKind) -> Dependencies {
        match kind {
            SocketKind::Listener(_) => Dependencies::LISTENERS,
            SocketKind::Udp(_) => Dependencies::UDP_QUEUES,
            SocketKind::Connection(_) => Dependencies::NONE,
        }
    }
}

/// The status of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StepStatus {
    /// The readiness, if the primary is idle.
    pub(crate) readiness: Readiness,
    /// Whether the primary receives the event of the step, which is possible only when the primary is idle.
    pub(crate) by_primary: bool,
    pub(crate) depends: Dependencies,
}

/// A step and its last known status.
#[derive(Debug, Clone, Copy)]
struct ReadyStep {
    step: Step,
    depends: Dependencies,
    flags: u8,
}

// The flags of a status while the primary is busy. Shifted by `WHILE_IDLE`, they are the flags while the
// primary is idle.
const ENABLED: u8 = 1;
const OBSOLETE: u8 = 2;
const WHILE_IDLE: u8 = 2;

impl ReadyStep {
    fn new(step: Step) -> Self {
        ReadyStep { step, depends: Dependencies::ALL, flags: 0 }
    }

    fn set_status(&mut self, StepStatus { readiness, by_primary, depends }: StepStatus) {
        let flag = match readiness {
            Readiness::Enabled => ENABLED,
            Readiness::Obsolete => OBSOLETE,
            Readiness::Waiting => 0,
        };
        let while_busy = if by_primary { 0 } else { flag };
        (self.flags, self.depends) = (flag << WHILE_IDLE | while_busy, depends);
    }

    /// Asserts that the stored status is current, and so that no change of a dependency was missed.
    #[cfg(test)]
    fn assert_unchanged(&self, now: StepStatus) {
        let mut looked = ReadyStep::new(self.step);
        looked.set_status(now);
        assert_eq!((self.flags, self.depends), (looked.flags, looked.depends), "{:?}", self.step);
    }
}

/// The ready steps, oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ready(Vec<ReadyStep>);

impl Ready {
    /// Copies `other`, and reuses the memory of `self`.
    pub(crate) fn copy_from(&mut self, other: &Ready) {
        self.0.clone_from(&other.0);
    }

    /// Adds a step before all others.
    pub(crate) fn first(&mut self, step: Step) {
        self.0.insert(0, ReadyStep::new(step));
    }

    /// Adds a step after all others, unless the list already has the step.
    pub(crate) fn last(&mut self, step: Step) {
        if self.find(step).is_none() {
            self.0.push(ReadyStep::new(step));
        }
    }

    /// Moves a step after all others, if the list has the step.
    pub(crate) fn put_off(&mut self, step: Step) {
        if let Some(at) = self.find(step) {
            self.0[at..].rotate_left(1);
        }
    }

    /// Takes the step at an index. A step that can recur moves to the end of the list.
    pub(crate) fn take(&mut self, at: usize) {
        let ReadyStep { step, .. } = self.0.remove(at);
        if step.recurs() {
            self.0.push(ReadyStep::new(step));
        }
    }

    pub(crate) fn get(&self, at: usize) -> Option<Step> {
        self.0.get(at).map(|entry| entry.step)
    }

    pub(crate) fn steps(&self) -> impl Iterator<Item = Step> {
        self.0.iter().map(|entry| entry.step)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn find(&self, step: Step) -> Option<usize> {
        self.0.iter().position(|entry| entry.step == step)
    }

    /// Computes the status of new steps and of steps with changed dependencies, and drops obsolete steps.
    /// Collects the indexes of the enabled steps.
    pub(crate) fn refresh(
        &mut self,
        touched: Dependencies,
        primary_is_idle: bool,
        status: impl Fn(Step) -> StepStatus,
        enabled: &mut IndexSet,
    ) {
        let touched = touched | Dependencies::NEW;
        let mut any = 0;
        for entry in &mut self.0 {
            if entry.depends.intersects(touched) {
                entry.set_status(status(entry.step));
            }
            #[cfg(test)]
            entry.assert_unchanged(status(entry.step));
            any |= entry.flags;
        }
        let [can_be_taken, is_obsolete] =
            [ENABLED, OBSOLETE].map(|flag| if primary_is_idle { flag << WHILE_IDLE } else { flag });
        if any & is_obsolete != 0 {
            self.0.retain(|entry| entry.flags & is_obsolete == 0);
        }
        enabled.mark(&self.0, |entry| entry.flags & can_be_taken != 0);
    }
}

/// A set of indexes as bits, filled without branches.
#[derive(Debug, Clone, Default)]
pub(crate) struct IndexSet(Vec<u64>);

impl IndexSet {
    const IN_A_WORD: usize = 64;

    /// Copies `other`, and reuses the memory of `self`.
    pub(crate) fn copy_from(&mut self, other: &IndexSet) {
        self.0.clone_from(&other.0);
    }

    /// Becomes the set of the indexes in `row` that satisfy `is_one`.
    fn mark<T>(&mut self, row: &[T], is_one: impl Fn(&T) -> bool) {
        let word =
            |part: &[T]| part.iter().rev().fold(0, |word, element| word << 1 | u64::from(is_one(element)));
        self.0.clear();
        self.0.extend(row.chunks(Self::IN_A_WORD).map(word));
    }

    pub(crate) fn add(&mut self, index: usize) {
        let (word, bit) = (index / Self::IN_A_WORD, index % Self::IN_A_WORD);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << bit;
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The `n`th index, counted from 0. The set must have more than `n` indexes.
    pub(crate) fn nth(&self, mut n: usize) -> usize {
        for (at, &word) in self.0.iter().enumerate() {
            let mut word = word;
            while word != 0 {
                if n == 0 {
                    return at * Self::IN_A_WORD + word.trailing_zeros() as usize;
                }
                (n, word) = (n - 1, word & (word - 1));
            }
        }
        unreachable!("the set has more than `n` indexes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_set_spans_words() {
        let mut indexes = IndexSet::default();
        let wanted = [0, 3, 63, 64, 130, 191, 320];
        for index in wanted {
            indexes.add(index);
        }
        assert_eq!(indexes.len(), wanted.len());
        assert_eq!([0, 1, 2, 3, 4, 5, 6].map(|n| indexes.nth(n)), wanted);
    }
}
