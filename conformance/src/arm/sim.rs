//! The simulator as an arm: random schedules of a scenario, the search for a schedule with a given trace, and
//! the replay of a line. Channels, sockets and processes are data, so a run takes microseconds, and every
//! schedule is possible.
//!
//! Only two faults are armed: a read in pieces, and a port that is assigned again. Both also happen on a
//! healthy machine.

use std::sync::Arc;

use cluster_core::{SpawnOptions, WorkerId};
use cluster_sim::explore::{self, Budget, Observed, Reached};
use cluster_sim::{Actor, ClientId, Failure, Fault, Faults, Schedule, World, replay};

use super::translate;
use crate::observation::{Observation, Observer};
use crate::pattern::LinePattern;
use crate::runtimes::compared_as;
use crate::scenario::Scenario;
use crate::trace::Trace;

mod hang;
mod late_closes;
mod lookups;
mod observation_writer;
mod ports;
mod primary;
mod scenario_program;
mod sim_clients;
mod sockets;
mod worker;

pub use observation_writer::Misreading;
use observation_writer::ScenarioContext;
pub use scenario_program::ScenarioProgram;

/// The directory of a run.
const PLACE: &str = "/run";

/// A directory that exists neither in the simulator nor on real systems.
const NOWHERE: &str = "/nowhere";

/// The exit code of Node after an uncaught error.
const UNCAUGHT: i32 = 1;

/// The name of the simulator as a runtime.
pub const NAME: &str = "sim";

/// In a replay line, the name of a scenario with workers on Node has this ending.
const ON_NODE: &str = "@node";

/// A scenario, ready to be simulated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sim {
    context: ScenarioContext,
}

/// A run and its replay line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The trace.
    pub trace: Trace,
    /// The line for `conformance replay`.
    pub replay: String,
}

/// Whether the simulator can produce a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// This run produces the trace.
    Yes(Run),
    /// No schedule produces the trace.
    No(Nearest),
    /// The search was given up.
    Unknown(Nearest),
}

/// The run of the simulator nearest to a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nearest {
    /// The number of lines that are equal.
    pub made: usize,
    /// The number of all lines.
    pub of: usize,
    /// The first difference. `None`: the search ended for another reason than a line.
    pub misfit: Option<Divergence>,
    /// The check that fails in the nearest run. A search does not continue after a failed check.
    pub failed: Option<Box<Failure>>,
    /// The number of visited worlds.
    pub worlds: usize,
    /// The replay line of the nearest run.
    pub replay: String,
}

/// The first line in which the simulator and the trace differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Divergence {
    /// The observer of the line.
    pub observer: Observer,
    /// The number of the line in the observer's sequence, from 1.
    pub line: usize,
    /// The simulator's line; `None` if nothing more happens.
    pub found: Option<String>,
    /// The line of the trace; `None` if the trace ends.
    pub wanted: Option<String>,
}

impl Sim {
    /// Prepares a scenario.
    pub fn new(scenario: &Scenario) -> Self {
        let datagram_servers = Arc::new(scenario.datagram_servers());
        Sim {
            context: ScenarioContext {
                scenario: Arc::new(scenario.clone()),
                datagram_servers,
                hidden: [].into(),
                workers_on_node: false,
                misreadings: [].into(),
                late_closes: [].into(),
            },
        }
    }

    /// The scenario of a replay line. `scenario` finds a scenario by name.
    ///
    /// # Errors
    ///
    /// The errors of `scenario`.
    pub fn of_line<E>(
        line: &replay::Line,
        scenario: impl FnOnce(&str) -> Result<Scenario, E>,
    ) -> Result<Self, E> {
        let name = line.scenario();
        let on_node = name.strip_suffix(ON_NODE);
        let mut sim = Sim::new(&scenario(on_node.unwrap_or(name))?);
        sim.context.workers_on_node = on_node.is_some();
        Ok(sim)
    }

    /// Simulates workers of this runtime: `unix`, `node v20.20.2`, `unix with workers on node v20.20.2`. A
    /// foreign runtime is compared with Node.js. The default is Rust workers.
    #[must_use]
    pub fn like(mut self, runtime: &str) -> Self {
        let workers = compared_as(runtime).split(" with workers on ").last().unwrap_or_default();
        self.context.workers_on_node = workers.starts_with("node ");
        self
    }

    /// The scenario.
    pub fn scenario(&self) -> &Scenario {
        &self.context.scenario
    }

    /// Removes these lines from the traces.
    #[must_use]
    pub fn hiding(mut self, lines: impl IntoIterator<Item = LinePattern>) -> Self {
        self.context.hidden = lines.into_iter().collect();
        self
    }

    /// Lets the workers report these events as other events.
    #[must_use]
    pub fn misreading(mut self, lines: Vec<Misreading>) -> Self {
        self.context.misreadings = lines.into();
        self
    }

    /// Lets connections close some time after their end, where the trace suggests it. `None`: nowhere.
    pub fn closing_late(&self, trace: &Trace) -> Option<Self> {
        let late = late_closes::of(self.scenario(), self.context.workers_on_node, trace);
        let context = ScenarioContext { late_closes: late.into(), ..self.context.clone() };
        (!context.late_closes.is_empty()).then_some(Sim { context })
    }

