//! `conformance replay`: runs again what a line of the simulator has recorded, and shows every step of it.
//!
//! The line is of a scenario, or of one of the simulator's own, as a failing `cargo test` prints them.

use std::fmt;
use std::ops::RangeInclusive;

use clap::Args;
use cluster_sim::replay::Line;
use cluster_sim::{Failure, standard};

use super::{End, Places, Trouble, say, say_misfits};
use crate::arm::sim::{self, Sim};
use crate::exceptions::Exceptions;
use crate::scenario::Scenario;

/// Which run.
#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The line, as a failure prints it: `sim:v1:...`
    line: String,
}

impl Replay {
    pub(super) fn perform(&self, places: &Places) -> Result<End, Trouble> {
        let line: Line = self.line.parse()?;
        match (places.scenario(line.scenario()), standard::replay(&self.line)) {
            (Ok(scenario), _) => of_a_scenario(&line, &scenario, &Exceptions::load(&places.exceptions)?),
            (Err(_), Ok(again)) => of_the_simulator(&again),
            (Err(unknown), Err(_)) => Err(unknown),
        }
    }
}

fn of_the_simulator(again: &standard::Again) -> Result<End, Trouble> {
    let end = say_run(Some(&again.trace), again.left.as_ref(), &again.outcome)?;
    if again.outcome.is_ok() {
        say("Every check passes.\n")?;
    }
    Ok(end)
}

fn of_a_scenario(line: &Line, scenario: &Scenario, exceptions: &Exceptions) -> Result<End, Trouble> {
    let sim = Sim::new(scenario);
    let replayed = sim.replay(line);
    let left = replayed.left.as_ref().filter(|_| !is_recorded_with_less(line, scenario, exceptions));
    let end = say_run(replayed.world.trace(), left, &replayed.outcome)?;
    if replayed.outcome.is_err() {
        return Ok(end);
    }
    let seen = sim::seen(&replayed.world);
    if let Some(hang) = sim.hang(&seen) {
        say(format_args!("{hang}\n"))?;
        return Ok(End::Fails);
    }
    let kept = say_misfits(scenario, sim::NAME, &seen, exceptions)?;
    if kept == End::Holds {
        say("Every check passes, and the contract is kept.\n")?;
    }
    Ok(if end == End::Holds { kept } else { end })
}

/// Whether the line is of a search in which the lines of some runtime's exceptions were not written down.
fn is_recorded_with_less(line: &Line, scenario: &Scenario, exceptions: &Exceptions) -> bool {
    exceptions.runtimes().any(|runtime| {
        let hidden = exceptions.concerning(&scenario.name, runtime).map(|exception| exception.lines.clone());
        Sim::new(scenario).hiding(hidden).replay(line).left.is_none()
    })
}

/// Shows the steps, whether they are those that were recorded, and the check that fails.
fn say_run(
    trace: Option<impl fmt::Display>,
    left: Option<&RangeInclusive<usize>>,
    outcome: &Result<(), Box<Failure>>,
) -> Result<End, Trouble> {
    trace.map_or(Ok(()), say)?;
    if let Some(left) = left {
        let (from, to) = (left.start(), left.end());
        say(format_args!(
            "This is not what was recorded: between steps {from} and {to} it went another way. \
             The scenario or the code has changed.\n"
        ))?;
    }
    if let Err(failure) = outcome {
        let Failure { check, step, what, .. } = failure.as_ref();
        say(format_args!("The check `{check}` fails at step {step}: {what}\n"))?;
    }
    Ok(if left.is_none() && outcome.is_ok() { End::Holds } else { End::Fails })
}
