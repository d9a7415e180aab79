//! A policy assigns the connections of a listening socket to the listening workers. The policy only decides;
//! the primary sends, replies and closes.

use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::os::{Candidate, SocketId, WorkerId};

/// The decision to hand a connection to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handoff {
    pub(crate) worker: WorkerId,
    pub(crate) connection: SocketId,
}

/// A question to the program: which of the candidates receives the connection?
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) connection: SocketId,
    pub(crate) client: Option<IpAddr>,
    pub(crate) candidates: Vec<Candidate>,
}

/// The identity of a worker for a policy. Under a supervisor the identity is the slot, so a restart changes
/// nothing; without a supervisor the identity is the worker id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Seat(u64);

impl Seat {
    pub(crate) fn of_slot(slot: u32) -> Self {
        Seat(slot.into())
    }

    /// Seats of worker ids follow the seats of all slots, so no worker without a slot has the seat of a slot.
    pub(crate) fn of_worker(WorkerId(worker): WorkerId) -> Self {
        Seat(worker.wrapping_add(1 << 32))
    }

    /// The slot. `None`: the seat belongs to a worker id.
    pub(crate) fn slot(self) -> Option<u32> {
        u32::try_from(self.0).ok()
    }

    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// The open connections of the workers, as far as the primary knows.
pub(crate) trait Loads {
    /// The number of open connections of a worker. `None`: the worker has never reported a number.
    fn open(&self, worker: WorkerId) -> Option<u64>;
}

impl<F: Fn(WorkerId) -> Option<u64>> Loads for F {
    fn open(&self, worker: WorkerId) -> Option<u64> {
        self(worker)
    }
}

/// The assignment of connections to workers. After each change, [`Policy::next`] returns the handoffs that
/// are due. A worker has at most as many unanswered connections as places.
pub(crate) trait Policy: fmt::Debug {
    /// Called when a worker begins to listen. If its answers for earlier connections are outstanding, as
    /// after a close, these connections occupy places until the answers.
    fn add(&mut self, worker: WorkerId, seat: Seat, places: u32);

    /// Called when a worker no longer listens.
    fn remove(&mut self, worker: WorkerId);

    /// Whether the worker listens.
    fn has(&self, worker: WorkerId) -> bool;

    /// Whether no worker listens.
    fn is_unused(&self) -> bool;

    /// Queues a new connection. `client`: the address of the client; `None` for a Unix socket.
    fn push(&mut self, connection: SocketId, client: Option<IpAddr>);

    /// Queues a connection not taken by this worker. The connection still occupies a place, and the worker
    /// receives no further connection until [`Policy::answered`].
    fn requeue(&mut self, worker: WorkerId, connection: SocketId);

    /// The queued connections.
    fn connections(&self) -> Vec<SocketId>;

    /// The number of queued connections.
    fn queued(&self) -> usize;

    /// Called when a worker has taken a connection, so the connection is never queued again.
    fn taken(&mut self, connection: SocketId);

    /// Called when a place of the worker is free again: the worker has taken a connection, or the pause after
    /// a connection not taken is over.
    fn answered(&mut self, worker: WorkerId);

    /// Assigns nothing to a worker until [`Policy::answered`].
    fn pass_over(&mut self, worker: WorkerId);

    /// The next handoff that is due.
    fn next(&mut self, loads: &dyn Loads) -> Option<Handoff>;

    /// Whether the handoffs depend on the loads, so the workers must report.
    fn reads_loads(&self) -> bool;

    /// The question to the program that is due after the handoffs, if the program chooses.
    fn question(&mut self, _: &dyn Loads) -> Option<Question> {
        None
    }

    /// Called when the program has chosen the worker of a connection.
    fn chosen(&mut self, _: SocketId, _: WorkerId) {}

    /// Called when a step of the slow start of a worker is over.
    fn warm(&mut self, _: WorkerId) {}

    /// The time until the next step of the slow start of a worker, in milliseconds. `None`: the worker has
    /// its full share.
    fn warming_ms(&self, _: WorkerId) -> Option<u64> {
        None
    }

    /// Empties the queue, because no worker is left to serve the connections.
    fn drain(&mut self) -> Vec<SocketId>;
}
