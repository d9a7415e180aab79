//! The account of supervised processes, for the checks of a supervisor. `supervision` writes the account.

use std::collections::BTreeMap;

use cluster_core::{SlotId, WorkerId};

/// One process, from its spawn to its exit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "reports that arrive in any order")]
pub(crate) struct Life {
    pub(crate) slot: SlotId,
    /// The primary has received the report of a server that listens, or the announcement of a worker that serves tasks.
    pub(crate) listens: bool,
    /// The supervisor has reported the worker ready.
    pub(crate) ready: bool,
    /// The supervisor has reported a failure of the process: late, or hung.
    pub(crate) failed: bool,
    /// The first time of each request to exit, in milliseconds: lame duck, disconnect, SIGTERM, SIGKILL.
    pub(crate) asked: [Option<u64>; 4],
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

/// What the supervisor has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Account {
    pub(crate) lives: BTreeMap<WorkerId, Life>,
    /// The start of the shutdown, in milliseconds.
    pub(crate) shut_down: Option<u64>,
    pub(crate) gave_up: bool,
    pub(crate) finished: bool,
}
