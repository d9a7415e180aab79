//! Workers with tasks: a worker that leaves is disconnected when its tasks have ended, or after the time of a drain.

use super::members::{Departure, Phase, Work};
use super::timers::Due;
use super::{Stage, Supervisor};
use crate::os::WorkerId;

impl Supervisor {
    /// Whether a worker is ready and holds its slot: neither starting, nor asked to exit, nor disconnected.
    pub fn is_ready(&self, worker: WorkerId) -> bool {
        self.serves(worker)
    }

    /// Whether the program waits for replies of a worker. A busy worker that is asked to exit is disconnected when it is no longer
    /// busy; [`drain`](super::SupervisorSettings::drain), or the time of a shutdown, bounds the wait.
    pub fn set_busy(&mut self, worker: WorkerId, busy: bool) {
        let Some(member) = self.members.get_mut(worker) else { return };
        match (member.work, busy) {
            (Work::Idle, true) => member.work = Work::Busy,
            (Work::Busy, false) => member.work = Work::Idle,
            (Work::Postponed, false) => {
                member.work = Work::Idle;
                self.disconnect(worker);
            }
            (Work::Idle, false) | (Work::Busy | Work::Postponed, true) => {}
        }
    }

    /// Kills a worker, and replaces it like one that was asked to exit: the exit does not count as a restart.
    pub fn kill_worker(&mut self, worker: WorkerId) {
        let Some(member) = self.members.get_mut(worker) else { return };
        member.leaves.get_or_insert(Departure::Asked);
        self.primary.supervised().lame_duck(worker);
        self.kill(worker);
    }

    /// Whether the disconnect of a worker is postponed. The time of its drain begins.
    pub(super) fn postpone(&mut self, worker: WorkerId) -> bool {
        let Some(member) = self.members.get_mut(worker) else { return false };
        if member.work == Work::Idle || member.phase >= Phase::Draining {
            return false;
        }
        if core::mem::replace(&mut member.work, Work::Postponed) == Work::Busy && self.stage == Stage::Running
        {
            self.set_timer(Due::Drain(worker), self.settings.drain);
        }
        true
    }
}
