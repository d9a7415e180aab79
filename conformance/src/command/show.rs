//! `conformance show`: runs a scenario once and shows what everybody saw, whether it is right or not.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Arm, End, NODE, Places, Trouble, interrupt, needs_node, say, say_misfits, width};
use crate::arm::mixed::{Mixed, Side};
use crate::arm::node::Runtime;
use crate::arm::sim::{self, Sim};
use crate::arm::unix::Unix;
use crate::exceptions::Exceptions;
use crate::report::columns;
use crate::scenario::Scenario;
use crate::suite::UNIX;
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
    /// The Node.js of the arms `node`, `rust-node` and `node-rust`, if it is not `node`
    #[arg(long, value_name = "PATH")]
    node: Option<PathBuf>,
}

impl Show {
    pub(super) fn perform(&self, places: &Places) -> Result<End, Trouble> {
        needs_node(&[self.arm], self.node.as_deref())?;
        let scenario = places.scenario(&self.scenario)?;
        let exceptions = Exceptions::load(&places.exceptions)?;
        interrupt::listen()?;
        let shown = match self.arm {
            Arm::Sim => self.simulate(&scenario),
            Arm::Unix => {
                Unix::this()?.run(&scenario).map(|trace| (UNIX.to_owned(), trace)).map_err(Trouble::from)
            }
            Arm::Node => self.live(&scenario),
            Arm::RustNode => self.mix(Side::Unix, &scenario),
            Arm::NodeRust => self.mix(Side::Node, &scenario),
        };
        if interrupt::is_stopped() {
            return Ok(End::Interrupted);
        }
        let (runtime, trace) = shown?;
        let columns = columns(&trace, width());
        say(format_args!("{}\n\n{columns}", scenario.story))?;
        say("Rows are in no order: observers have no common clock.\n")?;
        if let Some(hang) = Sim::new(&scenario).hang(&trace) {
            say(format_args!("{hang}\n"))?;
        }
        say_misfits(&scenario, &runtime, &trace, &exceptions)
    }

    fn live(&self, scenario: &Scenario) -> Result<(String, Trace), Trouble> {
        let node = self.runtime()?;
        Ok((node.name(), node.run(scenario)?))
    }

    fn mix(&self, primary: Side, scenario: &Scenario) -> Result<(String, Trace), Trouble> {
        let mixed = Mixed::new(primary, Unix::this()?, self.runtime()?);
        Ok((mixed.name(), mixed.run(scenario)?))
    }

    fn runtime(&self) -> Result<Runtime, Trouble> {
        Ok(Runtime::find(self.node.as_deref().unwrap_or(Path::new(NODE)))?)
    }

    fn simulate(&self, scenario: &Scenario) -> Result<(String, Trace), Trouble> {
        let sim = Sim::new(scenario);
        let run = self.seed.map_or_else(|| sim.quiet(), |seed| sim.sample(seed))?;
        Ok((sim::NAME.to_owned(), run.trace))
    }
}
