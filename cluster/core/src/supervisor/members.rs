//! The supervised processes: each has a slot and one phase. Every phase except `Ready` is bounded by a timer: its own, or that of the shutdown.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::restart::Pauses;
use super::slots::{SlotId, SlotState};
use crate::os::WorkerId;

/// The phase of a process, in this order; a process skips phases and never returns to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// The cause of an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Departure {
    /// The supervisor replaces or ends the process.
    Asked,
    /// The process has failed: the slot needs another process after the exit.
    Failed,
}

/// Whether the program waits for replies of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Work {
    Idle,
    Busy,
    /// Busy, and the disconnect follows the last reply.
    Postponed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Member {
    pub(super) slot: SlotId,
    pub(super) phase: Phase,
    /// The worker was ready.
    pub(super) was_ready: bool,
    /// The reports of servers that listen.
    pub(super) listening: usize,
    /// `None` until the process is asked or has failed.
    pub(super) leaves: Option<Departure>,
    /// The pauses after failed replacements of this process.
    pub(super) retries: Pauses,
    /// The process is not recycled before the end of the pause.
    pub(super) is_retrying: bool,
    pub(super) work: Work,
}

impl Member {
    /// The time of a drain has begun.
    pub(super) fn is_draining(&self) -> bool {
        self.phase == Phase::Draining || self.phase == Phase::Lame && self.work == Work::Postponed
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Members(BTreeMap<WorkerId, Member>);

impl Members {
    pub(super) fn start(&mut self, worker: WorkerId, slot: SlotId) {
        self.0.insert(
            worker,
            Member {
                slot,
                phase: Phase::Starting,
                was_ready: false,
                listening: 0,
                leaves: None,
                retries: Pauses::default(),
                is_retrying: false,
                work: Work::Idle,
            },
        );
    }

    pub(super) fn get(&self, worker: WorkerId) -> Option<Member> {
        self.0.get(&worker).copied()
    }

    pub(super) fn get_mut(&mut self, worker: WorkerId) -> Option<&mut Member> {
        self.0.get_mut(&worker)
    }

    pub(super) fn remove(&mut self, worker: WorkerId) -> Option<Member> {
        self.0.remove(&worker)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The number of processes of a slot.
    pub(super) fn of(&self, slot: SlotId) -> usize {
        self.0.values().filter(|member| member.slot == slot).count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The processes in a phase before this one, in order of fork.
    pub(super) fn before(&self, phase: Phase) -> Vec<WorkerId> {
        self.0.iter().filter(|(_, member)| member.phase < phase).map(|(worker, _)| *worker).collect()
    }

    /// Moves a process to a later phase. False: the process has exited, or is in this phase or a later one.
    pub(super) fn advance(&mut self, worker: WorkerId, to: Phase) -> bool {
        let Some(member) = self.0.get_mut(&worker).filter(|member| member.phase < to) else { return false };
        member.phase = to;
        true
    }
}
