//! `conformance replay`: runs again what a line of the simulator has recorded, and shows every step of it.

use clap::Args;
use cluster_sim::replay::Line;

use super::{End, Places, Trouble};
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
        replayed.world.trace().into_iter().for_each(|trace| println!("{trace}"));
        if let Some(left) = &replayed.left {
            let (from, to) = (left.start(), left.end());
            println!(
                "This is not what was recorded: between steps {from} and {to} it went another way. The scenario or the code has changed."
            );
        }
        if let Err(failure) = &replayed.outcome {
            println!("The check `{}` fails at step {}: {}", failure.check, failure.step, failure.what);
            return Ok(End::Fails);
        }
        let misfits = order::check(&scenario, &sim::seen(&replayed.world));
        misfits.iter().for_each(|misfit| println!("Not in the contract: {misfit}"));
        if misfits.is_empty() {
            println!("Every check passes, and the contract is kept.");
            return Ok(End::Holds);
        }
        Ok(End::Fails)
    }
}
