//! The shared policy: the workers accept from one socket themselves. It only knows who they are.

use alloc::collections::BTreeSet;

use crate::os::WorkerId;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Shared {
    all: BTreeSet<WorkerId>,
}

impl Shared {
    pub(crate) fn add(&mut self, worker: WorkerId) {
        self.all.insert(worker);
    }

    pub(crate) fn has(&self, worker: WorkerId) -> bool {
        self.all.contains(&worker)
    }

    /// Takes a worker out. Returns whether nobody is left.
    pub(crate) fn remove(&mut self, worker: WorkerId) -> bool {
        self.all.remove(&worker);
        self.all.is_empty()
    }
}
