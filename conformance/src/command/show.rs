//! `conformance show`: runs a scenario once and shows what everybody saw, whether it is right or not.

use std::path::PathBuf;

use clap::Args;

use super::{Arm, End, Places, Trouble, width};
use crate::arm::node::Runtime;
use crate::arm::sim::Sim;
use crate::arm::unix::Unix;
use crate::order;
use crate::report::columns;
use crate::scenario::Scenario;
use crate::trace::Trace;

/// What to show, and where it runs.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// The scenario's name
    scenario: String,
    /// Where to run it
    #[arg(long, value_name = "ARM", default_value = "sim")]
    arm: Arm,
    /// For the simulator: the number of a random schedule; without, as on a quiet machine
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The Node.js of the arm `node`
    #[arg(long, value_name = "PATH", default_value = "node")]
    node: PathBuf,
}

impl Show {
    pub(super) fn perform(&self, places: &Places) -> Result<End, Trouble> {
        let scenario = places.scenario(&self.scenario)?;
        let trace = match self.arm {
            Arm::Sim => self.simulate(&scenario)?,
            Arm::Unix => Unix::this()?.run(&scenario)?,
            Arm::Node => Runtime::find(&self.node)?.run(&scenario)?,
        };
        println!("{}\n", scenario.story);
        print!("{}", columns(&trace, width()));
        println!("Rows are in no order: observers have no common clock.");
        let misfits = order::check(&scenario, &trace);
        misfits.iter().for_each(|misfit| println!("Not in the contract: {misfit}"));
        Ok(if misfits.is_empty() { End::Holds } else { End::Fails })
    }

    fn simulate(&self, scenario: &Scenario) -> Result<Trace, Trouble> {
        let sim = Sim::new(scenario);
        let run = self.seed.map_or_else(|| sim.quiet(), |seed| sim.sample(seed))?;
        Ok(run.trace)
    }
}
