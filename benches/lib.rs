//! A primary and its workers, connected in memory without an operating system: the benches of the core measure nothing else.

use std::collections::VecDeque;
use std::net::SocketAddr;

use cluster_core::{
    Call, ChannelId, Limits, ListenOptions, ListenerId, Machine, OsEvent, Output, Primary, Serialization,
    Settings, SocketId, Worker, WorkerEvent, WorkerId,
};

/// A primary and workers that serve one port. A written message is read at once.
#[derive(Debug, Clone)]
pub struct InMemoryCluster {
    primary: Primary,
    workers: Vec<Worker>,
    sockets: u64,
    listener: SocketId,
    /// Messages in flight, each with the receiver.
    in_flight: VecDeque<(Side, OsEvent)>,
    served: u64,
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Primary,
    Worker(usize),
}

impl InMemoryCluster {
    /// Starts a primary with `workers` workers, all of them listening and waiting for a connection.
    pub fn new(workers: u32) -> Self {
        let mut cluster = InMemoryCluster {
            primary: Primary::new(Settings::default()),
            workers: (1..=workers)
                .map(|id| Worker::new(WorkerId(id.into()), Serialization::Json, Limits::default()))
                .collect(),
            sockets: 0,
            listener: SocketId(0),
            in_flight: VecDeque::new(),
            served: 0,
        };
        for _ in 0..workers {
            cluster.primary.fork().expect("the settings are valid");
        }
        for worker in &mut cluster.workers {
            let listener = worker.listen(ListenOptions::default());
            worker.accept(listener);
        }
        cluster.drain_primary();
        for index in 0..cluster.workers.len() {
            cluster.drain_worker(index);
        }
        cluster.settle();
        cluster
    }

    /// Serves one client: accepted by the primary, handed off, acknowledged, owned, closed.
    ///
    /// # Panics
    ///
    /// If no worker received the connection.
    pub fn hand_off(&mut self) {
        let socket = self.next_socket();
        let before = self.served;
        self.primary.handle(OsEvent::Accepted { listener: self.listener, socket });
        self.drain_primary();
        self.settle();
        assert_eq!(self.served, before + 1, "a connection was not handed off");
    }

    /// The number of clients served so far.
    pub fn served(&self) -> u64 {
        self.served
    }

    fn next_socket(&mut self) -> SocketId {
        self.sockets += 1;
        SocketId(self.sockets)
    }

    fn settle(&mut self) {
        while let Some((side, event)) = self.in_flight.pop_front() {
            match side {
                Side::Primary => {
                    self.primary.handle(event);
                    self.drain_primary();
                }
                Side::Worker(index) => {
                    self.workers[index].handle(event);
                    self.drain_worker(index);
                }
            }
        }
    }

    fn drain_primary(&mut self) {
        while let Some(output) = self.primary.poll() {
            let Output::Call(call) = output else { continue };
            if let Call::Write { channel, bytes, socket } = call {
                let index = usize::try_from(channel.0).expect("the number of workers fits") - 1;
                let read = OsEvent::Read { channel: ChannelId::PRIMARY, bytes, socket };
                self.in_flight.push_back((Side::Worker(index), read));
                self.primary.handle(OsEvent::Wrote { channel, rest: Vec::new() });
            } else if let Call::Bind { handle, .. } = call {
                let socket = self.next_socket();
                self.listener = socket;
                let address = SocketAddr::from(([127, 0, 0, 1], 8000)).into();
                self.primary.handle(OsEvent::Bound { handle, socket, address });
            }
        }
    }

    fn drain_worker(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        while let Some(output) = worker.poll() {
            match output {
                Output::Call(Call::Write { channel, bytes, socket }) => {
                    let from = ChannelId(index as u64 + 1);
                    self.in_flight.push_back((Side::Primary, OsEvent::Read { channel: from, bytes, socket }));
                    worker.handle(OsEvent::Wrote { channel, rest: Vec::new() });
                }
                Output::Event(WorkerEvent::Connection { listener: ListenerId(listener), connection }) => {
                    self.served += 1;
                    worker.release(connection);
                    worker.accept(ListenerId(listener));
                }
                Output::Call(_) | Output::Event(_) => {}
            }
        }
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
