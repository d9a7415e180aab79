//! The order of replacements: reloads of all slots and recycles of one slot, one run at a time. Processes are started and
//! ended elsewhere.

use alloc::collections::{BTreeSet, VecDeque};

use super::slots::SlotId;
use crate::os::WorkerId;

/// The number of a reload or a recycle, ascending from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReloadId(pub u64);

/// The slots of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant documents its fields")]
pub enum ReloadScope {
    /// All slots.
    All,
    /// A recycle: one slot.
    Slot { slot: SlotId, reason: RecycleReason },
}

/// The reason for a recycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Recycle {
    id: ReloadId,
    slot: SlotId,
    /// The last worker forked in the slot before the request. The recycle is obsolete when a later one holds the slot.
    last: Option<WorkerId>,
    reason: RecycleReason,
}

/// A reload or a recycle in progress.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Run {
    id: ReloadId,
    scope: ReloadScope,
    /// The slots that still have their old workers.
    waiting: BTreeSet<SlotId>,
    /// The slots in replacement.
    active: BTreeSet<SlotId>,
}

/// The run in progress and the requested ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Replacements {
    last: u64,
    run: Option<Run>,
    /// A reload that follows the run in progress; further requests join.
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

    /// Begins the next run if none is in progress: a reload, else the first recycle. `holder` has the worker of a slot;
    /// `None`: the slot was removed.
    pub(super) fn begin(
        &mut self,
        all: impl FnOnce() -> BTreeSet<SlotId>,
        holder: impl Fn(SlotId) -> Option<Option<WorkerId>>,
    ) -> Option<(ReloadId, ReloadScope)> {
        if self.run.is_some() {
            return None;
        }
        let (id, scope, waiting) = if let Some(id) = self.next.take() {
            (id, ReloadScope::All, all())
        } else {
            let recycle = self.recycles.pop_front()?;
            let Recycle { id, slot, last, reason } = recycle;
            // An obsolete recycle finishes without a replacement.
            let is_needed = match (holder(slot), last) {
                (Some(Some(holder)), Some(last)) => holder <= last,
                (Some(holder), last) => holder == last,
                (None, _) => false,
            };
            let waiting = is_needed.then_some(slot).into_iter().collect();
            (id, ReloadScope::Slot { slot, reason }, waiting)
        };
        self.run = Some(Run { id, scope, waiting, active: BTreeSet::new() });
        Some((id, scope))
    }

    /// The slots that wait for their replacement, in order.
    pub(super) fn waiting(&self) -> impl Iterator<Item = SlotId> {
        self.run.iter().flat_map(|run| run.waiting.iter().copied())
    }

    /// The slots in replacement, in order.
    pub(super) fn active(&self) -> impl Iterator<Item = SlotId> {
        self.run.iter().flat_map(|run| run.active.iter().copied())
    }

    pub(super) fn is_active(&self, slot: SlotId) -> bool {
        self.run.as_ref().is_some_and(|run| run.active.contains(&slot))
    }

    /// The run in progress replaces the slot.
    pub(super) fn concerns(&self, slot: SlotId) -> bool {
        self.run.as_ref().is_some_and(|run| run.waiting.contains(&slot) || run.active.contains(&slot))
    }

    /// The replacement of a slot begins.
    pub(super) fn activate(&mut self, slot: SlotId) {
        if let Some(run) = &mut self.run
            && run.waiting.remove(&slot)
        {
            run.active.insert(slot);
        }
    }

    /// A worker that waited for its replacement has exited; the process that follows is new.
    pub(super) fn restarted(&mut self, slot: SlotId) {
        if let Some(run) = &mut self.run {
            run.waiting.remove(&slot);
        }
    }

    /// The slot is replaced, or was removed.
    pub(super) fn done(&mut self, slot: SlotId) {
        if let Some(run) = &mut self.run {
            run.waiting.remove(&slot);
            run.active.remove(&slot);
        }
    }

    /// Ends the run if no slot is left.
    pub(super) fn finish(&mut self) -> Option<(ReloadId, ReloadScope)> {
        let run = self.run.take_if(|run| run.waiting.is_empty() && run.active.is_empty())?;
        Some((run.id, run.scope))
    }

    /// Ends the run. Returns the slots in replacement as well.
    pub(super) fn abandon(&mut self) -> Option<(ReloadId, ReloadScope, BTreeSet<SlotId>)> {
        self.run.take().map(|run| (run.id, run.scope, run.active))
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
