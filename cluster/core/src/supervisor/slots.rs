//! The slots of the supervised workers, numbered from 0 and stable over restarts. A slot has one holder at most. Starts are
//! decided elsewhere.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;

use super::restart::Pauses;
use crate::message::HandleKey;
use crate::os::WorkerId;

/// The number of a slot. The worker of a slot has the number in its environment, as `CLUSTER_SLOT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub u32);

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The state of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SlotState {
    /// The worker starts.
    Starting,
    /// The worker serves.
    Ready,
    /// The worker gets no connection and answers the requests on open ones.
    Lame,
    /// The worker was asked to disconnect.
    Draining,
    /// The worker was signalled.
    Terminating,
    /// The slot waits for the next start.
    BackingOff,
    /// The slot gets no worker by itself.
    Held,
}

/// A slot, for the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlotInfo {
    /// The number.
    pub slot: SlotId,
    /// The state.
    pub state: SlotState,
    /// The worker that holds the slot.
    pub worker: Option<WorkerId>,
    /// The starting worker that replaces the holder when ready.
    pub successor: Option<WorkerId>,
    /// The failures in a row that determine the next pause.
    pub failures: u32,
    /// The number of connections that `worker` has acknowledged since the start, also those that have ended. Zero without a
    /// worker, and under the shared policy.
    pub owned_connections: u64,
}

/// Why a slot has no holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Vacancy {
    BackingOff,
    Held,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    pub(super) holder: Result<WorkerId, Vacancy>,
    /// A starting process that replaces the holder when ready.
    pub(super) successor: Option<WorkerId>,
    pub(super) backoff: Pauses,
    /// The keys that the last ready holder served; empty after a failed start.
    pub(super) keys: BTreeSet<HandleKey>,
}

/// The slots, in order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Slots(BTreeMap<SlotId, Slot>);

impl Slot {
    fn empty() -> Self {
        Slot {
            holder: Err(Vacancy::BackingOff),
            successor: None,
            backoff: Pauses::default(),
            keys: BTreeSet::new(),
        }
    }

    /// The latest process of the slot: the successor, else the holder.
    pub(super) fn last_fork(&self) -> Option<WorkerId> {
        self.successor.or(self.holder.ok())
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

    /// The slots with a holder.
    pub(super) fn occupied(&self) -> usize {
        self.0.values().filter(|slot| slot.holder.is_ok()).count()
    }

    /// Adds slots up to this number, and returns their numbers.
    pub(super) fn add_up_to(&mut self, count: u32) -> Vec<SlotId> {
        let new: Vec<SlotId> = (0..count).map(SlotId).filter(|slot| !self.0.contains_key(slot)).collect();
        self.0.extend(new.iter().map(|slot| (*slot, Slot::empty())));
        new
    }

    /// Removes the slots from this number on, the last first, and returns their workers.
    pub(super) fn remove_from(&mut self, count: u32) -> Vec<(SlotId, Vec<WorkerId>)> {
        let removed = self.0.split_off(&SlotId(count)).into_iter().rev();
        removed.map(|(id, slot)| (id, slot.successor.into_iter().chain(slot.holder.ok()).collect())).collect()
    }

    pub(super) fn get(&self, slot: SlotId) -> Option<&Slot> {
        self.0.get(&slot)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SlotId, &Slot)> {
        self.0.iter().map(|(id, slot)| (*id, slot))
    }

    pub(super) fn ids(&self) -> Vec<SlotId> {
        self.0.keys().copied().collect()
    }

    pub(super) fn get_mut(&mut self, slot: SlotId) -> Option<&mut Slot> {
        self.0.get_mut(&slot)
    }

    /// The slot, if the worker holds the slot.
    pub(super) fn held_by(&mut self, slot: SlotId, worker: WorkerId) -> Option<&mut Slot> {
        self.0.get_mut(&slot).filter(|slot| slot.holder == Ok(worker))
    }

    /// The slots that wait for a start get none.
    pub(super) fn hold_waiting(&mut self) -> Vec<SlotId> {
        let waiting = self.0.iter_mut().filter(|(_, slot)| slot.holder == Err(Vacancy::BackingOff));
        waiting
            .map(|(id, slot)| {
                slot.holder = Err(Vacancy::Held);
                *id
            })
            .collect()
    }
}
