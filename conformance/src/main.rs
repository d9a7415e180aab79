//! The command `conformance`. Everything else is in the library.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A search copies and drops many worlds, so the allocator takes a fifth of its time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    cluster_conformance::command::main()
}
