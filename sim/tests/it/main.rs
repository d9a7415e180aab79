//! The tests of the simulator as its users see it, in one binary: a test needs no process of its own.
//!
//! What takes minutes without optimization is ignored in a debug build and runs with `cargo test --release`.

mod blocked_process;
mod counters;
mod determinism;
mod environment;
mod exhaustive;
mod guided_search;
mod mutants;
mod proofs;
mod properties;
mod rare_events;
mod respawn_example;
mod shrinking;
mod sockets;
mod zones;
