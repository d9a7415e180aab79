//! The slots of the supervised workers, numbered from 0 and stable over restarts. A slot has at most one
//! holder. Whether to start a worker is decided elsewhere.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::lifecycle::Lifecycle;
use super::processes::Processes;
use super::restart::Pauses;
use super::slot_info::{SlotId, SlotInfo, SlotState};
use crate::message::HandleKey;
use crate::os::WorkerId;

/// The state of a slot without a holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Vacancy {
    BackingOff,
    Suspended,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Slot {
    holder: Result<WorkerId, Vacancy>,
    /// A starting process that will replace the holder when ready.
    successor: Option<WorkerId>,
    backoff: Pauses,
    restarts: u64,
    /// The keys that the last ready holder has served. Empty after a failed start.
    keys: BTreeSet<HandleKey>,
}

/// The slots, in order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Slots(BTreeMap<SlotId, Slot>);

impl Slot {
    fn empty() -> Self {
        Slot {
            holder: Err(Vacancy::BackingOff),
            successor: None,
            backoff: Pauses::default(),
            restarts: 0,
            keys: BTreeSet::new(),
        }
    }

    fn state(&self, processes: &Processes) -> SlotState {
        match self.holder {
            Ok(worker) => {
                processes.get(worker).map_or(SlotState::Suspended, |process| process.phase().into())
            }
            Err(Vacancy::BackingOff) => SlotState::BackingOff,
            Err(Vacancy::Suspended) => SlotState::Suspended,
        }
    }

    pub(super) fn holder(&self) -> Option<WorkerId> {
        self.holder.ok()
    }

    /// The process forked last in the slot: the successor, otherwise the holder.
    pub(super) fn last_fork(&self) -> Option<WorkerId> {
        self.successor.or(self.holder.ok())
    }

    /// The keys that the last ready holder has served. Empty after a failed start.
    pub(super) fn keys(&self) -> &BTreeSet<HandleKey> {
        &self.keys
    }

    pub(super) fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    /// Whether the slot waits for the start that follows this number of failures.
    pub(super) fn is_backing_off(&self, failures: u32) -> bool {
        self.holder == Err(Vacancy::BackingOff) && self.failures() == failures
    }
}

