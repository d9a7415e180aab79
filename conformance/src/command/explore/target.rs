//! The target of `explore`: a named world, and the judgement of its runs. The search itself is elsewhere.

use std::fmt;

use cluster_sim::prop::Run;
use cluster_sim::scenarios;
use cluster_sim::{Failure, Fault, Faults, Program, Schedule, World};

use crate::arm::sim::{self, ScenarioProgram, Sim};
use crate::exceptions::Exceptions;
use crate::order;
use crate::scenario::Scenario;

/// Faults that also happen on a healthy machine. A short write is not among them: a worker that exits right
/// afterwards loses the rest, which changes the lines.
const HEALTHY: [Fault; 2] = [Fault::PartialRead, Fault::Reexec];

const KEPT: &str = "Every check of the simulator passes, and every run keeps the contract.";
const UNJUDGED: &str =
    "Every check of the simulator passes; the scenario's contract does not cover such faults.";

/// The number of preemptions in a run by priorities.
const SURPRISES: u8 = 3;

/// Judges a complete run.
type Judge<P> = Box<dyn Fn(&World<P>) -> Option<Finding> + Send + Sync>;

/// The target of a search.
pub(super) struct ExploreTarget<P> {
    name: String,
    world: World<P>,
    strikes: u8,
    judge: Option<Judge<P>>,
    /// The statement that is proven or supported if no run fails.
    promise: &'static str,
}

/// A failure of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// Two failures of the same kind count as the same failure.
    pub(super) kind: String,
    /// The failure in words.
    pub(super) text: String,
}

impl Finding {
    pub(super) fn check(failure: &Failure) -> Self {
        Finding { kind: failure.check.to_string(), text: failure.summary() }
    }
}

impl ExploreTarget<ScenarioProgram> {
    /// A scenario of conformance. The contract applies if no armed fault is visible to observers.
    pub(super) fn of(scenario: &Scenario, exceptions: Exceptions, faults: Faults, strikes: u8) -> Self {
        let faults = faults.limit(strikes);
        let world = Sim::new(scenario).world().with_faults(faults);
        let is_healthy = Fault::ALL.iter().all(|fault| !faults.is_armed(*fault) || HEALTHY.contains(fault));
        let judged = scenario.clone();
        let judge: Judge<ScenarioProgram> = Box::new(move |world| judge(world, &judged, &exceptions));
        let promise = if is_healthy { KEPT } else { UNJUDGED };
        ExploreTarget {
            name: scenario.name.clone(),
            world,
            strikes,
            judge: is_healthy.then_some(judge),
            promise,
        }
    }
}

impl<P: Program> ExploreTarget<P> {
    /// A scenario of the simulator itself, which has no contract.
    pub(super) fn own(scenario: &scenarios::Scenario<P>, faults: Faults, strikes: u8) -> Self
    where
        P: fmt::Display,
    {
        let world = scenario.world().with_faults(faults.limit(strikes));
        let promise = "Every check of the simulator passes; its own scenarios have no contract.";
        ExploreTarget { name: scenario.to_string(), world, strikes, judge: None, promise }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The initial world, with the armed faults.
    pub(super) fn world(&self) -> &World<P> {
        &self.world
    }

    /// The faults of the random run with this number. An odd run arms only about half of the faults: some
    /// failures occur only without a certain other fault.
    pub(super) fn armed(&self, seed: u64) -> Faults {
        let armed = self.world.schedule().armed();
        let swarm = Faults::swarm(seed);
        let absent = |fault: &Fault| seed % 2 == 1 && !swarm.is_armed(*fault);
        let kept = Fault::ALL.into_iter().filter(|fault| armed.is_armed(*fault) && !absent(fault));
        kept.fold(Faults::none().limit(self.strikes), Faults::and)
    }

    /// A whole run, ready to be shrunk.
    pub(super) fn run(&self, faults: Faults, schedule: Schedule) -> Run<P> {
        Run::new(self.world.clone().with_faults(faults), schedule)
    }

    /// The failure of a run with this outcome.
    pub(super) fn finding(&self, world: &World<P>, outcome: &Result<(), Box<Failure>>) -> Option<Finding> {
        match outcome {
            Err(failure) => Some(Finding::check(failure)),
            Ok(()) => self.judge.as_ref().and_then(|judge| judge(world)),
        }
    }

    /// The statement that is proven or supported if no run fails.
    pub(super) fn promise(&self) -> &'static str {
        self.promise
    }
}

/// The schedule of the random run with this number. A quarter of the runs uses priorities, which find
/// failures that need few preemptions far apart.
pub(super) fn schedule(seed: u64) -> Schedule {
    if seed / 2 % 4 == 3 { Schedule::pct(seed, SURPRISES) } else { Schedule::seed(seed) }
}

fn judge(world: &World<ScenarioProgram>, scenario: &Scenario, exceptions: &Exceptions) -> Option<Finding> {
    let seen = sim::seen(world);
    if let Some(hang) = Sim::new(scenario).hang(&seen) {
        return Some(Finding { kind: "hang".to_owned(), text: hang });
    }
    let misfits = order::check(scenario, &seen);
    let mut meant =
        misfits.iter().filter(|misfit| exceptions.excuse_for(&scenario.name, sim::NAME, misfit).is_none());
    let first = meant.next()?;
    Some(Finding { kind: "contract".to_owned(), text: format!("contract: {first}") })
}
