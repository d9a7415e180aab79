//! The tests of the public simulator, in one binary: no test needs a process of its own.
//!
//! Tests that take minutes without optimization are ignored in a debug build and run with
//! `cargo test --release`.

mod blocked_process;
mod counters;
mod determinism;
mod environment;
mod exhaustive;
mod exhaustive_futures;
mod guided_search;
mod mutants;
mod planted_programs;
mod pooled;
mod proofs;
mod properties;
mod rare_events;
#[expect(clippy::unwrap_used, reason = "as in sim/README.md")]
mod readme_example;
mod readme_server;
mod respawn_example;
mod shrinking;
mod simulation;
mod sockets;
mod sticky;
mod supervised;
mod supervised_server;
mod zones;

/// sim/README.md has the program of the module `readme_example`. The test of the program runs here.
#[test]
fn readme_has_tested_program() {
    let readme = include_str!("../../README.md");
    assert!(readme.contains(include_str!("readme_example.rs")), "copy readme_example.rs into sim/README.md");
}