impl Slots {
    /// Slots 0 to `count` - 1, without workers.
    pub(super) fn new(count: u32) -> Self {
        Slots((0..count).map(|slot| (SlotId(slot), Slot::empty())).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = SlotId> {
        self.0.keys().copied()
    }

    pub(super) fn get(&self, slot: SlotId) -> Option<&Slot> {
        self.0.get(&slot)
    }

    /// The workers of each slot.
    pub(super) fn workers(&self) -> impl Iterator<Item = (SlotId, WorkerId)> {
        let of =
            |(id, slot): (&SlotId, &Slot)| [slot.holder(), slot.successor].map(|worker| Some((*id, worker?)));
        self.0.iter().flat_map(of).flatten()
    }

    /// The workers that hold slots.
    pub(super) fn holders(&self) -> impl Iterator<Item = WorkerId> {
        self.0.values().filter_map(Slot::holder)
    }

    pub(super) fn is_holder(&self, slot: SlotId, worker: WorkerId) -> bool {
        self.get(slot).is_some_and(|slot| slot.holder == Ok(worker))
    }

    /// The slots, for the program, without requested recycles.
    pub(super) fn infos(&self, lifecycle: &Lifecycle) -> impl Iterator<Item = SlotInfo> {
        self.0.iter().map(|(id, slot)| {
            let worker = slot.holder();
            SlotInfo {
                slot: *id,
                state: slot.state(lifecycle.processes()),
                worker,
                pid: worker.and_then(|worker| lifecycle.primary().worker(worker)?.pid()),
                successor: slot.successor,
                restarts: slot.restarts,
                failures: slot.failures(),
                acknowledged_connections: worker.and_then(|worker| lifecycle.known_connections(worker)),
                open_connections: worker.and_then(|worker| {
                    lifecycle.reported_connections(worker, lifecycle.processes().get(worker)?)
                }),
                recycle: None,
            }
        })
    }

    /// Whether every slot has a ready worker or is suspended.
    pub(super) fn are_ready_or_suspended(&self, processes: &Processes) -> bool {
        let mut states = self.0.values().map(|slot| slot.state(processes));
        states.all(|state| matches!(state, SlotState::Ready | SlotState::Suspended))
    }

    // ---- the number of slots

    /// Adds slots up to this number, and returns their numbers.
    pub(super) fn add_up_to(&mut self, count: u32) -> Vec<SlotId> {
        let new: Vec<SlotId> = (0..count).map(SlotId).filter(|slot| !self.0.contains_key(slot)).collect();
        self.0.extend(new.iter().map(|slot| (*slot, Slot::empty())));
        new
    }

    /// Removes the slots from this number on, last first, and returns their workers.
    pub(super) fn remove_from(&mut self, count: u32) -> Vec<(SlotId, Vec<WorkerId>)> {
        let removed = self.0.split_off(&SlotId(count)).into_iter().rev();
        removed.map(|(id, slot)| (id, slot.successor.into_iter().chain(slot.holder.ok()).collect())).collect()
    }

    // ---- the processes of a slot

    /// Makes a worker the holder of the slot.
    pub(super) fn fill(&mut self, slot: SlotId, worker: WorkerId) {
        if let Some(slot) = self.0.get_mut(&slot) {
            slot.holder = Ok(worker);
        }
    }

    pub(super) fn set_successor(&mut self, slot: SlotId, worker: WorkerId) {
        if let Some(slot) = self.0.get_mut(&slot) {
            slot.successor = Some(worker);
        }
    }

    /// Called when a start in the slot has failed. `worker`: `None` if no process was forked.
    pub(super) fn start_failed(&mut self, slot: SlotId, worker: Option<WorkerId>) {
        if let Some(slot) = self.0.get_mut(&slot) {
            slot.successor.take_if(|successor| Some(*successor) == worker);
        }
    }

    pub(super) fn take_successor(&mut self, slot: SlotId) -> Option<WorkerId> {
        self.0.get_mut(&slot)?.successor.take()
    }

    /// Called when a worker is ready and serves these keys. A successor becomes the holder, and the
    /// predecessor is returned.
    pub(super) fn make_ready(
        &mut self,
        slot: SlotId,
        worker: WorkerId,
        keys: BTreeSet<HandleKey>,
    ) -> Option<WorkerId> {
        let replaced = self.0.get_mut(&slot)?;
        let successor = replaced.successor.take_if(|successor| *successor == worker);
        let predecessor = successor.and_then(|worker| mem::replace(&mut replaced.holder, Ok(worker)).ok());
        self.set_keys(slot, worker, keys);
        predecessor
    }

    /// Sets the keys that a ready holder serves.
    pub(super) fn set_keys(&mut self, slot: SlotId, worker: WorkerId, keys: BTreeSet<HandleKey>) {
        if let Some(slot) = self.0.get_mut(&slot).filter(|slot| slot.holder == Ok(worker)) {
            slot.keys = keys;
        }
    }

    /// Leaves the slot without a holder. Only a command gives the slot a holder again.
    pub(super) fn suspend(&mut self, slot: SlotId) {
        if let Some(slot) = self.0.get_mut(&slot) {
            slot.holder = Err(Vacancy::Suspended);
        }
    }

    /// Called when the slot has lost its holder. If there is a successor, it becomes the holder. True: the
    /// slot needs a new holder.
    pub(super) fn vacate(&mut self, slot: SlotId, was_ready: bool) -> bool {
        let Some(slot) = self.0.get_mut(&slot) else { return false };
        if !was_ready {
            slot.keys.clear();
        }
        slot.holder = slot.successor.take().ok_or(Vacancy::Suspended);
        slot.holder.is_err()
    }

    /// Lets the slot wait for the next start. Returns the pause, and the number of failures in a row.
    pub(super) fn back_off(&mut self, slot: SlotId, pauses: [Duration; 2]) -> Option<(Duration, u32)> {
        let slot = self.0.get_mut(&slot)?;
        slot.holder = Err(Vacancy::BackingOff);
        slot.restarts += 1;
        Some((slot.backoff.next(pauses), slot.failures()))
    }

    /// Called when the holder was ready for
    /// [`SupervisorSettings::min_uptime`](super::SupervisorSettings::min_uptime). The next restart is then
    /// immediate.
    pub(super) fn stable(&mut self, slot: SlotId) {
        if let Some(slot) = self.0.get_mut(&slot) {
            slot.backoff.reset();
        }
    }

    /// Forgets the failures of a suspended slot, because a reload starts it.
    pub(super) fn forget_failures_of_suspended(&mut self, slot: SlotId) {
        if let Some(slot) = self.0.get_mut(&slot).filter(|slot| slot.holder == Err(Vacancy::Suspended)) {
            slot.backoff.reset();
        }
    }

    /// Suspends the slots that wait for a start, and returns them.
    pub(super) fn suspend_waiting(&mut self) -> Vec<SlotId> {
        let waiting = self.0.iter_mut().filter(|(_, slot)| slot.holder == Err(Vacancy::BackingOff));
        waiting
            .map(|(id, slot)| {
                slot.holder = Err(Vacancy::Suspended);
                *id
            })
            .collect()
    }
}
