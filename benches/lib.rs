//! Shared parts of benches and measurements: a primary and workers in memory, the policies, a load generator,
//! and figures of processes.

pub mod load;
pub mod policies;
pub mod processes;

use core::net::{IpAddr, Ipv4Addr};

use cluster_core::testing::TestCluster;
use cluster_core::{
    Limits, ListenOptions, ListenerId, SchedulingPolicy, Settings, SocketId, WorkerEvent, WorkerId,
};

/// The number of client addresses.
const CLIENTS: u64 = 250;

/// A primary and workers that serve one port, without an operating system. A message is read as soon as it is
/// written.
#[derive(Debug)]
pub struct InMemoryCluster {
    cluster: TestCluster,
    workers: u64,
    listening: SocketId,
    connected: u64,
    served: u64,
    last: u64,
}

/// A connection that a worker has accepted.
#[derive(Debug, Clone, Copy)]
pub struct Accepted {
    worker: WorkerId,
    listener: ListenerId,
    connection: SocketId,
}

impl InMemoryCluster {
    /// Starts a primary with `workers` workers. Each worker listens and waits for a connection.
    pub fn new(workers: u32) -> Self {
        Self::with_policy(workers, SchedulingPolicy::RoundRobin)
    }

    /// As [`new`](InMemoryCluster::new), with a policy of [`policies::ASSIGNED`]. The queue has no limit.
    pub fn with_policy(workers: u32, policy: SchedulingPolicy) -> Self {
        let limits = Limits { queued_connections: usize::MAX, ..Limits::default() };
        let mut cluster = TestCluster::new(Settings { policy, limits, ..Settings::default() });
        cluster.os.discards_calls = true;
        for worker in cluster.fork(workers as usize) {
            let listener = cluster.worker(worker).listen(ListenOptions::default());
            cluster.worker(worker).accept(listener);
        }
        cluster.settle();
        for process in cluster.processes.values_mut() {
            process.events.clear();
        }
        let listening = cluster.os.last_bound().expect("the primary listens");
        InMemoryCluster { cluster, workers: workers.into(), listening, connected: 0, served: 0, last: 0 }
    }

    /// Serves one client: the connection is accepted by the primary, handed off, acknowledged, owned and
    /// closed.
    ///
    /// # Panics
    ///
    /// If no worker has received the connection.
    pub fn hand_off(&mut self) {
        self.connect();
        let accepted = self.accepted().expect("a connection was not handed off");
        self.complete(accepted);
    }

    /// Connects the next of 250 clients.
    pub fn connect(&mut self) {
        let number = u8::try_from(self.connected % CLIENTS).expect("at most 250 clients");
        self.connected += 1;
        let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, number));
        self.cluster.connect_from(Some(client), self.listening);
    }

    /// The next connection that a worker has accepted, in rotation of the workers.
    ///
    /// # Panics
    ///
    /// If a worker has another event.
    pub fn accepted(&mut self) -> Option<Accepted> {
        for next in 1..=self.workers {
            let worker = WorkerId((self.last + next - 1) % self.workers + 1);
            let process = self.cluster.processes.get_mut(&worker).expect("the workers live");
            match process.events.pop() {
                Some(WorkerEvent::Connection { listener, connection }) => {
                    self.last = worker.0;
                    return Some(Accepted { worker, listener, connection });
                }
                Some(other) => unreachable!("a worker has no other event, but {other:?}"),
                None => {}
            }
        }
        None
    }

    /// Closes a connection in the worker, which then waits for the next.
    pub fn complete(&mut self, accepted: Accepted) {
        self.served += 1;
        let machine = self.cluster.worker(accepted.worker);
        machine.release(accepted.connection);
        machine.accept(accepted.listener);
        self.cluster.settle();
    }

    /// Connects `clients` clients before the first is served, and serves all clients.
    pub fn distribute(&mut self, clients: u32) {
        (0..clients).for_each(|_| self.connect());
        while let Some(accepted) = self.accepted() {
            self.complete(accepted);
        }
    }

    /// The number of clients served so far.
    pub fn served(&self) -> u64 {
        self.served
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handoff_serves_each_connection() {
        let mut cluster = InMemoryCluster::new(3);
        for _ in 0..10 {
            cluster.hand_off();
        }
        assert_eq!(cluster.served(), 10);
    }

    /// Clients that are queued are served under every policy of the primary.
    #[test]
    fn distribution_serves_each_connection() {
        for policy in policies::ASSIGNED {
            let mut cluster = InMemoryCluster::with_policy(3, policy.setting);
            cluster.distribute(100);
            assert_eq!(cluster.served(), 100, "{}", policy.name);
        }
    }
}