    /// Runs the scenario on the schedule of this seed. With an odd seed, reads return pieces.
    ///
    /// # Errors
    ///
    /// A check of the simulator fails. The lines may show nothing of the defect.
    pub fn sample(&self, seed: u64) -> Result<Run, Box<Failure>> {
        let pieces = Faults::only(&[Fault::PartialRead]);
        let faults = if seed.is_multiple_of(2) { Faults::none() } else { pieces };
        run(self.world().with_faults(faults).on(Schedule::seed(seed)))
    }

    /// Runs the scenario as a quiet machine would.
    ///
    /// # Errors
    ///
    /// As [`sample`](Sim::sample).
    pub fn quiet(&self) -> Result<Run, Box<Failure>> {
        run(self.world())
    }

    /// Searches for a schedule with this trace, within a budget of worlds.
    ///
    /// A kernel rarely assigns a released port again. Only if the trace repeats a port, a second search
    /// includes this choice.
    pub fn reaches(&self, trace: &Trace, budget: impl Into<Budget>) -> Reach {
        let budget = budget.into();
        let reach = self.reaches_with(Faults::none(), trace, budget);
        if matches!(reach, Reach::Yes(_)) || !ports::repeats_one(trace) {
            return reach;
        }
        self.reaches_with(Faults::only(&[Fault::ReusedPort]), trace, budget)
    }

    fn reaches_with(&self, faults: Faults, trace: &Trace, budget: Budget) -> Reach {
        // If `listening` lines are hidden, some names have no counterpart, so ports are not compared.
        let is_whole = self.context.hidden.iter().all(|lines| lines.pattern.asked.what != "listening");
        let names =
            if is_whole { ports::names(&self.context.scenario, trace) } else { explore::Names::new() };
        let world = self.world().with_faults(faults);
        match explore::reaches_named(&world, &wanted(trace), &names, budget) {
            Reached::Yes(choices) => Reach::Yes(found(world.on(Schedule::replay(choices)), trace)),
            Reached::No(deepest) => Reach::No(nearest(world, deepest, trace)),
            Reached::Unknown(deepest) => Reach::Unknown(nearest(world, deepest, trace)),
        }
    }

    /// What never ends in a run with this trace, in words. `None`: everything has ended.
    pub fn hang(&self, trace: &Trace) -> Option<String> {
        hang::words(&self.context.scenario, trace)
    }

    /// Runs a replay line, with a [`Trace`](cluster_sim::Trace) of every step.
    pub fn replay(&self, line: &replay::Line) -> replay::Replayed<ScenarioProgram> {
        line.replay(self.world().traced())
    }

    /// The world of the scenario, on a quiet schedule.
    pub fn world(&self) -> World<ScenarioProgram> {
        let settings = translate::settings(&self.context.scenario, SpawnOptions::new());
        let suffix = if self.context.workers_on_node { ON_NODE } else { "" };
        World::new(ScenarioProgram::new(self.context.clone()), settings)
            .named(format!("{}{suffix}", self.context.scenario.name))
    }
}

/// Repeats the choices that a search has found: only a replay is evidence.
fn found(world: World<ScenarioProgram>, trace: &Trace) -> Run {
    let run = run(world);
    let run = run.unwrap_or_else(|failure| unreachable!("a search takes no step that fails: {failure}"));
    assert_eq!(run.trace, *trace, "a successful search has found this trace");
    run
}

fn nearest(world: World<ScenarioProgram>, deepest: explore::Deepest, trace: &Trace) -> Nearest {
    let explore::Deepest { made, wanted: of, misfit, choices, worlds, .. } = deepest;
    let mut world = world.on(Schedule::replay(choices));
    let failed = world.run().err();
    let seen = seen(&world);
    let misfit = misfit.map(|explore::Misfit { observer, found, wanted }| {
        let observer = observation_writer::observer(observer);
        let line = 1 + common(seen.seen_by(observer), trace.seen_by(observer));
        Divergence { observer, line, found, wanted }
    });
    Nearest { made, of, misfit, failed, worlds, replay: world.replay_line() }
}

fn run(mut world: World<ScenarioProgram>) -> Result<Run, Box<Failure>> {
    world.run()?;
    Ok(Run { trace: seen(&world), replay: world.replay_line() })
}

/// The trace of a world. The lines are canonical.
pub fn seen(world: &World<ScenarioProgram>) -> Trace {
    let mut trace = Trace::default();
    for line in world.observations() {
        let seen = line.text.parse().expect("a line of this arm");
        trace.push(observation_writer::observer(line.observer), seen);
    }
    trace
}

fn wanted(trace: &Trace) -> Observed {
    let texts = |lines: &Vec<Observation>| lines.iter().map(ToString::to_string).collect();
    trace.observers.iter().map(|(observer, lines)| (actor(*observer), texts(lines))).collect()
}

/// The length of the common beginning of two sequences.
fn common(one: &[Observation], other: &[Observation]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

fn actor(observer: Observer) -> Actor {
    match observer {
        Observer::Primary => Actor::Primary,
        Observer::Worker(id) => Actor::Worker(WorkerId(id)),
        Observer::Client(number) => Actor::Client(ClientId(number)),
    }
}

#[cfg(test)]
mod tests;
