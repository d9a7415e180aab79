//! One supervised process: its slot, its phase, and the cause of the exit. Every phase except `Ready` is
//! bounded by a timer: by its own, or by that of the shutdown. Timers are set elsewhere.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::restart::Pauses;
use super::slot_info::{SlotId, SlotState};

/// The phase of a process, in this order. A process may skip phases, and never returns to an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Phase {
    Starting,
    Ready,
    Lame,
    Draining,
    Terminating,
    Killed,
}

impl From<Phase> for SlotState {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Starting => SlotState::Starting,
            Phase::Ready => SlotState::Ready,
            Phase::Lame => SlotState::Lame,
            Phase::Draining => SlotState::Draining,
            Phase::Terminating | Phase::Killed => SlotState::Terminating,
        }
    }
}

/// The cause of an exit. Once set, a cause does not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum ExitCause {
    /// The supervisor replaces or ends the process.
    Requested,
    /// The process has failed, so the slot needs another process after the exit.
    Failed,
}

/// Whether the program waits for replies of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Work {
    Idle,
    Busy,
    /// The program waits for a reply, and the disconnect follows the last reply.
    Postponed,
}

/// The result of a request to disconnect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disconnect {
    Now,
    /// The process is busy. Its time to drain begins now.
    Postponed,
    /// The process has exited, or was asked before.
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Process {
    slot: SlotId,
    phase: Phase,
    was_ready: bool,
    /// The number of reports of servers that listen.
    listening: usize,
    /// The cause. `None`: the process was not asked to exit, and has not failed.
    exit_cause: Option<ExitCause>,
    /// The pauses after failed replacements of this process.
    retries: Pauses,
    /// Whether a pause after a failed replacement is in progress. During the pause, the process is not
    /// recycled.
    is_retrying: bool,
    work: Work,
}

impl Process {
    pub(super) fn starting(slot: SlotId) -> Self {
        Process {
            slot,
            phase: Phase::Starting,
            was_ready: false,
            listening: 0,
            exit_cause: None,
            retries: Pauses::default(),
            is_retrying: false,
            work: Work::Idle,
        }
    }

    pub(super) fn slot(&self) -> SlotId {
        self.slot
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn was_ready(&self) -> bool {
        self.was_ready
    }

    /// Whether the process has reported a server.
    pub(super) fn has_listened(&self) -> bool {
        self.listening > 0
    }

    /// Whether the process may have connections, because it was ready or has reported a server.
    pub(super) fn may_have_served(&self) -> bool {
        self.was_ready || self.listening > 0
    }

    pub(super) fn exit_cause(&self) -> Option<ExitCause> {
        self.exit_cause
    }

    /// Moves to a later phase. False: the process is in this phase or a later one.
    pub(super) fn advance(&mut self, to: Phase) -> bool {
        let is_later = self.phase < to;
        if is_later {
            self.phase = to;
            self.was_ready |= to == Phase::Ready;
        }
        is_later
    }

    /// Counts a report of a server that listens. Returns the number of reports so far.
    pub(super) fn count_server(&mut self) -> usize {
        self.listening += 1;
        self.listening
    }

    /// Records the supervisor's request to exit.
    pub(super) fn request_exit(&mut self) {
        self.exit_cause.get_or_insert(ExitCause::Requested);
    }

    pub(super) fn fail(&mut self) {
        self.exit_cause = Some(ExitCause::Failed);
    }

    /// Disconnects the process, or postpones the disconnect while the process is busy.
    pub(super) fn disconnect(&mut self) -> Disconnect {
        if self.phase >= Phase::Draining {
            return Disconnect::Never;
        }
        match self.work {
            Work::Idle => {
                self.phase = Phase::Draining;
                Disconnect::Now
            }
            Work::Busy => {
                self.work = Work::Postponed;
                Disconnect::Postponed
            }
            Work::Postponed => Disconnect::Never,
        }
    }

    /// Sets whether the process is busy. True: a postponed disconnect follows now.
    pub(super) fn set_busy(&mut self, busy: bool) -> bool {
        let is_postponed = self.work == Work::Postponed;
        if busy && is_postponed {
            return false;
        }
        self.work = if busy { Work::Busy } else { Work::Idle };
        is_postponed
    }

    /// Whether the time to drain has begun.
    pub(super) fn is_draining(&self) -> bool {
        self.phase == Phase::Draining || self.phase == Phase::Lame && self.work == Work::Postponed
    }

    /// Called when the replacement of the process has failed. Returns the pause before another attempt.
    pub(super) fn delay_recycle(&mut self, pauses: [Duration; 2]) -> Duration {
        self.is_retrying = true;
        self.retries.next_after_first(pauses)
    }

    /// Called when the pause after a failed replacement has ended.
    pub(super) fn permit_recycle(&mut self) {
        self.is_retrying = false;
    }

    /// Whether the process serves, and no pause after a failed replacement is in progress.
    pub(super) fn is_recyclable(&self) -> bool {
        self.phase == Phase::Ready && !self.is_retrying
    }
}
