//! Shared parts of benches and measurements: a primary and workers in memory, a load generator, and figures
//! of processes.

pub mod load;
pub mod processes;

use cluster_core::testing::TestCluster;
use cluster_core::{ListenOptions, Settings, SocketId, WorkerEvent, WorkerId};

/// A primary and workers that serve one port, without an operating system. A message is read as soon as it is
/// written.
#[derive(Debug)]
pub struct InMemoryCluster {
    cluster: TestCluster,
    workers: u64,
    listening: SocketId,
    served: u64,
}

impl InMemoryCluster {
    /// Starts a primary with `workers` workers, all of them listening and waiting for a connection.
    pub fn new(workers: u32) -> Self {
        let mut cluster = TestCluster::new(Settings::default());
        cluster.os.discards_calls = true;
        for worker in cluster.fork(workers as usize) {
            let listener = cluster.worker(worker).listen(ListenOptions::default());
            cluster.worker(worker).accept(listener);
        }
        cluster.settle();
        let listening = cluster.os.last_bound().expect("the primary listens");
        InMemoryCluster { cluster, workers: workers.into(), listening, served: 0 }
    }

    /// Serves one client: the connection is accepted by the primary, handed off, acknowledged, owned and
    /// closed.
    ///
    /// # Panics
    ///
    /// If the next worker in rotation has not received the connection.
    pub fn hand_off(&mut self) {
        self.cluster.connect(self.listening);
        let worker = WorkerId(self.served % self.workers + 1);
        let process = self.cluster.processes.get_mut(&worker).expect("the workers live");
        let received = process.events.pop();
        let Some(WorkerEvent::Connection { listener, connection }) = received else {
            unreachable!("a connection was not handed off: {received:?}")
        };
        self.served += 1;
        let machine = self.cluster.worker(worker);
        machine.release(connection);
        machine.accept(listener);
        self.cluster.settle();
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
    fn hand_off_serves_each_connection() {
        let mut cluster = InMemoryCluster::new(3);
        for _ in 0..10 {
            cluster.hand_off();
        }
        assert_eq!(cluster.served(), 10);
    }
}
