//! Replays a run from its line.

use std::ops::RangeInclusive;

use crate::check::Failure;
use crate::program::Program;
use crate::world::World;

pub use crate::line::{Line, ParseError};

/// The result of a replay.
#[derive(Debug)]
#[must_use = "`outcome` has the failed check"]
pub struct Replayed<P> {
    /// The world at the end of the run.
    pub world: World<P>,
    /// The outcome of the checks.
    pub outcome: Result<(), Box<Failure>>,
    /// The range of steps in which the run first differs from the recording, if any: then the scenario or the
    /// code has changed.
    pub left: Option<RangeInclusive<usize>>,
}

impl Line {
    /// Replays the run in a world of the scenario.
    pub fn replay<P: Program>(&self, world: World<P>) -> Replayed<P> {
        let mut world = world.with_faults(self.faults()).on(self.schedule());
        let outcome = world.run();
        let left = self.divergence(world.trace_hasher());
        Replayed { world, outcome, left }
    }
}
