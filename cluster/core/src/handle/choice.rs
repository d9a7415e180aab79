//! The rules that choose the worker of the first queued connection, each in a file of its own.

use serde::{Deserialize, Serialize};

use super::places::Places;
use super::round_robin;
use crate::os::WorkerId;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Choice {
    RoundRobin,
}

impl Choice {
    /// The worker of the next connection. `None`: no worker is ready.
    pub(super) fn choose(&mut self, places: &Places) -> Option<WorkerId> {
        match self {
            Choice::RoundRobin => round_robin::choose(places),
        }
    }
}
