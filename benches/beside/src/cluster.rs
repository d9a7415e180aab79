//! The work on the simulator of this project.

use cluster_core::Settings;
use cluster_sim::scenarios::PingPong;
use cluster_sim::{Schedule, World};

fn ping_pong(workers: u32, messages: u64, window: u64, seed: u64) {
    let program = PingPong::new(workers, messages, window);
    let mut world = World::new(program, Settings::default()).on(Schedule::seed(seed));
    world.run().unwrap_or_else(|failure| panic!("{} fails: {}", failure.check, failure.what));
    assert_eq!(world.running().count(), 1, "the primary alone is left");
}

/// A primary and a worker exchange messages, with every check.
pub fn messages(messages: u64, window: u64) {
    ping_pong(1, messages, window, messages);
}

/// A primary forks two workers, exchanges 10 messages and disconnects.
pub fn run(seed: u64) {
    ping_pong(2, 10, 1, seed);
}

/// Two processes exchange messages without machines and checks.
pub fn kernel_only(messages: u64, window: u64) {
    cluster_sim::kernel_only::messages(messages, window, &mut Schedule::seed(messages));
}
