//! The handoff in five kinds of worlds, each small enough for an exhaustive search: proven rather than
//! sampled. `explore` runs the search.

use super::{RandomProgram, ReplyServer, Scenario};
use crate::check::Failure;
use crate::explore::{Budget, Coverage, exhaustive};
use crate::fault::{Fault, Faults};
use crate::program::Program;
use crate::world::World;

/// A world for an exhaustive search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// What happens in its runs.
    pub description: &'static str,
    /// The name of its scenario.
    pub scenario: &'static str,
    /// The number of kills. A kill may strike the primary or a worker, at any call.
    pub kills: u8,
    /// Whether the search takes seconds, not minutes.
    pub is_small: bool,
}

const fn proof(description: &'static str, scenario: &'static str, kills: u8, is_small: bool) -> Proof {
    Proof { description, scenario, kills, is_small }
}

/// The five kinds: each kind first as a small world, then with more workers or connections.
pub const PROOFS: [Proof; 14] = [
    proof("graceful disconnect", "serve-1-1", 0, true),
    proof("graceful disconnect", "serve-2-1", 0, false),
    proof("graceful disconnect", "serve-2-2", 0, false),
    proof("graceful disconnect, one kill at any call", "serve-1-1-0", 1, true),
    proof("graceful disconnect, one kill at any call", "serve-2-1-0", 1, false),
    proof("graceful disconnect, one kill at any call", "serve-2-2-0", 1, false),
    proof("listen, close and listen again", "plan-1-1--cl", 0, true),
    proof("listen, close and listen again", "plan-2-1--cl", 0, false),
    proof("disconnect raced from both sides", "plan-1-1-...d1-.d", 0, true),
    proof("disconnect raced from both sides", "plan-2-0-..d1-.d", 0, true),
    proof("disconnect raced from both sides", "plan-2-1-...d1-.d", 0, false),
    proof("the primary dies", "plan-1-1-...x-", 0, true),
    proof("the primary dies", "plan-1-0--", 1, true),
    proof("the primary dies", "plan-2-1-....x-", 0, false),
];

impl Proof {
    /// Takes every run, with every check on every state.
    ///
    /// # Errors
    ///
    /// The first check that fails, with the replay line.
    ///
    /// # Panics
    ///
    /// If the scenario has an unknown name.
    pub fn attempt(&self, budget: impl Into<Budget>) -> Result<Coverage, Box<Failure>> {
        if let Ok(serve) = self.scenario.parse::<Scenario<ReplyServer>>() {
            return self.search(serve.world(), budget.into());
        }
        let plan: Scenario<RandomProgram> = self.scenario.parse().expect("the name of a scenario");
        self.search(plan.world(), budget.into())
    }

    fn search<P: Program>(&self, world: World<P>, budget: Budget) -> Result<Coverage, Box<Failure>> {
        let faults =
            if self.kills > 0 { Faults::only(&[Fault::Kill]).limit(self.kills) } else { Faults::none() };
        exhaustive(&world.with_faults(faults), budget)
    }
}
