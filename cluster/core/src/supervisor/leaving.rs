//! The phases of a requested exit: lame duck, disconnect, SIGTERM, SIGKILL. A timer ends each phase.

use core::time::Duration;

use super::members::{Departure, Member, Phase};
use super::timers::Due;
use super::{Stage, Supervisor, SupervisorEvent};
use crate::os::{ExitStatus, Signal, WorkerId};

/// The time between the question for open connections and the end of a drain.
const REPORT: Duration = Duration::from_secs(1);

/// The moment to ask for open connections, within a time that ends with a signal.
pub(super) fn report_after(time: Duration) -> Duration {
    time.saturating_sub(REPORT).max(time / 2)
}

impl Supervisor {
    /// Asks a worker to exit.
    pub(super) fn retire(&mut self, worker: WorkerId) {
        let Some(member) = self.members.get_mut(worker).filter(|member| member.phase < Phase::Lame) else {
            return;
        };
        member.leaves.get_or_insert(Departure::Asked);
        self.members.advance(worker, Phase::Lame);
        let serves = !self.primary.supervised().keys_of(worker).is_empty();
        self.primary.supervised().lame_duck(worker);
        if serves && !self.settings.lame_duck.is_zero() {
            self.set_timer(Due::Lame(worker), self.settings.lame_duck);
        } else {
            self.disconnect(worker);
        }
    }

    /// The time of a lame duck has ended.
    pub(super) fn disconnect(&mut self, worker: WorkerId) {
        if self.postpone(worker) || !self.members.advance(worker, Phase::Draining) {
            return;
        }
        self.primary.supervised().ping(worker);
        self.primary.disconnect_worker(worker);
        // A shutdown has one deadline for all.
        if self.stage == Stage::Running {
            self.set_timer(Due::Report(Some(worker)), report_after(self.settings.drain));
            self.set_timer(Due::Drain(worker), self.settings.drain);
        }
    }

    /// Asks a worker, or all that leave, for open connections before a signal.
    pub(super) fn ask(&mut self, worker: Option<WorkerId>) {
        let workers = worker.map_or_else(|| self.members.before(Phase::Terminating), |one| [one].into());
        for worker in workers {
            self.primary.supervised().ping(worker);
        }
    }

    pub(super) fn drained_too_long(&mut self, worker: WorkerId) {
        if self.members.get(worker).is_some_and(|member| member.is_draining()) {
            self.terminate(worker);
        }
    }

    pub(super) fn terminate(&mut self, worker: WorkerId) {
        if self.members.advance(worker, Phase::Terminating) {
            self.primary.kill(worker, Signal::SIGTERM);
            self.set_timer(Due::Term(worker), self.settings.term);
        }
    }

    /// Asks a worker to exit by SIGTERM, without a drain.
    pub(super) fn end_now(&mut self, worker: WorkerId) {
        if let Some(member) = self.members.get_mut(worker) {
            member.leaves.get_or_insert(Departure::Asked);
        }
        self.terminate(worker);
    }

    pub(super) fn kill(&mut self, worker: WorkerId) {
        if self.members.advance(worker, Phase::Killed) {
            self.primary.kill(worker, Signal::SIGKILL);
            self.set_timer(Due::Kill(worker), self.settings.term);
        }
    }

    /// The process has not exited after SIGKILL: the slot does not wait.
    pub(super) fn stuck(&mut self, worker: WorkerId) {
        let Some(member) = self.members.remove(worker) else { return };
        let slot = member.slot;
        self.events.push_back(SupervisorEvent::Stuck { slot, worker });
        if self.slots.held_by(slot, worker).is_some() {
            self.lost(slot, member.was_ready, None);
        }
    }

    /// Reports the exit of a worker that was asked to exit.
    pub(super) fn report_end(&mut self, worker: WorkerId, member: Member, status: ExitStatus) {
        let slot = member.slot;
        if member.leaves != Some(Departure::Asked) {
            return;
        }
        self.events.push_back(if member.phase <= Phase::Draining && status == ExitStatus::Code(0) {
            SupervisorEvent::Drained { slot, worker }
        } else {
            let connections = self.primary.supervised().pong(worker).map(|(_, connections)| connections);
            SupervisorEvent::Cut { slot, worker, connections }
        });
    }
}
