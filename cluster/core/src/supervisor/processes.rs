//! The table of the supervised processes, in order of fork.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::process::{Phase, Process};
use super::slot_info::SlotId;
use crate::os::WorkerId;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub(super) struct Processes(BTreeMap<WorkerId, Process>);

impl Processes {
    pub(super) fn start(&mut self, worker: WorkerId, slot: SlotId) {
        self.0.insert(worker, Process::starting(slot));
    }

    pub(super) fn get(&self, worker: WorkerId) -> Option<&Process> {
        self.0.get(&worker)
    }

    pub(super) fn get_mut(&mut self, worker: WorkerId) -> Option<&mut Process> {
        self.0.get_mut(&worker)
    }

    pub(super) fn remove(&mut self, worker: WorkerId) -> Option<Process> {
        self.0.remove(&worker)
    }

    /// Whether a process is ready. A ready process always holds its slot.
    pub(super) fn is_ready(&self, worker: WorkerId) -> bool {
        self.get(worker).is_some_and(|process| process.phase() == Phase::Ready)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of processes of a slot.
    pub(super) fn of(&self, slot: SlotId) -> usize {
        self.0.values().filter(|process| process.slot() == slot).count()
    }

    /// The processes in an earlier phase, in order of fork.
    pub(super) fn before(&self, phase: Phase) -> Vec<WorkerId> {
        let before = self.0.iter().filter(|(_, process)| process.phase() < phase);
        before.map(|(worker, _)| *worker).collect()
    }
}
