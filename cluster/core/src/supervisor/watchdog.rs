//! Pings of ready workers: a worker that stops answering hangs, and is killed.

use super::members::{Departure, Phase};
use super::timers::Due;
use super::{Supervisor, SupervisorEvent};
use crate::os::WorkerId;

impl Supervisor {
    /// Sends a ping to a ready worker, and sets the timers of the answer and of the next ping.
    pub(super) fn watch(&mut self, worker: WorkerId) {
        let Some([interval, timeout]) = self.settings.heartbeat else { return };
        if self.serves(worker) {
            let seq = self.primary.supervised().ping(worker);
            self.set_timer(Due::Pong(worker, seq), timeout);
            self.set_timer(Due::Ping(worker), interval);
        }
    }

    /// The time for the answer to a ping has ended. A worker that has never answered any ping is not watched: an unmodified
    /// Node program ignores them.
    pub(super) fn unanswered(&mut self, worker: WorkerId, seq: u64) {
        let is_silent = self.primary.supervised().pong(worker).is_some_and(|(answered, _)| answered < seq);
        if !is_silent {
            return;
        }
        let Some(member) = self.members.get_mut(worker).filter(|member| member.phase == Phase::Ready) else {
            return;
        };
        member.leaves = Some(Departure::Failed);
        let slot = member.slot;
        self.events.push_back(SupervisorEvent::Hung { slot, worker });
        self.primary.supervised().lame_duck(worker);
        self.kill(worker);
    }
}
