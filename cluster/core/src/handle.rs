//! The primary's distribution object for one key: who listens there, and how they get connections.
//! Round robin and shared decide *who*; sending, replying and closing is the primary's.

use alloc::vec::Vec;

use crate::backoff::Backoff;
use crate::message::{Data, HandleKey};
use crate::os::{LocalAddress, SocketId, WorkerId};

pub(crate) mod round_robin;
pub(crate) mod shared;

use round_robin::RoundRobin;
use shared::Shared;

/// How a handle gives out connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Sharing {
    RoundRobin(RoundRobin),
    Shared(Shared),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Handle {
    pub(crate) key: HandleKey,
    /// The listening (round robin) or bound (shared) socket and its address, once there is one.
    pub(crate) bound: Option<(SocketId, LocalAddress)>,
    /// Whether accepting is paused because too many wait.
    pub(crate) throttled: bool,
    /// How long accepting rests after it has failed.
    pub(crate) backoff: Backoff,
    /// Who asked before it was bound, with the sequence number to answer.
    pub(crate) waiting: Vec<(WorkerId, u64)>,
    /// The first `data` that says something; echoed to everybody. Node: TLS ticket keys.
    pub(crate) data: Data,
    pub(crate) sharing: Sharing,
}

impl Handle {
    /// Takes a worker out.
    pub(crate) fn remove(&mut self, worker: WorkerId) {
        self.waiting.retain(|(waiting, _)| *waiting != worker);
        match &mut self.sharing {
            Sharing::RoundRobin(round_robin) => round_robin.remove(worker),
            Sharing::Shared(shared) => shared.remove(worker),
        }
    }

    /// Whether it is bound and the workers that asked before have their answer.
    pub(crate) fn is_ready(&self) -> bool {
        self.bound.is_some() && self.waiting.is_empty()
    }

    /// Whether nobody listens here or is about to.
    pub(crate) fn is_unused(&self) -> bool {
        let nobody = match &self.sharing {
            Sharing::RoundRobin(round_robin) => round_robin.is_unused(),
            Sharing::Shared(shared) => shared.is_unused(),
        };
        nobody && self.waiting.is_empty()
    }

    /// Whether this worker listens here or is about to.
    pub(crate) fn has(&self, worker: WorkerId) -> bool {
        let listens = match &self.sharing {
            Sharing::RoundRobin(round_robin) => round_robin.has(worker),
            Sharing::Shared(shared) => shared.has(worker),
        };
        listens || self.waiting.iter().any(|(waiting, _)| *waiting == worker)
    }
}
