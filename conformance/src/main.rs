//! The command `conformance`. What it can do is in the library; here it only begins.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A search copies worlds and drops them again: the allocator is a fifth of what it costs.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    cluster_conformance::command::main()
}
