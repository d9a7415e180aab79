//! The order of replacements: reloads of all slots and recycles of one slot, one at a time, slot by slot. The
//! supervisor carries out the steps. If a replacement is abandoned, the old workers remain.

use alloc::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::process::Process;
use super::processes::Processes;
use super::slot_info::{RecycleReason, SlotId};
use super::slots::{Slot, Slots};
use super::supervisor_settings::SupervisorSettings;
use crate::os::WorkerId;

/// The number of a reload or a recycle, in ascending order from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReloadId(pub u64);

/// The slots of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each variant documents its fields")]
pub enum ReloadScope {
    /// All slots.
    All,
    /// A recycle: one slot.
    Slot { slot: SlotId, reason: RecycleReason },
}

/// A requested recycle that has not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Recycle {
    id: ReloadId,
    slot: SlotId,
    /// The worker forked last in the slot before the request. If a later worker holds the slot, the recycle
    /// is obsolete.
    last: Option<WorkerId>,
    reason: RecycleReason,
}

/// A reload or a recycle in progress.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Replacement {
    id: ReloadId,
    scope: ReloadScope,
    /// The slots with a replacement that has not begun.
    waiting: BTreeSet<SlotId>,
    /// The slots with a replacement that has begun.
    active: BTreeSet<SlotId>,
}

/// The next action of a replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplacementStep {
    Begin(ReloadId, ReloadScope),
    Finish(ReloadId, ReloadScope),
    /// Start the worker of an empty slot.
    Start(SlotId),
    StartSuccessor(SlotId),
    /// Ask the worker to exit; another worker starts after the exit.
    StopFirst(WorkerId),
}

/// The replacement in progress, and the requested replacements.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub(super) struct Replacements {
    last: u64,
    current: Option<Replacement>,
    /// A reload that follows the replacement in progress. Further requests join it.
    next: Option<ReloadId>,
    recycles: VecDeque<Recycle>,
}

impl Replacements {
    fn next_id(&mut self) -> ReloadId {
        self.last += 1;
        ReloadId(self.last)
    }

    /// Requests a reload of all slots. If a requested reload has not begun, it is joined.
    pub(super) fn request_reload(&mut self) -> ReloadId {
        if let Some(id) = self.next {
            return id;
        }
        let id = self.next_id();
        self.next = Some(id);
        id
    }

    /// Requests a recycle of one slot. `last`: the worker forked last in the slot. If a requested recycle of
    /// the slot has not begun, it is joined.
    pub(super) fn request_recycle(
        &mut self,
        slot: SlotId,
        last: Option<WorkerId>,
        reason: RecycleReason,
    ) -> ReloadId {
        if let Some(recycle) = self.recycles.iter_mut().find(|recycle| recycle.slot == slot) {
            recycle.last = last;
            return recycle.id;
        }
        let id = self.next_id();
        self.recycles.push_back(Recycle { id, slot, last, reason });
        id
    }

    /// Requests the recycle of a ready worker, unless its replacement is in progress or has just failed.
    pub(super) fn recycle(
        &mut self,
        worker: WorkerId,
        reason: RecycleReason,
        slots: &Slots,
        processes: &Processes,
    ) {
        let process = processes.get(worker).filter(|process| process.is_recyclable());
        if let Some(slot) = process.map(Process::slot)
            && !self.includes(slot)
        {
            self.request_recycle(slot, slots.get(slot).and_then(Slot::last_fork), reason);
        }
    }

    /// The next step of the replacement in progress, or of the first requested replacement.
    pub(super) fn next(
        &mut self,
        slots: &Slots,
        processes: &Processes,
        settings: &SupervisorSettings,
    ) -> Option<ReplacementStep> {
        let Some(current) = &mut self.current else { return self.begin(slots) };
        current.active.retain(|slot| !is_replaced(*slot, slots, processes));
        if current.waiting.is_empty() && current.active.is_empty() {
            let Replacement { id, scope, .. } = *current;
            self.current = None;
            return Some(ReplacementStep::Finish(id, scope));
        }
        let step = |slot: &SlotId| Some((*slot, first_step(*slot, slots, processes, settings)?));
        let (slot, step) = current.waiting.iter().find_map(step)?;
        current.waiting.remove(&slot);
        current.active.insert(slot);
        Some(step)
    }

