//! The requests and replies on the control socket, each a line of JSON.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::time::timeout;

use crate::feed::{Record, RecordKind};
use crate::status::Status;
use crate::units::{Scale, Time};

/// A request of a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "command")]
pub(crate) enum Request {
    Status,
    Reload,
    /// Abandon the reload or restart in progress.
    Abandon,
    Scale {
        workers: Scale,
    },
    Restart {
        slot: u32,
    },
    Stop,
    /// Continue with the present file of this command, in the same process.
    Upgrade {
        /// The longest duration of the trial.
        timeout: Time,
    },
    /// Send the recent records, and with `follow` all later records until the client disconnects.
    Records {
        kind: RecordKind,
        /// `None`: the records of every slot.
        slot: Option<u32>,
        follow: bool,
        /// The number of the last record received by the client, before an upgrade; 0: none.
        #[serde(default)]
        after: u64,
    },
}

/// The time between two replies `Alive`, while the service carries out a request.
pub(crate) const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// A line of the answer to a request. `Done` and `Failed` end the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reply")]
pub(crate) enum Reply {
    Status(Status),
    /// The service still carries out the request, and has nothing else to report.
    Alive,
    /// A record: an event during the request, or a requested record.
    Progress {
        record: Record,
        /// The number of a requested record. `None`: an event during the request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<u64>,
    },
    /// The number of lost records: the client reads too slowly.
    Lost {
        records: u64,
    },
    Done,
    Failed {
        error: String,
    },
}

/// How long a client may take to read a reply.
const REPLY_TIME: Duration = Duration::from_mins(1);

/// Sends a reply to a client.
pub(crate) async fn send(writer: &mut OwnedWriteHalf, reply: &Reply) -> io::Result<()> {
    send_encoded(writer, &encode(reply)).await
}

/// Sends encoded replies to a client.
pub(crate) async fn send_encoded(writer: &mut OwnedWriteHalf, replies: &str) -> io::Result<()> {
    timeout(REPLY_TIME, writer.write_all(replies.as_bytes())).await?
}

/// A reply as one line of JSON.
pub(crate) fn encode(reply: &Reply) -> String {
    serde_json::to_string(reply).expect("texts and numbers") + "\n"
}
