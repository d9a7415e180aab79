//! The shared policy: the workers themselves accept from one socket. The policy only holds the set of
//! workers.

use alloc::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::message::HandleType;
use crate::os::WorkerId;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Shared {
    all: BTreeSet<WorkerId>,
    /// The type of the socket, for the answer to a query.
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

    pub(crate) fn remove(&mut self, worker: WorkerId) {
        self.all.remove(&worker);
    }

    /// Whether no worker accepts from the socket.
    pub(crate) fn is_unused(&self) -> bool {
        self.all.is_empty()
    }
}
