//! The replacement of workers, slot by slot: successor, readiness, and the exit of the predecessor. An abandoned run leaves the
//! old workers in place.

use super::members::{Departure, Phase};
use super::reload::{RecycleReason, ReloadId};
use super::slots::{Slot, SlotId, Vacancy};
use super::{AbandonReason, Stage, StartFailure, Supervisor, SupervisorEvent};
use crate::os::WorkerId;

impl Supervisor {
    /// Replaces the worker of every slot, [`surge`](super::SupervisorSettings::surge) slots at a time: a successor starts,
    /// and when the successor is ready the old worker is asked to exit. Held slots start as well. A reload during another
    /// follows, and joins one that already waits.
    ///
    /// [`SupervisorEvent::ReloadFinished`] or [`SupervisorEvent::ReloadAbandoned`] follows with the number, unless the
    /// supervisor was shutting down already.
    pub fn reload(&mut self) -> ReloadId {
        self.replacements.request_reload()
    }

    /// Replaces the worker of one slot, as a reload of this slot, or starts the worker of a held slot. Recycles run one
    /// at a time; a worker that was forked after the request is not replaced. `None`: no slot has this number.
    pub fn restart_slot(&mut self, slot: SlotId) -> Option<ReloadId> {
        let last = self.slots.get(slot)?.last_fork();
        Some(self.replacements.request_recycle(slot, last, RecycleReason::Command))
    }

    /// Requests the replacement of a worker that serves, unless the replacement is in progress or has just failed.
    pub(super) fn recycle(&mut self, worker: WorkerId, reason: RecycleReason) {
        let Some(member) = self.members.get(worker) else { return };
        let slot = member.slot;
        if self.serves(worker) && !member.is_retrying && !self.replacements.concerns(slot) {
            let last = self.slots.get(slot).and_then(Slot::last_fork);
            self.replacements.request_recycle(slot, last, reason);
        }
    }

    /// Continues the run in progress. False: no progress.
    pub(super) fn replace(&mut self) -> bool {
        let (slots, replacements) = (&self.slots, &mut self.replacements);
        let holder = |slot| slots.get(slot).map(|slot| slot.holder.ok());
        if let Some((id, scope)) = replacements.begin(|| slots.ids().into_iter().collect(), holder) {
            if scope == super::ReloadScope::All {
                self.intensity.try_again();
            }
            self.events.push_back(SupervisorEvent::ReloadStarted { id, scope });
            return true;
        }
        let replaced = self.replacements.active().find(|slot| self.is_replaced(*slot));
        if let Some(slot) = replaced {
            self.replacements.done(slot);
            return true;
        }
        if let Some((id, scope)) = self.replacements.finish() {
            self.events.push_back(SupervisorEvent::ReloadFinished { id, scope });
            return true;
        }
        let next = self.replacements.waiting().find_map(|slot| Some((slot, self.way(slot)?)));
        let Some((slot, way)) = next else { return false };
        self.replacements.activate(slot);
        match way {
            Way::Start => self.start(slot),
            Way::StartSuccessor => self.start_successor(slot),
            Way::StopFirst(worker) => self.retire(worker),
        }
        true
    }

    /// The slot has a ready worker and no other process.
    fn is_replaced(&self, id: SlotId) -> bool {
        let Some(slot) = self.slots.get(id) else { return true };
        let is_ready = |worker| self.members.get(worker).is_some_and(|member| member.phase == Phase::Ready);
        slot.holder.is_ok_and(is_ready) && self.members.of(id) == 1
    }

    /// The way in which the replacement of a slot can begin now.
    fn way(&self, id: SlotId) -> Option<Way> {
        let holder = match self.slots.get(id)?.holder {
            Ok(worker) => worker,
            Err(Vacancy::BackingOff | Vacancy::Held) => return Some(Way::Start),
        };
        if self.members.get(holder)?.phase != Phase::Ready {
            return None;
        }
        let (all, ready) = (self.slots.len(), self.ready_slots());
        let extra = self.members.len().saturating_sub(self.slots.occupied());
        if extra < self.settings.surge as usize {
            Some(Way::StartSuccessor)
        } else if ready > all.saturating_sub(self.settings.max_unavailable as usize) {
            Some(Way::StopFirst(holder))
        } else {
            None
        }
    }

    /// The slots with a ready worker.
    fn ready_slots(&self) -> usize {
        let is_ready = |worker| self.members.get(worker).is_some_and(|member| member.phase == Phase::Ready);
        self.slots.iter().filter(|(_, slot)| slot.holder.is_ok_and(is_ready)).count()
    }

    fn start_successor(&mut self, id: SlotId) {
        let Some(worker) = self.fork(id) else { return };
        if let Some(slot) = self.slots.get_mut(id) {
            slot.successor = Some(worker);
        }
    }

    /// A ready successor holds the slot; returns the predecessor.
    pub(super) fn promote(&mut self, id: SlotId, worker: WorkerId) -> Option<WorkerId> {
        let slot = self.slots.get_mut(id).filter(|slot| slot.successor == Some(worker))?;
        slot.successor = None;
        core::mem::replace(&mut slot.holder, Ok(worker)).ok()
    }

    /// A process was not ready: the run that has started the process is abandoned.
    pub(super) fn start_failed(&mut self, slot: SlotId, worker: Option<WorkerId>, failure: StartFailure) {
        self.events.push_back(SupervisorEvent::StartFailed { slot, worker, failure: failure.clone() });
        if let Some(held) = self.slots.get_mut(slot)
            && held.successor == worker
        {
            held.successor = None;
        }
        if self.replacements.is_active(slot) {
            self.abandon(AbandonReason::StartFailed { slot, failure });
        }
    }

    /// Ends the run in progress. Successors that are not ready are terminated; old workers serve on.
    pub(super) fn abandon(&mut self, reason: AbandonReason) {
        let Some((id, scope, active)) = self.replacements.abandon() else { return };
        self.events.push_back(SupervisorEvent::ReloadAbandoned { id, scope, reason });
        for slot in active {
            let successor = self.slots.get_mut(slot).and_then(|slot| slot.successor.take());
            if let Some(worker) = successor {
                if let Some(member) = self.members.get_mut(worker) {
                    member.leaves.get_or_insert(Departure::Asked);
                }
                self.primary.supervised().lame_duck(worker);
                self.terminate(worker);
            }
            self.delay_recycle(slot);
        }
    }

    /// A shutdown ends the run in progress and the requested ones.
    pub(super) fn abandon_all(&mut self) {
        self.abandon(AbandonReason::Shutdown);
        while let Some((id, scope)) = self.replacements.drop_request() {
            let reason = AbandonReason::Shutdown;
            self.events.push_back(SupervisorEvent::ReloadAbandoned { id, scope, reason });
        }
    }

    /// Whether the supervisor starts processes.
    pub(super) fn is_running(&self) -> bool {
        self.stage == Stage::Running
    }
}

/// The beginning of a replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The slot has no worker.
    Start,
    StartSuccessor,
    /// [`max_unavailable`](super::SupervisorSettings::max_unavailable) permits a slot without a ready worker.
    StopFirst(WorkerId),
}
