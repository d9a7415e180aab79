//! The messages of commands and services on the control socket: one line of JSON each.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::feed::Record;
use crate::status::Status;
use crate::units::{Scale, Time};

/// A command of another process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "command")]
pub(crate) enum Request {
    Status,
    Reload,
    Scale {
        workers: Scale,
    },
    Restart {
        slot: u32,
    },
    Stop,
    /// Continue with the present file of the command.
    Upgrade {
        /// The longest time of the trial.
        timeout: Time,
    },
    /// The recent records, and with `follow` all later records until the client disconnects.
    Records {
        kind: RecordKind,
        /// `None`: of every slot.
        slot: Option<u32>,
        follow: bool,
        /// The number of the last record that the client has received before an upgrade.
        #[serde(default)]
        after: u64,
    },
}

/// A kind of [`Record`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RecordKind {
    Event,
    Output,
}

/// The time between two signs of life of a service at work.
pub(crate) const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// One line of an answer. `Done` and `Failed` are the last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reply")]
pub(crate) enum Reply {
    Status(Status),
    /// The service carries out the request, and has nothing to report.
    Alive,
    /// A record: an event of the command, or a record of the requested kind.
    Progress {
        record: Record,
        /// The number of a requested record.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<u64>,
    },
    /// The client was too slow for this number of records.
    Lost {
        records: u64,
    },
    Done,
    Failed {
        error: String,
    },
}
