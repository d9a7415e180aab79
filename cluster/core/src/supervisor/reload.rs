//! The order of replacements: reloads of all slots and recycles of one slot, one at a time, slot by slot. The supervisor carries out the
//! steps. An abandoned replacement leaves the old workers in place.

use alloc::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::process::Process;
use super::processes::Processes;
use super::slot_info::SlotId;
use super::slots::{Slot, Slots};
use super::supervisor_settings::SupervisorSettings;
use crate::os::WorkerId;

/// The number of a reload or a recycle, ascending from 1.
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

/// The reason for a recycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each variant documents its fields")]
#[non_exhaustive]
pub enum RecycleReason {
    /// [`Supervisor::restart_slot`](super::Supervisor::restart_slot).
    Command,
    /// The worker is older than [`SupervisorSettings::max_age`](super::SupervisorSettings::max_age).
    Age,
    /// [`Supervisor::report_memory`](super::Supervisor::report_memory) has reported more than
    /// [`SupervisorSettings::max_memory`](super::SupervisorSettings::max_memory).
    Memory {
        /// The reported bytes.
        bytes: u64,
    },
    /// The worker has owned [`SupervisorSettings::max_connections`](super::SupervisorSettings::max_connections).
    Connections { count: u64 },
}

/// A requested recycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Recycle {
    id: ReloadId,
    slot: SlotId,
    /// The last worker forked in the slot before the request. The recycle is obsolete when a later worker holds the
    /// slot.
    last: Option<WorkerId>,
    reason: RecycleReason,
}

/// A reload or a recycle in progress.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Replacement {
    id: ReloadId,
    scope: ReloadScope,
    /// The slots that still have their old workers.
    waiting: BTreeSet<SlotId>,
    /// The slots in replacement.
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

/// The replacement in progress and the requested replacements.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub(super) struct Replacements {
    last: u64,
    current: Option<Replacement>,
    /// A reload that follows the replacement in progress; further requests join.
    next: Option<ReloadId>,
    recycles: VecDeque<Recycle>,
}

impl Replacements {
    fn next_id(&mut self) -> ReloadId {
        self.last += 1;
        ReloadId(self.last)
    }

    /// A reload of all slots. A reload that has not begun is joined.
    pub(super) fn request_reload(&mut self) -> ReloadId {
        if let Some(id) = self.next {
            return id;
        }
        let id = self.next_id();
        self.next = Some(id);
        id
    }

    /// A recycle of one slot with `last` as the last fork. A requested recycle of the slot is joined.
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

    /// Requests the recycle of a ready worker, unless the replacement is in progress or has just failed.
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

    /// Begins a requested reload, else the first recycle.
    fn begin(&mut self, slots: &Slots) -> Option<ReplacementStep> {
        let (id, scope, waiting) = if let Some(id) = self.next.take() {
            (id, ReloadScope::All, slots.ids().collect())
        } else {
            let Recycle { id, slot, last, reason } = self.recycles.pop_front()?;
            // An obsolete recycle finishes without a replacement.
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

    /// The replacement of the slot is in progress.
    pub(super) fn is_active(&self, slot: SlotId) -> bool {
        self.current.as_ref().is_some_and(|current| current.active.contains(&slot))
    }

    /// The replacement in progress includes the slot.
    fn includes(&self, slot: SlotId) -> bool {
        self.is_active(slot) || self.current.as_ref().is_some_and(|current| current.waiting.contains(&slot))
    }

    /// A worker that waited for its replacement has exited; the process that follows is new.
    pub(super) fn restarted(&mut self, slot: SlotId) {
        if let Some(current) = &mut self.current {
            current.waiting.remove(&slot);
        }
    }

    /// The slot was removed.
    pub(super) fn remove(&mut self, slot: SlotId) {
        if let Some(current) = &mut self.current {
            current.waiting.remove(&slot);
            current.active.remove(&slot);
        }
    }

    /// Ends the replacement in progress. Returns the slots in replacement as well.
    pub(super) fn abandon(&mut self) -> Option<(ReloadId, ReloadScope, BTreeSet<SlotId>)> {
        self.current.take().map(|current| (current.id, current.scope, current.active))
    }

    /// Drops the next request.
    pub(super) fn drop_request(&mut self) -> Option<(ReloadId, ReloadScope)> {
        let reload = self.next.take().map(|id| (id, ReloadScope::All));
        reload.or_else(|| {
            let Recycle { id, slot, reason, .. } = self.recycles.pop_front()?;
            Some((id, ReloadScope::Slot { slot, reason }))
        })
    }
}

/// The slot has a ready worker and no other process, or was removed.
fn is_replaced(id: SlotId, slots: &Slots, processes: &Processes) -> bool {
    let Some(slot) = slots.get(id) else { return true };
    slot.holder().is_some_and(|worker| processes.is_ready(worker)) && processes.of(id) == 1
}

/// The step with which the replacement of a slot can begin now.
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
