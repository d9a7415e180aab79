//! What the benches measure that is not a library's own: a primary and its workers joined in memory.
//! No operating system, real or simulated: what is left is the core.

use std::collections::VecDeque;
use std::net::SocketAddr;

use cluster_core::{
    Call, ChannelId, Limits, ListenOptions, ListenerId, Machine, OsEvent, Output, Primary, Serialization,
    Settings, SocketId, Worker, WorkerEvent, WorkerId,
};

/// A primary and serving workers. Whatever one writes, the other reads at once.
#[derive(Debug, Clone)]
pub struct Joined {
    primary: Primary,
    workers: Vec<Worker>,
    sockets: u64,
    listener: SocketId,
    /// What was written and not yet read: by the primary (to a worker) or by a worker.
    wires: VecDeque<(Side, OsEvent)>,
    served: u64,
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Primary,
    Worker(usize),
}

impl Joined {
    /// So many workers, all serving one port and wanting connections.
    pub fn new(workers: u32) -> Self {
        let mut joined = Joined {
            primary: Primary::new(Settings::default()),
            workers: (1..=workers)
                .map(|id| Worker::new(WorkerId(id.into()), Serialization::Json, Limits::default()))
                .collect(),
            sockets: 0,
            listener: SocketId(0),
            wires: VecDeque::new(),
            served: 0,
        };
        for _ in 0..workers {
            joined.primary.fork().expect("nothing impossible was set up");
        }
        for worker in &mut joined.workers {
            let listener = worker.listen(ListenOptions::default());
            worker.accept(listener);
        }
        joined.drain_primary();
        for index in 0..joined.workers.len() {
            joined.drain_worker(index);
        }
        joined.settle();
        joined
    }

    /// One client: accepted by the primary, handed to a worker, acknowledged, served, closed.
    ///
    /// # Panics
    ///
    /// If no worker got it.
    pub fn hand_off(&mut self) {
        let socket = self.socket();
        let before = self.served;
        self.primary.handle(OsEvent::Accepted { listener: self.listener, socket });
        self.drain_primary();
        self.settle();
        assert_eq!(self.served, before + 1, "a connection was not handed off");
    }

    /// How many clients were served so far.
    pub fn served(&self) -> u64 {
        self.served
    }

    fn socket(&mut self) -> SocketId {
        self.sockets += 1;
        SocketId(self.sockets)
    }

    fn settle(&mut self) {
        while let Some((side, event)) = self.wires.pop_front() {
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
                let index = usize::try_from(channel.0).expect("few workers") - 1;
                let read = OsEvent::Read { channel: ChannelId::PRIMARY, bytes, socket };
                self.wires.push_back((Side::Worker(index), read));
                self.primary.handle(OsEvent::Wrote { channel, rest: Vec::new() });
            } else if let Call::Bind { handle, .. } = call {
                let socket = self.socket();
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
                    self.wires.push_back((Side::Primary, OsEvent::Read { channel: from, bytes, socket }));
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
    fn every_connection_is_served() {
        let mut joined = Joined::new(3);
        (0..10).for_each(|_| joined.hand_off());
        assert_eq!(joined.served(), 10);
    }
}
