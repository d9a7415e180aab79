//! A model of Linux for the policies under which the kernel assigns connections.

use std::collections::{BTreeMap, VecDeque};

use cluster_benches::policies::Policy;
use cluster_core::{SchedulingPolicy, WorkerId};
use fastrand::Rng;

use super::load::WORKERS;

/// The sockets of the kernel, with the clients that no worker has accepted.
pub(crate) enum Kernel {
    /// One socket. A connection wakes one idle worker, in turn. While all workers are busy, the first worker
    /// that returns to its event loop accepts every waiting connection.
    Shared { queue: VecDeque<usize>, last: WorkerId },
    /// A socket for each slot. The kernel selects a socket by a hash of the connection, even if its worker is
    /// busy.
    #[allow(dead_code, reason = "until the policy exists")]
    ReusePort { queues: BTreeMap<u32, VecDeque<usize>>, hash: Rng },
}

impl Kernel {
    /// `None`: the primary assigns the connections.
    pub(crate) fn of(policy: Policy) -> Option<Self> {
        (policy.setting == SchedulingPolicy::Shared)
            .then(|| Kernel::Shared { queue: VecDeque::new(), last: WorkerId(0) })
    }

    #[allow(dead_code, reason = "until the policy exists")]
    pub(crate) fn reuse_port() -> Self {
        let queues = (0..WORKERS).map(|slot| (slot, VecDeque::new())).collect();
        Kernel::ReusePort { queues, hash: Rng::with_seed(2) }
    }

    /// Queues a connection, and returns the worker that the kernel wakes. `workers`: each with the slot, and
    /// whether the worker is idle.
    pub(crate) fn queue(
        &mut self,
        client: usize,
        workers: impl Iterator<Item = (WorkerId, u32, bool)>,
    ) -> Option<WorkerId> {
        let workers: Vec<(WorkerId, u32, bool)> = workers.collect();
        match self {
            Kernel::Shared { queue, last } => {
                queue.push_back(client);
                let idle = || workers.iter().filter(|(_, _, is_idle)| *is_idle).map(|(id, ..)| *id);
                let woken = idle().find(|id| id > last).or_else(|| idle().next())?;
                *last = woken;
                Some(woken)
            }
            Kernel::ReusePort { queues, hash } => {
                for (_, slot, _) in &workers {
                    queues.entry(*slot).or_default();
                }
                let slots: Vec<u32> = queues.keys().copied().collect();
                let chosen = slots[hash.usize(..slots.len())];
                queues.entry(chosen).or_default().push_back(client);
                workers.iter().find(|(_, slot, _)| *slot == chosen).map(|(id, ..)| *id)
            }
        }
    }

    /// The connections that a worker of this slot accepts in a turn of its event loop.
    pub(crate) fn accept(&mut self, slot: u32) -> VecDeque<usize> {
        match self {
            Kernel::Shared { queue, .. } => std::mem::take(queue),
            Kernel::ReusePort { queues, .. } => queues.get_mut(&slot).map(std::mem::take).unwrap_or_default(),
        }
    }
}
