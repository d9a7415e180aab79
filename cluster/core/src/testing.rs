//! A cluster in memory, for tests of machines. Deterministic, without faults and schedules; the simulator has
//! both.
//!
//! * [`TestOs`] answers the calls of one machine, and records the calls.
//! * [`TestProcess`] is one machine on such an operating system; the test is the peer.
//! * [`TestCluster`] is a primary with workers. Each process reads every message written by the peer.

mod test_cluster;
mod test_os;
mod test_process;

pub use crate::primary::without_requeue;
pub use test_cluster::TestCluster;
pub use test_os::{Answer, TestOs};
pub use test_process::{TestProcess, drain};
