//! The primary's distribution object for one key: the workers that listen and the policy that assigns connections.
//! Round robin and shared choose the worker; the primary sends, replies and closes.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::message::{Data, HandleKey};
use crate::os::{LocalAddress, SocketId, WorkerId};

pub(crate) mod round_robin;
pub(crate) mod shared;

use round_robin::RoundRobin;
use shared::Shared;

/// The policy of a handle.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Sharing {
    RoundRobin(RoundRobin),
    Shared(Shared),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Handle {
    pub(crate) key: HandleKey,
    /// The listening (round robin) or bound (shared) socket and its address, once bound.
    pub(crate) bound: Option<(SocketId, LocalAddress)>,
    /// Accepting is paused because the queue is full.
    pub(crate) throttled: bool,
    /// The pauses after failed accepts.
    pub(crate) backoff: Backoff,
    /// The workers that asked before the socket was bound, with the sequence numbers of their queries.
    pub(crate) waiting: Vec<(WorkerId, u64)>,
    /// The first truthy `data` of a query, echoed to every worker. Node: TLS ticket keys.
    pub(crate) data: Data,
    pub(crate) sharing: Sharing,
}

impl Handle {
    /// No worker waits twice, or waits and listens.
    pub(crate) fn waits_once(&self) -> bool {
        let waiting: BTreeSet<WorkerId> = self.waiting.iter().map(|(worker, _)| *worker).collect();
        let listens = |worker: &WorkerId| match &self.sharing {
            Sharing::RoundRobin(round_robin) => round_robin.has(*worker),
            Sharing::Shared(shared) => shared.has(*worker),
        };
        waiting.len() == self.waiting.len() && !waiting.iter().any(listens)
    }

    /// The queue of a handle that accepts.
    pub(crate) fn accepting(&self) -> Option<&RoundRobin> {
        match &self.sharing {
            Sharing::RoundRobin(round_robin) => Some(round_robin),
            Sharing::Shared(_) => None,
        }
    }

    pub(crate) fn remove(&mut self, worker: WorkerId) {
        self.waiting.retain(|(waiting, _)| *waiting != worker);
        match &mut self.sharing {
            Sharing::RoundRobin(round_robin) => round_robin.remove(worker),
            Sharing::Shared(shared) => shared.remove(worker),
        }
    }

    /// The socket is bound, and every worker that asked before has its answer.
    pub(crate) fn is_ready(&self) -> bool {
        self.bound.is_some() && self.waiting.is_empty()
    }

    /// No worker listens here or waits for the bind.
    pub(crate) fn is_unused(&self) -> bool {
        let unserved = match &self.sharing {
            Sharing::RoundRobin(round_robin) => round_robin.is_unused(),
            Sharing::Shared(shared) => shared.is_unused(),
        };
        unserved && self.waiting.is_empty()
    }

    /// The worker listens here or waits for the bind.
    pub(crate) fn has(&self, worker: WorkerId) -> bool {
        let listens = match &self.sharing {
            Sharing::RoundRobin(round_robin) => round_robin.has(worker),
            Sharing::Shared(shared) => shared.has(worker),
        };
        listens || self.waiting.iter().any(|(waiting, _)| *waiting == worker)
    }
}
