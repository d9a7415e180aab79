//! What a supervisor asks of its primary beyond the commands of a program.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::Primary;
use crate::channel::Outgoing;
use crate::message::{ChannelMessage, HandleKey, Supervision};
use crate::os::{Call, SocketId, TimerId, WorkerId};
use crate::primary::ForkError;

impl Primary {
    pub(crate) fn next_timer(&mut self) -> TimerId {
        self.counters.next_timer()
    }

    /// The spawn options can start a worker.
    pub(crate) fn check_spawn(&self) -> Result<(), ForkError> {
        self.checked_options().map(|_| ())
    }

    /// Hands no further connection to the worker, and sends the program of the worker the message of a lame duck. From
    /// now on queries of the worker for sockets get no answer.
    pub(crate) fn lame_duck(&mut self, worker: WorkerId) {
        let Some(entry) = self.workers.get_mut(&worker) else { return };
        entry.lame = true;
        let scope = self.steps.enter_command();
        self.supervise(worker, Supervision::LameDuck);
        self.leave_handles(worker);
        self.steps.leave(scope);
    }

    /// Asks a worker for its open connections; returns the number of the question.
    pub(crate) fn ping(&mut self, worker: WorkerId) -> u64 {
        let scope = self.steps.enter_command();
        let seq = self.pending.next_seq();
        self.supervise(worker, Supervision::Ping { seq });
        self.steps.leave(scope);
        seq
    }

    /// The last answer of a worker to a [`ping`](Primary::ping): the number of the question, and the open connections.
    pub(crate) fn pong(&self, worker: WorkerId) -> Option<(u64, u64)> {
        self.workers.get(&worker)?.pong
    }

    pub(super) fn answered_ping(&mut self, worker: WorkerId, answer: &Supervision) {
        match *answer {
            Supervision::Pong { seq, connections } => {
                self.workers.get_mut(&worker).map(Box::as_mut).expect("the worker speaks").pong =
                    Some((seq, connections));
            }
            // Messages of a primary; ignored from a worker.
            Supervision::LameDuck | Supervision::Ping { .. } => {}
        }
    }

    /// The connections that a worker has acknowledged.
    pub(crate) fn owned_by(&self, worker: WorkerId) -> u64 {
        self.workers.get(&worker).map_or(0, |entry| entry.owned)
    }

    /// The keys at which a worker listens.
    pub(crate) fn keys_of(&self, worker: WorkerId) -> BTreeSet<HandleKey> {
        let of_worker = self.handles.values().filter(|handle| handle.is_ready() && handle.has(worker));
        of_worker.map(|handle| handle.key.clone()).collect()
    }

    /// Accepts no further connection. Those in the queue are still handed off.
    pub(crate) fn stop_accepting(&mut self) {
        self.stopped = true;
        let scope = self.steps.enter_command();
        let listening: Vec<SocketId> = self.listeners.keys().copied().collect();
        for socket in listening {
            self.steps.call(Call::PauseAccept { socket });
        }
        self.steps.leave(scope);
    }

    /// Lets a listening socket accept, unless the primary has stopped accepting.
    pub(super) fn resume_accept(&mut self, socket: SocketId) {
        if !self.stopped {
            self.steps.call(Call::ResumeAccept { socket });
        }
    }

    /// No accepted connection waits for a worker.
    pub(crate) fn is_settled(&self) -> bool {
        self.ledger.open().next().is_none()
    }

    /// Closes every socket at which no worker listens.
    pub(crate) fn close_listeners(&mut self) {
        let scope = self.steps.enter_command();
        self.close_unused_handles();
        self.steps.leave(scope);
    }

    fn supervise(&mut self, worker: WorkerId, supervision: Supervision) {
        if let Some(entry) = self.workers.get_mut(&worker)
            && entry.channel.is_connected()
        {
            entry.channel.send(Outgoing::from(ChannelMessage::Supervision(supervision)), &mut self.steps);
        }
    }
}
