//! The account of supervised processes, which the checks of a supervisor read. `supervision` writes the
//! account.

use std::collections::BTreeMap;

use cluster_core::{SlotId, WorkerId};

/// The life of a process, from spawn to exit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "reports that arrive in any order")]
pub(crate) struct Life {
    pub(crate) slot: SlotId,
    /// When the primary received the input that caused the spawn, in milliseconds.
    pub(crate) spawned: u64,
    /// The primary has received the worker's report of a listening server, or the announcement that the
    /// worker serves tasks.
    pub(crate) listens: bool,
    /// The supervisor has reported the worker ready.
    pub(crate) ready: bool,
    /// The supervisor has reported a failure of the process: late, or hung.
    pub(crate) failed: bool,
    /// When each kind of request to exit was first made, in milliseconds: lame duck, disconnect, SIGTERM,
    /// SIGKILL.
    pub(crate) asked: [Option<u64>; 4],
    /// When the primary received the input that took the ready worker out of service. No timer of the exit
    /// starts earlier.
    pub(crate) retired: Option<u64>,
    /// When the primary received the input that caused SIGTERM.
    pub(crate) terminated: Option<u64>,
    pub(crate) over: bool,
    /// The primary has received the end of the channel.
    pub(crate) disconnected: bool,
}

impl Life {
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.iter().any(Option::is_some)
    }

    /// The supervisor has sent a signal.
    pub(crate) fn is_signalled(&self) -> bool {
        self.asked[2].is_some() || self.asked[3].is_some()
    }

    /// Ready, connected, not asked to exit, and not known to have exited.
    pub(crate) fn is_in_service(&self) -> bool {
        self.ready && !self.over && !self.disconnected && !self.is_asked()
    }
}

/// The last input of the primary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Input {
    pub(crate) at: u64,
    /// Whether the input is a timer, and no hook of the program has run since. Then the calls are decisions
    /// of the supervisor, and not commands of the program.
    pub(crate) is_timer: bool,
}

/// The actions of the supervisor so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Account {
    pub(crate) lives: BTreeMap<WorkerId, Life>,
    /// The start of the shutdown, in milliseconds.
    pub(crate) shut_down: Option<u64>,
    /// When the primary received the input that caused the shutdown, in milliseconds.
    pub(crate) shutdown_cause: Option<u64>,
    pub(crate) last_input: Input,
    pub(crate) gave_up: bool,
    pub(crate) finished: bool,
}

impl Account {
    /// Records the ready workers that the supervisor has taken out of service since the last call.
    pub(crate) fn note_retired(&mut self, is_ready: impl Fn(WorkerId) -> bool) {
        let at = self.last_input.at;
        let served = self.lives.iter_mut().filter(|(_, life)| life.ready && !life.over);
        for (_, life) in served.filter(|(worker, life)| life.retired.is_none() && !is_ready(**worker)) {
            life.retired = Some(at);
        }
    }
}
