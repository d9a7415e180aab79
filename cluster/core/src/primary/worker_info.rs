//! The state of one worker in the primary: the part that the program can read, and the rest. The primary
//! updates both.

use serde::{Deserialize, Serialize};

use crate::channel::Channel;
use crate::handle::policy::Seat;
use crate::message::Supervision;
use crate::spawn_options::{ProcessGroup, SpawnOptions};

/// The last change of a worker's state. Node: `worker.state`. Whether the channel is connected and the
/// process runs is separate: see [`WorkerInfo`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WorkerState {
    /// The worker was forked, and has sent no message.
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
    /// The number of the last question of a supervisor that the worker has answered.
    #[serde(rename = "pong")]
    pub(crate) answered_ping: Option<u64>,
    /// The number of open connections in the last report.
    open: Option<u64>,
    /// The number of connections acknowledged since the last report.
    unreported: u64,
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
            answered_ping: None,
            open: None,
            unreported: 0,
            pid: None,
        }
    }

    /// Called at the exit or at the disconnect, at the earlier of the two: if the worker was not asked to
    /// exit, its exit was not requested.
    pub(super) fn settle_exit_intent(&mut self) {
        self.exited_after_disconnect.get_or_insert(false);
    }

    /// The last change of state. Node: `worker.state`.
    pub fn state(&self) -> WorkerState {
        self.state
    }

    /// Whether the worker was asked to exit. `None`: not known yet. Known from the request or the worker's
    /// own report on, at the latest right before the worker's first [`Disconnect`](crate::Event::Disconnect)
    /// or [`Exit`](crate::Event::Exit). Node: `worker.exitedAfterDisconnect`.
    pub fn exited_after_disconnect(&self) -> Option<bool> {
        self.exited_after_disconnect
    }

    /// Whether messages can be sent. Node: `worker.isConnected()`.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether the process has exited, or could not be started. Node: `worker.isDead()`.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// Whether the worker is in the primary's list. Node: whether the worker is in `cluster.workers`. A
    /// worker asked to disconnect is removed from the list at once, any other worker when both its channel
    /// and the process have ended.
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    /// Whether a supervisor has made the worker a lame duck, which receives no further connection.
    pub fn is_lame_duck(&self) -> bool {
        self.lame_duck
    }

    /// The number of connections acknowledged by the worker since its start, including connections that have
    /// ended. Zero under the shared policy, where workers accept by themselves.
    pub fn acknowledged_connections(&self) -> u64 {
        self.acknowledged
    }

    /// The number of open connections in the worker's last report: in an answer to a ping of a supervisor, or
    /// for a policy that compares workers. `None`: the worker has not reported a number.
    pub fn open_connections(&self) -> Option<u64> {
        self.open
    }

    /// The number of open connections for a policy: the last report, and the connections acknowledged since.
    pub(super) fn load(&self) -> Option<u64> {
        self.open.map(|open| open.saturating_add(self.unreported))
    }

    /// Records the answer for a connection, with the report in the answer, if any.
    pub(super) fn answered(&mut self, accepted: bool, open: Option<u64>) {
        self.acknowledged += u64::from(accepted);
        self.unreported += u64::from(accepted);
        if let Some(open) = open {
            self.report(open);
        }
    }

    fn report(&mut self, open: u64) {
        self.open = Some(open);
        self.unreported = 0;
    }

    /// The process id, when the process has started. Node: `worker.process.pid`.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct WorkerEntry {
    pub(super) info: WorkerInfo,
    pub(super) channel: Channel,
    /// The options of the process, until the process has started or has failed to start.
    pub(super) starting: Option<SpawnOptions>,
    /// Whether the process leads its own process group.
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

    /// Whether the worker was asked to exit, or a supervisor has made the worker a lame duck.
    pub(super) fn is_retired(&self) -> bool {
        self.info.exited_after_disconnect == Some(true) || self.info.lame_duck
    }

    pub(super) fn supervised(&mut self, answer: &Supervision) {
        match *answer {
            Supervision::Pong { seq, connections } => {
                self.info.answered_ping = Some(seq);
                self.info.report(connections);
            }
            Supervision::Load { connections } => self.info.report(connections),
            // Only a primary sends these messages. From a worker they are ignored.
            Supervision::LameDuck | Supervision::Ping { .. } => {}
        }
    }
}
