//! `conformance replay`: runs again what a line of the simulator has recorded, and shows every step of it.

use clap::Args;
use cluster_sim::Failure;
use cluster_sim::replay::Line;

use super::{End, Places, Trouble, say, say_misfits};
use crate::arm::sim::{self, Sim};
use crate::order;

/// Which run.
#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The line, as a failure prints it: `sim:v1:...`
    line: String,
}

impl Replay {
    pub(super) fn perform(&self, places: &Places) -> Result<End, Trouble> {
        let line: Line = self.line.parse()?;
        let scenario = places.scenario(line.scenario())?;
        let replayed = Sim::new(&scenario).replay(&line);
        if let Some(trace) = replayed.world.trace() {
            say(trace)?;
        }
        if let Some(left) = &replayed.left {
            let (from, to) = (left.start(), left.end());
            say(format_args!(
                "This is not what was recorded: between steps {from} and {to} it went another way. \
                 The scenario or the code has changed.\n"
            ))?;
        }
        if let Err(failure) = &replayed.outcome {
            let Failure { check, step, what, .. } = failure.as_ref();
            say(format_args!("The check `{check}` fails at step {step}: {what}\n"))?;
            return Ok(End::Fails);
        }
        let misfits = order::check(&scenario, &sim::seen(&replayed.world));
        if misfits.is_empty() {
            say("Every check passes, and the contract is kept.\n")?;
        }
        say_misfits(&misfits)
    }
}
