//! A policy assigns the connections of a listening socket to the listening workers. The policy decides; the primary sends,
//! replies and closes.

use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::os::{SocketId, WorkerId};

/// The decision to hand a connection to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handoff {
    pub(crate) worker: WorkerId,
    pub(crate) connection: SocketId,
}

/// The identity of a worker for a policy: the slot under a supervisor, so that a restart changes nothing; else the worker id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Seat(u64);

impl Seat {
    pub(crate) fn of_slot(slot: u32) -> Self {
        Seat(slot.into())
    }

    /// Ids follow the numbers of slots: no worker without a slot has the seat of a slot.
    pub(crate) fn of_worker(WorkerId(worker): WorkerId) -> Self {
        Seat(worker.wrapping_add(1 << 32))
    }

    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// The assignment of connections to workers. After each change, [`Policy::next`] returns the due handoffs. A worker has at most
/// 1 connection without an answer.
pub(crate) trait Policy: fmt::Debug {
    /// A worker listens. With an outstanding answer, as after a close, the worker gets nothing before the answer.
    fn add(&mut self, worker: WorkerId, seat: Seat);

    /// A worker no longer listens.
    fn remove(&mut self, worker: WorkerId);

    /// The worker listens.
    fn has(&self, worker: WorkerId) -> bool;

    /// No worker listens.
    fn is_unused(&self) -> bool;

    /// Queues a new connection. `client`: the address of the peer, if there is one.
    fn push(&mut self, connection: SocketId, client: Option<IpAddr>);

    /// Queues a connection of this worker again. The answer of the worker is still outstanding.
    fn requeue(&mut self, worker: WorkerId, connection: SocketId);

    /// The queued connections.
    fn connections(&self) -> Vec<SocketId>;

    /// The number of queued connections.
    fn queued(&self) -> usize;

    /// No answer of the worker is outstanding.
    fn answered(&mut self, worker: WorkerId);

    /// Hands nothing to a worker until [`Policy::answered`].
    fn pass_over(&mut self, worker: WorkerId);

    /// The next due handoff.
    fn next(&mut self) -> Option<Handoff>;

    /// Empties the queue: no worker is left to serve the connections.
    fn drain(&mut self) -> Vec<SocketId>;
}
