//! The primary's distribution object for one key: the workers that listen and the policy that assigns connections.
//! Under the shared policy the workers accept; every other policy is a [`Policy`] in a file of its own.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::message::{Data, HandleKey};
use crate::os::{LocalAddress, SocketId, WorkerId};

pub(crate) mod policy;
mod round_robin;
pub(crate) mod shared;
mod sticky;

use policy::Policy;
use round_robin::RoundRobin;
use shared::Shared;
use sticky::Sticky;

/// The side that accepts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Sharing {
    /// The primary accepts and assigns each connection.
    Assigned(Assignment),
    /// The workers accept.
    Shared(Shared),
}

/// The policy of a primary that accepts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Assignment {
    RoundRobin(RoundRobin),
    Sticky(Sticky),
}

impl Assignment {
    pub(crate) fn round_robin() -> Self {
        Assignment::RoundRobin(RoundRobin::default())
    }

    pub(crate) fn sticky() -> Self {
        Assignment::Sticky(Sticky::default())
    }

    pub(crate) fn policy(&self) -> &dyn Policy {
        match self {
            Assignment::RoundRobin(round_robin) => round_robin,
            Assignment::Sticky(sticky) => sticky,
        }
    }

    pub(crate) fn policy_mut(&mut self) -> &mut dyn Policy {
        match self {
            Assignment::RoundRobin(round_robin) => round_robin,
            Assignment::Sticky(sticky) => sticky,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Handle {
    pub(crate) key: HandleKey,
    /// The listening (assigned) or bound (shared) socket and its address, once bound.
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
            Sharing::Assigned(assignment) => assignment.policy().has(*worker),
            Sharing::Shared(shared) => shared.has(*worker),
        };
        waiting.len() == self.waiting.len() && !waiting.iter().any(listens)
    }

    /// The policy of a handle that accepts. `None`: the workers accept.
    pub(crate) fn policy(&self) -> Option<&dyn Policy> {
        match &self.sharing {
            Sharing::Assigned(assignment) => Some(assignment.policy()),
            Sharing::Shared(_) => None,
        }
    }

    /// The socket is bound. Clients of a Unix socket have no address, so round robin assigns the connections.
    pub(crate) fn bind(&mut self, socket: SocketId, address: LocalAddress) {
        if let (Sharing::Assigned(assignment), None) = (&mut self.sharing, address.ip()) {
            *assignment = Assignment::round_robin();
        }
        self.bound = Some((socket, address));
    }

    /// As [`policy`](Handle::policy), for a change.
    pub(crate) fn policy_mut(&mut self) -> Option<&mut dyn Policy> {
        match &mut self.sharing {
            Sharing::Assigned(assignment) => Some(assignment.policy_mut()),
            Sharing::Shared(_) => None,
        }
    }

    pub(crate) fn remove(&mut self, worker: WorkerId) {
        self.waiting.retain(|(waiting, _)| *waiting != worker);
        match &mut self.sharing {
            Sharing::Assigned(assignment) => assignment.policy_mut().remove(worker),
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
            Sharing::Assigned(assignment) => assignment.policy().is_unused(),
            Sharing::Shared(shared) => shared.is_unused(),
        };
        unserved && self.waiting.is_empty()
    }

    /// The worker listens here or waits for the bind.
    pub(crate) fn has(&self, worker: WorkerId) -> bool {
        let listens = match &self.sharing {
            Sharing::Assigned(assignment) => assignment.policy().has(worker),
            Sharing::Shared(shared) => shared.has(worker),
        };
        listens || self.waiting.iter().any(|(waiting, _)| *waiting == worker)
    }
}
