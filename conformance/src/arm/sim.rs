//! The simulator as an arm: random schedules of a scenario, the search for one with a given trace, and the replay of a
//! line. Channels, sockets and processes are data, so a run takes microseconds and every schedule can be had.
//!
//! Nothing fails here that does not fail on a healthy machine: bytes may arrive in pieces, and that is all.

use std::sync::Arc;

use cluster_sim::explore::{self, Observed, Reached};
use cluster_sim::{Actor, ClientId, Failure, Fault, Faults, Schedule, World, replay};
use cluster_core::WorkerId;

use super::translate;
use crate::observation::Observer;
use crate::scenario::Scenario;
use crate::trace::Trace;

mod pen;
mod player;
mod primary;
mod stage;
mod worker;

pub use player::Player;

/// A scenario, ready to be simulated.
#[derive(Debug, Clone)]
pub struct Sim {
    scenario: Arc<Scenario>,
}

/// A run, and the line that replays it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What everybody saw.
    pub trace: Trace,
    /// For `conformance replay`.
    pub replay: String,
}