    /// Begins the requested reload if there is one, otherwise the first requested recycle.
    fn begin(&mut self, slots: &Slots) -> Option<ReplacementStep> {
        let (id, scope, waiting) = if let Some(id) = self.next.take() {
            (id, ReloadScope::All, slots.ids().collect())
        } else {
            let Recycle { id, slot, last, reason } = self.recycles.pop_front()?;
            // If the recycle is obsolete, it finishes without a replacement.
            let is_needed = match (slots.get(slot).map(Slot::holder), last) {
                (Some(Some(holder)), Some(last)) => holder <= last,
                (Some(holder), last) => holder == last,
                (None, _) => false,
            };
            (id, ReloadScope::Slot { slot, reason }, is_needed.then_some(slot).into_iter().collect())
        };
        self.current = Some(Replacement { id, scope, waiting, active: BTreeSet::new() });
        Some(ReplacementStep::Begin(id, scope))
    }

    /// The replacement in progress.
    pub(super) fn in_progress(&self) -> Option<ReloadId> {
        self.current.as_ref().map(|current| current.id)
    }

    /// The reason of the requested recycle of a slot, until the recycle begins.
    pub(super) fn requested(&self, slot: SlotId) -> Option<RecycleReason> {
        self.recycles.iter().find(|recycle| recycle.slot == slot).map(|recycle| recycle.reason)
    }

    /// Whether the replacement of the slot has begun and is not finished.
    pub(super) fn is_active(&self, slot: SlotId) -> bool {
        self.current.as_ref().is_some_and(|current| current.active.contains(&slot))
    }

    /// Whether the replacement in progress includes the slot, begun or not.
    fn includes(&self, slot: SlotId) -> bool {
        self.is_active(slot) || self.current.as_ref().is_some_and(|current| current.waiting.contains(&slot))
    }

    /// Called when a worker that waited for the replacement has exited. The process that follows is new, so
    /// the slot needs no replacement.
    pub(super) fn restarted(&mut self, slot: SlotId) {
        if let Some(current) = &mut self.current {
            current.waiting.remove(&slot);
        }
    }

    /// Called when the slot was removed.
    pub(super) fn remove(&mut self, slot: SlotId) {
        if let Some(current) = &mut self.current {
            current.waiting.remove(&slot);
            current.active.remove(&slot);
        }
    }

    /// Ends the replacement in progress. Also returns the slots with a replacement that has begun.
    pub(super) fn abandon(&mut self) -> Option<(ReloadId, ReloadScope, BTreeSet<SlotId>)> {
        self.current.take().map(|current| (current.id, current.scope, current.active))
    }

    /// Drops the next request, and returns it.
    pub(super) fn drop_request(&mut self) -> Option<(ReloadId, ReloadScope)> {
        let reload = self.next.take().map(|id| (id, ReloadScope::All));
        reload.or_else(|| {
            let Recycle { id, slot, reason, .. } = self.recycles.pop_front()?;
            Some((id, ReloadScope::Slot { slot, reason }))
        })
    }
}

/// Whether the replacement of a slot is complete: the slot has a ready worker and no other process, or was
/// removed.
fn is_replaced(id: SlotId, slots: &Slots, processes: &Processes) -> bool {
    let Some(slot) = slots.get(id) else { return true };
    slot.holder().is_some_and(|worker| processes.is_ready(worker)) && processes.of(id) == 1
}

/// The step with which the replacement of a slot can begin now. `None`: it must wait.
fn first_step(
    slot: SlotId,
    slots: &Slots,
    processes: &Processes,
    settings: &SupervisorSettings,
) -> Option<ReplacementStep> {
    let Some(holder) = slots.get(slot)?.holder() else { return Some(ReplacementStep::Start(slot)) };
    if !processes.is_ready(holder) {
        return None;
    }
    let extra = processes.len().saturating_sub(slots.holders().count());
    let ready = slots.holders().filter(|worker| processes.is_ready(*worker)).count();
    if extra < settings.surge as usize {
        Some(ReplacementStep::StartSuccessor(slot))
    } else if ready > slots.len().saturating_sub(settings.max_unavailable as usize) {
        Some(ReplacementStep::StopFirst(holder))
    } else {
        None
    }
}
