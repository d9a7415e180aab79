//! The pending timers of a primary, and the action of each.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::counters::Counter;
use crate::os::{HandleId, SocketId, TimerId, WorkerId};

/// The action of a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum TimerAction {
    Worker(HandleId, WorkerId),
    Accept(SocketId),
    Write(WorkerId),
    /// The next step of the slow start of a worker.
    Warm(HandleId, WorkerId),
    /// The wait for the channel of an exited worker ends.
    RetainedChannel(WorkerId),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub(super) struct TimerActions {
    last: Counter,
    actions: BTreeMap<TimerId, TimerAction>,
}

impl TimerActions {
    #[cfg(feature = "testing")]
    pub(super) fn count_after(&mut self, last: u64) {
        self.last.count_after(last);
    }

    /// Whether later timers will have greater ids.
    pub(super) fn is_ahead_of(&self, timer: Option<TimerId>) -> bool {
        timer.is_none_or(|timer| timer.0 <= self.last.last())
    }

    pub(super) fn last_pending(&self) -> Option<TimerId> {
        self.actions.last_key_value().map(|(timer, _)| *timer)
    }

    pub(super) fn set(&mut self, action: TimerAction) -> TimerId {
        let timer = self.next();
        self.actions.insert(timer, action);
        timer
    }

    pub(super) fn next(&mut self) -> TimerId {
        TimerId(self.last.next())
    }

    pub(super) fn is_pending(&self, action: TimerAction) -> bool {
        self.actions.values().any(|pending| *pending == action)
    }

    pub(super) fn take(&mut self, timer: TimerId) -> Option<TimerAction> {
        self.actions.remove(&timer)
    }

    /// Removes the actions that end pauses of sockets, in order of the timers.
    pub(super) fn take_accepts(&mut self) -> Vec<TimerAction> {
        let is_accept = |_: &TimerId, action: &mut TimerAction| matches!(action, TimerAction::Accept(_));
        self.actions.extract_if(.., is_accept).map(|(_, action)| action).collect()
    }
}
