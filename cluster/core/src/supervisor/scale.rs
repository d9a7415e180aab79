//! A change of the number of slots. Slots are added and removed elsewhere.

use alloc::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::processes::Processes;
use super::slots::Slots;
use crate::os::WorkerId;

/// The change in progress, until all workers have started or exited.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub(super) struct Scaling {
    is_changing: bool,
    /// The workers of removed slots.
    removed: BTreeSet<WorkerId>,
}

impl Scaling {
    pub(super) fn begin(&mut self) {
        self.is_changing = true;
    }

    /// Waits for the exit of the worker of a removed slot.
    pub(super) fn wait_for(&mut self, worker: WorkerId) {
        self.removed.insert(worker);
    }

    /// Ends the change, if complete. False: no change, or it is not complete.
    pub(super) fn finish(&mut self, slots: &Slots, processes: &Processes) -> bool {
        if !self.is_changing {
            return false;
        }
        self.removed.retain(|worker| processes.get(*worker).is_some());
        self.is_changing = !self.removed.is_empty() || !slots.are_ready_or_suspended(processes);
        !self.is_changing
    }
}
