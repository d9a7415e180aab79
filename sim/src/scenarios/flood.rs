//! A primary and a worker that both send more than their channel holds, before either has read anything.

use cluster_core::{Event, Primary, Worker, WorkerEvent, WorkerId};

use crate::{Actor, Process, Program};

/// The process that disconnects, while its messages are on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Parting {
    /// Neither.
    Never,
    /// The primary disconnects its worker.
    Primary,
    /// The worker disconnects itself.
    Worker,
    /// Both do.
    Both,
}

/// Messages in both directions at once. What finds no room is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flood {
    /// How many messages each sends at once.
    pub messages: u32,
    /// How it ends.
    pub parting: Parting,
}

const WORKER: WorkerId = WorkerId(1);

impl Flood {
    /// Every way to end, with so many messages that no channel of 24 bytes holds them.
    pub const ALL: [Flood; 4] = [
        Flood { messages: 3, parting: Parting::Never },
        Flood { messages: 3, parting: Parting::Primary },
        Flood { messages: 3, parting: Parting::Worker },
        Flood { messages: 3, parting: Parting::Both },
    ];

    fn parts(self, who: Parting) -> bool {
        self.parting == who || self.parting == Parting::Both
    }
}

impl Program for Flood {
    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        primary.fork().expect("nothing impossible was set up");
    }

    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
        if event != (Event::Fork { worker: WORKER }) {
            return;
        }
        for _ in 0..self.messages {
            // One that finds no room is not sent, and not waited for.
            let _ = process.send_numbered(Actor::Worker(WORKER), |message| primary.send(WORKER, message));
        }
        if self.parts(Parting::Primary) {
            primary.disconnect_worker(WORKER);
        }
    }

    fn worker_start(&mut self, worker: &mut Worker, process: &mut Process<'_>) {
        for _ in 0..self.messages {
            let _ = process.send_numbered(Actor::Primary, |message| worker.send(message));
        }
        if self.parts(Parting::Worker) {
            worker.disconnect();
        }
    }

    fn worker_event(&mut self, _: &mut Worker, _: &mut Process<'_>, _: WorkerEvent) {}
}
