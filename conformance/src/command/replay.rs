//! `conformance replay`: replays a run of the simulator, and prints every step.
//!
//! The replay line belongs to a scenario of this suite, or to a scenario of the simulator, as printed by a
//! failing `cargo test`.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::Args;
use cluster_sim::diagram::{About, Diagram};
use cluster_sim::replay::Line;
use cluster_sim::{Failure, Trace, scenarios};

use super::{CliError, Outcome, Paths, file, print};
use crate::arm::sim::{self, Sim};
use crate::exceptions::Exceptions;
use crate::order;
use crate::scenario::Scenario;

/// The run.
#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The replay line of a failure: `sim:v1:...`
    line: String,
    /// Write a page with the sequence diagram of the run, instead of the table
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl Replay {
    pub(super) fn perform(&self, paths: &Paths) -> Result<Outcome, CliError> {
        let line: Line = self.line.parse()?;
        self.html.as_deref().map_or(Ok(()), file::writable)?;
        let run = match Sim::of_line(&line, |name| paths.scenario(name)) {
            Ok(sim) => of_a_scenario(&line, &sim, &paths.exceptions()?),
            Err(CliError(unknown)) => scenarios::replay(&self.line).map(of_the_simulator).map_err(|_| {
                CliError(format!(
                    "{unknown}. To replay a line of another program, call `prop::replay` of cluster-sim there"
                ))
            })?,
        };
        match &self.html {
            None => print(&run.trace)?,
            Some(path) => {
                let (about, name) = (run.about.clone(), line.scenario().to_owned());
                let about =
                    About { name, line: format!("conformance replay '{}'", self.line.trim()), ..about };
                file::write(path, Diagram::of(about, &run.trace).page().as_bytes())?;
                print(format_args!("The diagram is in {}.\n", path.display()))?;
            }
        }
        run.print()
    }
}

/// A replayed run and its judgement.
struct Run {
    trace: Trace,
    about: About,
    end: Outcome,
    /// The checks that passed, and the mismatches that are excused.
    fine: Vec<String>,
}

impl Run {
    fn new(trace: Trace, left: Option<RangeInclusive<usize>>, outcome: Result<(), Box<Failure>>) -> Self {
        let mut run = Run { trace, about: About::default(), end: Outcome::Holds, fine: Vec::new() };
        if let Err(failure) = outcome {
            run.fails(failure.summary());
            run.about.step = Some(failure.step);
        }
        if let Some(left) = left {
            run.fails(run.departure(&left));
            run.end = Outcome::Left;
        }
        run
    }

    fn fails(&mut self, what: String) {
        self.about.faulty.push(what);
        self.end = if self.end == Outcome::Left { Outcome::Left } else { Outcome::Fails };
    }

    /// The range of steps in which the run first differs from the recorded run.
    fn departure(&self, left: &RangeInclusive<usize>) -> String {
        let (from, to) = (left.start(), left.end());
        let first = self.trace.rows().iter().find(|row| row.step >= *from as u64);
        let there = first.map_or_else(
            || "now the run ends before".to_owned(),
            |row| format!("now step {} is of {}: {}", row.step, row.actor, row.what),
        );
        format!(
            "The run departs from the recording between steps {from} and {to}; {there}. \
             The scenario, the code or the line has changed."
        )
    }

    fn print(&self) -> Result<Outcome, CliError> {
        let texts = self.fine.iter().chain(&self.about.faulty);
        texts.into_iter().try_for_each(|text| print(format_args!("{text}\n")))?;
        Ok(self.end)
    }
}

fn of_the_simulator(again: scenarios::ReplayOutcome) -> Run {
    let mut run = Run::new(again.trace, again.left, again.outcome);
    if run.about.faulty.is_empty() {
        run.fine.push("Every check passes.".to_owned());
    }
    run
}

fn of_a_scenario(line: &Line, sim: &Sim, exceptions: &Exceptions) -> Run {
    let (replayed, scenario) = (sim.replay(line), sim.scenario());
    let left = replayed.left.filter(|_| !is_recorded_with_less(line, sim, exceptions));
    let trace = replayed.world.trace().cloned().unwrap_or_default();
    let has_ended = replayed.outcome.is_ok();
    let mut run = Run::new(trace, left, replayed.outcome);
    run.about.description.clone_from(&scenario.description);
    if has_ended {
        judge(&mut run, &sim::seen(&replayed.world), scenario, exceptions);
    }
    run
}

/// Compares the trace with the contract. A run that fails a check is incomplete, and is not compared.
fn judge(run: &mut Run, seen: &crate::trace::Trace, scenario: &Scenario, exceptions: &Exceptions) {
    if let Some(hang) = Sim::new(scenario).hang(seen) {
        return run.fails(hang);
    }
    for misfit in order::check(scenario, seen) {
        match exceptions.excuse_for(&scenario.name, sim::NAME, &misfit) {
            Some(exception) => {
                run.fine.push(format!("Excused by an exception: {misfit}\n  {}", exception.reason));
            }
            None => run.fails(format!("contract: {misfit}")),
        }
    }
    if run.about.faulty.is_empty() {
        run.fine.push("Every check passes, and the run keeps the contract.".to_owned());
    }
}

/// Whether the line is from a search that has hidden the lines of a runtime's exceptions.
fn is_recorded_with_less(line: &Line, sim: &Sim, exceptions: &Exceptions) -> bool {
    exceptions.runtimes().any(|runtime| {
        let concerning = exceptions.concerning(&sim.scenario().name, runtime);
        let hidden = concerning.map(|exception| exception.lines.clone());
        sim.clone().hiding(hidden).replay(line).left.is_none()
    })
}
