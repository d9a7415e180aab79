//! What the primary knows of one worker's life. Values and questions; the machine changes them.

/// How far a worker has come. Node: `worker.state`.
///
/// It names the last thing that happened; whether a worker is connected or dead, ask [`WorkerInfo`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkerState {
    /// Forked, and not heard of yet.
    None,
    /// It runs.
    Online,
    /// It serves.
    Listening,
    /// Its channel is closed.
    Disconnected,
    /// Its process has ended.
    Dead,
}

/// What the primary knows of one worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WorkerInfo {
    pub(super) state: WorkerState,
    pub(super) exited_after_disconnect: Option<bool>,
    pub(super) connected: bool,
    pub(super) dead: bool,
    pub(super) listed: bool,
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
            pid: None,
        }
    }

    /// The first of its two ends decides: who was not asked to go by then went by itself.
    pub(super) fn settle_exit_intent(&mut self) {
        self.exited_after_disconnect.get_or_insert(false);
    }

    /// How far it has come. Node: `worker.state`.
    pub fn state(&self) -> WorkerState {
        self.state
    }

    /// Whether it was asked to go; `None` until that is decided: when it is asked, when it says so itself, or at the
    /// latest right before its [`Disconnect`](crate::Event::Disconnect) or [`Exit`](crate::Event::Exit), whichever is
    /// first. Node: `worker.exitedAfterDisconnect`.
    pub fn exited_after_disconnect(&self) -> Option<bool> {
        self.exited_after_disconnect
    }

    /// Whether messages can be sent to it. Node: `worker.isConnected()`.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether its process has ended, or never began. Node: `worker.isDead()`.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// Whether it is among the primary's workers. Node: whether it is in `cluster.workers`. One that is asked to
    /// disconnect leaves at once; any other when it is both disconnected and dead.
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    /// Its process id, once it has one. Node: `worker.process.pid`.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }
}
