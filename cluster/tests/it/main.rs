//! The integration tests in Rust's own harness: the examples, and the interleavings of the inbox. The tests
//! of the library are in `tests/cluster.rs`, because the processes of those tests start themselves as
//! workers.

mod examples;
mod interleavings;

/// The file of the library, with the locks of the module `sync` below.
#[path = "../../src/inbox.rs"]
mod inbox;

/// The same items as in the library, but each lock is a choice for loom.
mod sync {
    pub(crate) use loom::sync::{Mutex, MutexGuard};
}
