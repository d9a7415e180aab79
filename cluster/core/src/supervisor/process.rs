//! One supervised process: its slot, its phase, and the cause of its exit. A timer bounds every phase except `Ready`:
//! the timer of the phase, or the timer of the shutdown. Timers are set elsewhere.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::restart::Pauses;
use super::slot_info::{SlotId, SlotState};

/// The phase of a process, in this order; a process skips phases and never returns to one.
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

/// The cause of an exit. The first cause is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum ExitCause {
    /// The supervisor replaces or ends the process.
    Requested,
    /// The process has failed: the slot needs another process after the exit.
    Failed,
}

/// Whether the program waits for replies of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Work {
    Idle,
    Busy,
    /// Busy, and the disconnect follows the last reply.
    Postponed,
}

/// Whether a process is disconnected now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disconnect {
    Now,
    /// The process is busy. The time of its drain begins.
    Postponed,
    /// The process has exited, was disconnected, or the disconnect is postponed already.
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Process {
    slot: SlotId,
    phase: Phase,
    was_ready: bool,
    /// The reports of servers that listen.
    listening: usize,
    /// `None` until the process is asked to exit or has failed.
    exit_cause: Option<ExitCause>,
    /// The pauses after failed replacements of this process.
    retries: Pauses,
    /// The process is not recycled before the end of the pause.
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

    /// The process has reported a server.
    pub(super) fn has_listened(&self) -> bool {
        self.listening > 0
    }

    /// The process was ready or has reported a server, so it may have connections.
    pub(super) fn may_have_served(&self) -> bool {
        self.was_ready || self.listening > 0
    }

    pub(super) fn exit_cause(&self) -> Option<ExitCause> {
        self.exit_cause
    }

    /// Moves to a later phase. False: the process is in this or a later phase.
    pub(super) fn advance(&mut self, to: Phase) -> bool {
        let is_later = self.phase < to;
        if is_later {
            self.phase = to;
            self.was_ready |= to == Phase::Ready;
        }
        is_later
    }

    /// Counts a report of a server that listens; returns the reports so far.
    pub(super) fn count_server(&mut self) -> usize {
        self.listening += 1;
        self.listening
    }

    /// The supervisor asks the process to exit.
    pub(super) fn request_exit(&mut self) {
        self.exit_cause.get_or_insert(ExitCause::Requested);
    }

    pub(super) fn fail(&mut self) {
        self.exit_cause = Some(ExitCause::Failed);
    }

    /// The process is asked to disconnect, unless the process is busy.
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

    /// Changes whether the process is busy. True: a postponed disconnect follows now.
    pub(super) fn set_busy(&mut self, busy: bool) -> bool {
        let is_postponed = self.work == Work::Postponed;
        if busy && is_postponed {
            return false;
        }
        self.work = if busy { Work::Busy } else { Work::Idle };
        is_postponed
    }

    /// The time of a drain has begun.
    pub(super) fn is_draining(&self) -> bool {
        self.phase == Phase::Draining || self.phase == Phase::Lame && self.work == Work::Postponed
    }

    /// The replacement of the process has failed: returns the pause before another.
    pub(super) fn delay_recycle(&mut self, pauses: [Duration; 2]) -> Duration {
        self.is_retrying = true;
        self.retries.next_after_first(pauses)
    }

    /// The pause after a failed replacement has ended.
    pub(super) fn permit_recycle(&mut self) {
        self.is_retrying = false;
    }

    /// The process serves, and no pause after a failed replacement is in progress.
    pub(super) fn is_recyclable(&self) -> bool {
        self.phase == Phase::Ready && !self.is_retrying
    }
}
