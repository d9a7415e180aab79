//! The number of slots: further slots get the next numbers, and the slots with the highest numbers are removed first.

use alloc::collections::BTreeSet;

use super::members::Phase;
use super::slots::SlotState;
use super::{SettingsError, Supervisor, SupervisorEvent};
use crate::os::WorkerId;

/// A change of the number of slots, until every process has followed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Scaling {
    is_changing: bool,
    /// The workers of removed slots.
    removed: BTreeSet<WorkerId>,
}

impl Supervisor {
    /// Changes the number of slots. Workers of removed slots are asked to exit, those with the highest numbers;
    /// [`SupervisorEvent::Scaled`] follows when they have exited and every slot is ready or held. No effect during a
    /// shutdown.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] if the number contradicts the settings, is 0, or is above 65,536.
    pub fn scale(&mut self, workers: u32) -> Result<(), SettingsError> {
        self.settings.check_workers(workers)?;
        if !self.is_running() {
            return Ok(());
        }
        self.scaling.is_changing = true;
        for slot in self.slots.remove_from(workers) {
            self.replacements.done(slot.0);
            for worker in slot.1 {
                self.scaling.removed.insert(worker);
                self.retire(worker);
            }
        }
        for slot in self.slots.add_up_to(workers) {
            self.start(slot);
        }
        Ok(())
    }

    /// Reports a change that is complete. False: no progress.
    pub(super) fn scaled(&mut self) -> bool {
        if !self.scaling.is_changing {
            return false;
        }
        self.scaling.removed.retain(|worker| self.members.get(*worker).is_some());
        let is_settled = |state| matches!(state, SlotState::Ready | SlotState::Held);
        if !self.scaling.removed.is_empty() || !self.slots().all(|slot| is_settled(slot.state)) {
            return false;
        }
        self.scaling.is_changing = false;
        let workers = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.events.push_back(SupervisorEvent::Scaled { workers });
        true
    }

    /// Whether a worker serves: ready, and in a slot.
    pub(super) fn serves(&self, worker: WorkerId) -> bool {
        self.members.get(worker).is_some_and(|member| {
            member.phase == Phase::Ready
                && self.slots.get(member.slot).is_some_and(|slot| slot.holder == Ok(worker))
        })
    }
}
