//! The state of one worker in the primary: for the program, and beside the channel. The primary updates both.

use serde::{Deserialize, Serialize};

use crate::channel::Channel;
use crate::handle::policy::Seat;
use crate::message::Supervision;
use crate::spawn_options::{ProcessGroup, SpawnOptions};

/// The last change of a worker's state. Node: `worker.state`. The connection and the process are separate: see
/// [`WorkerInfo`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WorkerState {
    /// Forked; no message has arrived.
    None,
    /// The process runs.
    Online,
    /// A server listens.
    Listening,
    /// The channel is closed.
    Disconnected,
    /// The process has exited.
    Dead,
}

/// The state of one worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "facts that change independently")]
pub struct WorkerInfo {
    pub(super) state: WorkerState,
    pub(super) exited_after_disconnect: Option<bool>,
    pub(super) connected: bool,
    pub(super) dead: bool,
    pub(super) listed: bool,
    pub(super) lame_duck: bool,
    pub(super) acknowledged: u64,
    /// The last answer to a supervisor: the number of the question, and the open connections.
    pub(crate) pong: Option<(u64, u64)>,
    pub(super) pid: Option<u32>,
}

impl WorkerInfo {
    pub(super) fn new() -> Self {
        WorkerInfo {
            state: WorkerState::None,
            exited_after_disconnect: None,
            connected: true,
            dead: false,
            listed: true,
            lame_duck: false,
            acknowledged: 0,
            pong: None,
            pid: None,
        }
    }

    /// At the first of exit and disconnect, a worker that was not asked to exit counts as exiting by itself.
    pub(super) fn settle_exit_intent(&mut self) {
        self.exited_after_disconnect.get_or_insert(false);
    }

    /// The last change of state. Node: `worker.state`.
    pub fn state(&self) -> WorkerState {
        self.state
    }

    /// The worker was asked to exit. `None` until settled: by the request, by the worker's own report, or at the
    /// latest right before the worker's first [`Disconnect`](crate::Event::Disconnect) or
    /// [`Exit`](crate::Event::Exit). Node: `worker.exitedAfterDisconnect`.
    pub fn exited_after_disconnect(&self) -> Option<bool> {
        self.exited_after_disconnect
    }

    /// Messages can be sent. Node: `worker.isConnected()`.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// The process has exited, or could not be started. Node: `worker.isDead()`.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// The worker is in the primary's list. Node: the worker is in `cluster.workers`. A worker that is asked to
    /// disconnect is removed at once; any other worker is removed once disconnected and dead.
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    /// A supervisor has made the worker a lame duck: the worker receives no further connection.
    pub fn is_lame_duck(&self) -> bool {
        self.lame_duck
    }

    /// The number of connections that the worker has acknowledged since the start, also those that have ended. Zero under the
    /// shared policy, where workers accept by themselves.
    pub fn acknowledged_connections(&self) -> u64 {
        self.acknowledged
    }

    /// The open connections, as the worker reported last to a supervisor. `None`: the worker has not answered a ping.
    pub fn open_connections(&self) -> Option<u64> {
        self.pong.map(|(_, connections)| connections)
    }

    /// The process id, once started. Node: `worker.process.pid`.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct WorkerEntry {
    pub(super) info: WorkerInfo,
    pub(super) channel: Channel,
    /// The options of the process, until it has started or failed to.
    pub(super) starting: Option<SpawnOptions>,
    /// The process leads a group of its own.
    pub(super) has_group: bool,
    pub(super) seat: Seat,
}

impl WorkerEntry {
    pub(super) fn new(channel: Channel, starting: SpawnOptions, seat: Seat) -> Self {
        WorkerEntry {
            info: WorkerInfo::new(),
            channel,
            has_group: starting.process_group.unwrap_or_default() != ProcessGroup::Inherited,
            starting: Some(starting),
            seat,
        }
    }

    /// The worker was asked to exit, or a supervisor has made the worker a lame duck.
    pub(super) fn is_retired(&self) -> bool {
        self.info.exited_after_disconnect == Some(true) || self.info.lame_duck
    }

    pub(super) fn supervised(&mut self, answer: &Supervision) {
        match *answer {
            Supervision::Pong { seq, connections } => self.info.pong = Some((seq, connections)),
            // Messages of a primary; ignored from a worker.
            Supervision::LameDuck | Supervision::Ping { .. } => {}
        }
    }
}
