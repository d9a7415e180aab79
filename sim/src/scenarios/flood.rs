//! A primary and a worker that both send more than a channel holds, before either reads.

use cluster_core::{Event, Primary, Worker, WorkerEvent, WorkerId};

use crate::{Actor, Process, Program};

/// The process that disconnects while messages are in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DisconnectBy {
    /// Neither process.
    Never,
    /// The primary disconnects its worker.
    Primary,
    /// The worker disconnects itself.
    Worker,
    /// Both processes.
    Both,
}

/// Messages in both directions at once. A process does not send a message that finds no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flood {
    /// The number of messages that each process sends at once.
    pub messages: u32,
    /// The process that disconnects.
    pub disconnect_by: DisconnectBy,
}

const WORKER: WorkerId = WorkerId(1);

impl Flood {
    /// Every way to end, with more messages than a channel of 24 bytes holds.
    pub const ALL: [Flood; 4] = [
        Flood { messages: 3, disconnect_by: DisconnectBy::Never },
        Flood { messages: 3, disconnect_by: DisconnectBy::Primary },
        Flood { messages: 3, disconnect_by: DisconnectBy::Worker },
        Flood { messages: 3, disconnect_by: DisconnectBy::Both },
    ];

    fn disconnects(self, process: DisconnectBy) -> bool {
        self.disconnect_by == process || self.disconnect_by == DisconnectBy::Both
    }
}

impl Program for Flood {
    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        primary.fork().expect("the settings are valid");
    }

    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
        if event != (Event::Fork { worker: WORKER }) {
            return;
        }
        for _ in 0..self.messages {
            // Fails if there is no room; the message is not sent later either.
            let _ = process.send_numbered(Actor::Worker(WORKER), |message| primary.send(WORKER, message));
        }
        if self.disconnects(DisconnectBy::Primary) {
            primary.disconnect_worker(WORKER);
        }
    }

    fn worker_start(&mut self, worker: &mut Worker, process: &mut Process<'_>) {
        for _ in 0..self.messages {
            let _ = process.send_numbered(Actor::Primary, |message| worker.send(message));
        }
        if self.disconnects(DisconnectBy::Worker) {
            worker.disconnect();
        }
    }

    fn worker_event(&mut self, _: &mut Worker, _: &mut Process<'_>, _: WorkerEvent) {}
}
