//! The slots of the supervised workers, numbered from 0 and stable over restarts. A slot has one holder at most. Starts are
//! decided elsewhere.

use alloc::collections::{BTreeMap, BTreeSet};
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
    /// The failures in a row that determine the next pause.
    pub failures: u32,
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
    pub(super) backoff: Pauses,
    /// The keys that the last ready holder served; empty after a failed start.
    pub(super) keys: BTreeSet<HandleKey>,
}

/// The slots, in order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Slots(BTreeMap<SlotId, Slot>);

impl Slots {
    /// Slots 0 to `count` - 1, without workers.
    pub(super) fn new(count: u32) -> Self {
        let empty =
            Slot { holder: Err(Vacancy::BackingOff), backoff: Pauses::default(), keys: BTreeSet::new() };
        Slots((0..count).map(|slot| (SlotId(slot), empty.clone())).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SlotId, &Slot)> {
        self.0.iter().map(|(id, slot)| (*id, slot))
    }

    pub(super) fn ids(&self) -> alloc::vec::Vec<SlotId> {
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
    pub(super) fn hold_waiting(&mut self) -> alloc::vec::Vec<SlotId> {
        let waiting = self.0.iter_mut().filter(|(_, slot)| slot.holder == Err(Vacancy::BackingOff));
        waiting
            .map(|(id, slot)| {
                slot.holder = Err(Vacancy::Held);
                *id
            })
            .collect()
    }
}
