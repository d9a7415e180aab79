//! The primary's distribution object for one key: which workers listen, and which policy assigns the
//! connections. Under the shared policy the workers accept; every other policy implements [`Policy`] in a
//! file of its own.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::message::{Data, HandleKey};
use crate::os::{LocalAddress, SocketId, WorkerId};
use crate::settings::SchedulingPolicy;

mod central;
mod choice;
mod custom;
mod least_connections;
mod places;
pub(crate) mod policy;
mod power_of_two;
mod round_robin;
pub(crate) mod shared;
mod sticky;
mod weighted;

use central::Central;
use choice::Choice;
use custom::Custom;
use policy::Policy;
use shared::Shared;
use sticky::Sticky;
use weighted::Weighted;

/// Which side accepts connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "a cluster has few servers, and most of them assign connections"
)]
pub(crate) enum Sharing {
    /// The primary accepts and assigns each connection.
    Assigned(Assignment),
    /// The workers accept.
    Shared(Shared),
}

/// The queues of accepted connections: one for all workers, or one for each worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Assignment {
    Central(Central),
    Sticky(Sticky),
}

impl Assignment {
    /// How the primary assigns connections under a policy. `None`: the workers accept.
    pub(crate) fn of(policy: SchedulingPolicy) -> Option<Self> {
        let choice = match policy {
            SchedulingPolicy::Shared => return None,
            SchedulingPolicy::Sticky => return Some(Assignment::Sticky(Sticky::default())),
            SchedulingPolicy::RoundRobin => Choice::RoundRobin,
            SchedulingPolicy::LeastConnections => Choice::LeastConnections,
            SchedulingPolicy::PowerOfTwo => Choice::PowerOfTwo,
            SchedulingPolicy::Custom => Choice::Custom(Custom::default()),
            SchedulingPolicy::Weighted { slow_start } => Choice::Weighted(Weighted::new(slow_start)),
        };
        Some(Assignment::Central(Central::new(choice)))
    }

    pub(crate) fn policy(&self) -> &dyn Policy {
        match self {
            Assignment::Central(central) => central,
            Assignment::Sticky(sticky) => sticky,
        }
    }

    pub(crate) fn policy_mut(&mut self) -> &mut dyn Policy {
        match self {
            Assignment::Central(central) => central,
            Assignment::Sticky(sticky) => sticky,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Handle {
    pub(crate) key: HandleKey,
    /// The socket and the address, once bound. The socket listens if the primary accepts.
    pub(crate) bound: Option<(SocketId, LocalAddress)>,
    /// Whether accepting is paused because the queue is full.
    pub(crate) throttled: bool,
    /// The pauses after failed accepts.
    pub(crate) backoff: Backoff,
    /// The workers that have asked before the socket was bound, with the sequence numbers of their queries.
    pub(crate) waiting: Vec<(WorkerId, u64)>,
    /// The first `data` of a query that is true in JavaScript. Every worker receives it in the answer. Node:
    /// TLS ticket keys.
    pub(crate) data: Data,
    pub(crate) sharing: Sharing,
}

impl Handle {
    /// Whether no worker is listed twice: neither twice as waiting, nor both as waiting and as listening.
    pub(crate) fn waits_once(&self) -> bool {
        let waiting: BTreeSet<WorkerId> = self.waiting.iter().map(|(worker, _)| *worker).collect();
        let listens = |worker: &WorkerId| match &self.sharing {
            Sharing::Assigned(assignment) => assignment.policy().has(*worker),
            Sharing::Shared(shared) => shared.has(*worker),
        };
        waiting.len() == self.waiting.len() && !waiting.iter().any(listens)
    }

    /// The policy, if the primary accepts. `None`: the workers accept.
    pub(crate) fn policy(&self) -> Option<&dyn Policy> {
        match &self.sharing {
            Sharing::Assigned(assignment) => Some(assignment.policy()),
            Sharing::Shared(_) => None,
        }
    }

    /// Called when the socket is bound. For a Unix socket, the sticky policy is replaced by round robin,
    /// because its clients have no address.
    pub(crate) fn bind(&mut self, socket: SocketId, address: LocalAddress) {
        if let (Sharing::Assigned(assignment @ Assignment::Sticky(_)), None) =
            (&mut self.sharing, address.ip())
        {
            *assignment = Assignment::Central(Central::new(Choice::RoundRobin));
        }
        self.bound = Some((socket, address));
    }

    /// As [`policy`](Handle::policy), but mutable.
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

    /// Whether the socket is bound, and every worker that has asked before has its answer.
    pub(crate) fn is_ready(&self) -> bool {
        self.bound.is_some() && self.waiting.is_empty()
    }

    /// Whether no worker listens here or waits for the bind.
    pub(crate) fn is_unused(&self) -> bool {
        let unserved = match &self.sharing {
            Sharing::Assigned(assignment) => assignment.policy().is_unused(),
            Sharing::Shared(shared) => shared.is_unused(),
        };
        unserved && self.waiting.is_empty()
    }

    /// Whether the worker listens here or waits for the bind.
    pub(crate) fn has(&self, worker: WorkerId) -> bool {
        let listens = match &self.sharing {
            Sharing::Assigned(assignment) => assignment.policy().has(worker),
            Sharing::Shared(shared) => shared.has(worker),
        };
        listens || self.waiting.iter().any(|(waiting, _)| *waiting == worker)
    }
}
