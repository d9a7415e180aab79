//! The shared policy: the workers accept from one socket themselves. It only knows who they are.

use alloc::collections::BTreeSet;

use crate::message::HandleType;
use crate::os::WorkerId;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Shared {
    all: BTreeSet<WorkerId>,
    /// What the socket is to them.
    kind: HandleType,
}

impl Shared {
    pub(crate) fn new(kind: HandleType) -> Self {
        Shared { all: BTreeSet::new(), kind }
    }

    pub(crate) fn kind(&self) -> HandleType {
        self.kind
    }

    pub(crate) fn add(&mut self, worker: WorkerId) {
        self.all.insert(worker);
    }

    pub(crate) fn has(&self, worker: WorkerId) -> bool {
        self.all.contains(&worker)
    }

    /// Takes a worker out.
    pub(crate) fn remove(&mut self, worker: WorkerId) {
        self.all.remove(&worker);
    }

    /// Whether nobody accepts from it.
    pub(crate) fn is_unused(&self) -> bool {
        self.all.is_empty()
    }
}
