//! What the commands and a service write on the control socket: one line of JSON each.

use serde::{Deserialize, Serialize};

use crate::feed::Record;
use crate::status::Status;
use crate::units::Scale;

/// A command of another process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "command")]
pub(crate) enum Request {
    Status,
    Reload,
    Scale { workers: Scale },
    Restart { slot: u32 },
    Stop,
}

/// One line of an answer. `Done` and `Failed` are the last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reply")]
pub(crate) enum Reply {
    Status(Status),
    /// What happens while the command is carried out.
    Progress {
        record: Record,
    },
    Done,
    Failed {
        error: String,
    },
}
