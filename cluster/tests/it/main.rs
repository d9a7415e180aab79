//! The integration tests in the harness of Rust: the examples, and the interleavings of the inbox. The tests
//! of the library are in `tests/cluster.rs`, because its processes start themselves as workers.

mod examples;
mod interleavings;

/// The file of the library, with the locks below.
#[path = "../../src/inbox.rs"]
mod inbox;

/// As in the library, but each lock is a choice for loom.
mod sync {
    pub(crate) use loom::sync::{Mutex, MutexGuard};
}
