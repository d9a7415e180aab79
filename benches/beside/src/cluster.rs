//! The work on this simulator.

use cluster_core::Settings;
use cluster_sim::scenarios::PingPong;
use cluster_sim::{Schedule, World, kernel_only};

fn talk(workers: u32, messages: u64, window: u64, seed: u64) {
    let talk = PingPong::new(workers, messages, window);
    let mut world = World::new(talk, Settings::default()).on(Schedule::seed(seed));
    world.run().unwrap_or_else(|failure| panic!("{} fails: {}", failure.check, failure.what));
    assert_eq!(world.running().count(), 1, "the primary alone is left");
}

/// A primary and a worker, with everything.
pub fn messages(messages: u64, window: u64) {
    talk(1, messages, window, messages);
}

/// A primary and two workers: forked, 10 messages, disconnected.
pub fn run(seed: u64) {
    talk(2, 10, 1, seed);
}

/// Two processes and a channel, and nothing else.
pub fn bare(messages: u64, window: u64) {
    kernel_only::messages(messages, window, &mut Schedule::seed(messages));
}
