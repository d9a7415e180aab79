//! The tests of the public simulator, in one binary: no test needs a separate process.
//!
//! Tests that take minutes without optimization are ignored in a debug build and run with `cargo test --release`.

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
mod supervised;
mod zones;
