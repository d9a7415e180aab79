//! The timers of the distribution, and the action of each that is due.

use super::distribution::Distribution;
use super::peers::Peers;
use super::timer_actions::TimerAction;
use super::{Step, retained_channels, slow_start};
use crate::channel::Channel;
use crate::os::{Call, TimerId};

impl Distribution {
    pub(super) fn set_timer(&mut self, action: TimerAction, after_ms: u64, peers: &mut Peers) {
        let timer = self.timer_actions.set(action);
        peers.steps.call(Call::SetTimer { timer, after_ms });
    }

    /// The number for a timer that the caller sets.
    pub(super) fn next_timer(&mut self) -> TimerId {
        self.timer_actions.next()
    }

    pub(super) fn timer(&mut self, timer: TimerId, peers: &mut Peers) {
        // Without effect if the socket was resumed before.
        if let Some(action) = self.timer_actions.take(timer) {
            self.act(action, peers);
        }
    }

    pub(super) fn act(&mut self, action: TimerAction, peers: &mut Peers) {
        match action {
            TimerAction::Worker(id, worker) => self.next_for(id, worker, peers),
            TimerAction::Warm(id, worker) => {
                slow_start::warm(&mut self.handles, id, worker);
                slow_start::continue_with(&self.handles, &mut self.timer_actions, id, worker, peers);
            }
            TimerAction::RetainedChannel(worker) => {
                retained_channels::close(worker, peers);
            }
            TimerAction::Write(worker) => peers.with_channel(worker.into(), Channel::writable),
            TimerAction::Accept(socket) => peers.steps.own(Step::ResumeAccept(socket)),
        }
    }
}
