//! A primary and workers that exchange messages: only forks, messages and a disconnect. For benches.

use cluster_core::{Event, Primary, Worker, WorkerEvent, WorkerId};
use serde_json::Value;

use crate::{Process, Program};

/// The primary sends messages, one window at a time to each worker, and each worker returns the messages.
/// After the last message the cluster disconnects.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PingPong {
    workers: u32,
    window: u64,
    /// The number of messages not sent yet.
    unsent: u64,
    /// The number of messages not returned yet.
    unanswered: u64,
}

impl PingPong {
    /// An exchange of `messages` messages. Half of them are answers.
    pub fn new(workers: u32, messages: u64, window: u64) -> Self {
        PingPong { workers, window, unsent: messages / 2, unanswered: messages / 2 }
    }

    fn send(&mut self, primary: &mut Primary, worker: WorkerId) {
        for _ in 0..self.window.min(self.unsent) {
            self.unsent -= 1;
            primary.send(worker, Value::from(12_345_678)).expect("the channel has room");
        }
    }
}

impl Program for PingPong {
    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        for _ in 0..self.workers {
            primary.fork().expect("the settings are valid");
        }
    }

    fn primary_event(&mut self, primary: &mut Primary, _: &mut Process<'_>, event: Event) {
        if let Event::Online { worker } = event {
            self.send(primary, worker);
        }
        if let Event::Message { worker, .. } = event {
            self.unanswered -= 1;
            if self.unanswered == 0 {
                primary.disconnect_all();
            } else if self.unanswered.is_multiple_of(self.window) {
                self.send(primary, worker);
            }
        }
    }

    fn worker_event(&mut self, worker: &mut Worker, _: &mut Process<'_>, event: WorkerEvent) {
        if let WorkerEvent::Message { message, .. } = event {
            worker.send(message).expect("the channel is open");
        }
    }
}

#[cfg(test)]
mod tests {
    use cluster_core::Settings;

    use super::*;
    use crate::{Schedule, World};

    #[test]
    fn every_message_is_returned() {
        for (workers, messages, window) in [(2, 10, 1), (1, 1280, 64)] {
            for seed in 0..20 {
                let talk = PingPong::new(workers, messages, window);
                let mut world = World::new(talk, Settings::default()).on(Schedule::seed(seed));
                world.run().expect("every check holds");
                assert_eq!(world.running().count(), 1, "only the primary runs");
            }
        }
    }
}
