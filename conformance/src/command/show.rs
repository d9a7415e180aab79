//! `conformance show`: runs a scenario once and prints the lines of every observer, right or wrong.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Arm, CliError, NODE, Outcome, Paths, interrupt, needs_node, print, print_misfits, width};
use crate::arm::mixed::{Mixed, Side};
use crate::arm::node::Runtime;
use crate::arm::sim::{self, Sim};
use crate::arm::unix::Unix;
use crate::report::columns;
use crate::scenario::Scenario;
use crate::suite::UNIX;
use crate::trace::Trace;

/// The scenario and the arm.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// The scenario's name
    scenario: String,
    /// The arm
    #[arg(long, value_name = "ARM", default_value = "sim")]
    arm: Arm,
    /// For the simulator: the number of a random schedule; without, as on a quiet machine
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The Node.js of the arms `node`, `rust-node` and `node-rust`. Default: `node`
    #[arg(long, value_name = "PATH")]
    node: Option<PathBuf>,
}

impl Show {
    pub(super) fn perform(&self, paths: &Paths) -> Result<Outcome, CliError> {
        needs_node(&[self.arm], self.node.as_deref())?;
        if self.seed.is_some() && self.arm != Arm::Sim {
            return Err(CliError(format!("`--seed` is for the simulator; {} has no seeds", self.arm)));
        }
        let scenario = paths.scenario(&self.scenario)?;
        let exceptions = paths.exceptions()?;
        let _home = interrupt::listen()?;
        let shown = match self.arm {
            Arm::Sim => self.simulate(&scenario),
            Arm::Unix => {
                Unix::this()?.run(&scenario).map(|trace| Shown::real(UNIX, trace)).map_err(CliError::from)
            }
            Arm::Node => self.live(&scenario),
            Arm::RustNode => self.mix(Side::Unix, &scenario),
            Arm::NodeRust => self.mix(Side::Node, &scenario),
        };
        if interrupt::is_stopped() {
            return Ok(Outcome::Interrupted);
        }
        let Shown { runtime, trace, replay } = shown?;
        let columns = columns(&trace, width());
        print(format_args!("{}\n\n{columns}", scenario.description))?;
        print("Rows are in no order: observers have no common clock.\n")?;
        if let Some(hang) = Sim::new(&scenario).hang(&trace) {
            print(format_args!("{hang}\n"))?;
        }
        if let Some(line) = replay {
            print(format_args!("\nStep by step: conformance replay '{line}'\n"))?;
        }
        print_misfits(&scenario, &runtime, &trace, &exceptions)
    }

    fn live(&self, scenario: &Scenario) -> Result<Shown, CliError> {
        let node = self.runtime()?;
        Ok(Shown::real(&node.name(), node.run(scenario)?))
    }

    fn mix(&self, primary: Side, scenario: &Scenario) -> Result<Shown, CliError> {
        let mixed = Mixed::new(primary, Unix::this()?, self.runtime()?);
        Ok(Shown::real(&mixed.name(), mixed.run(scenario)?))
    }

    fn runtime(&self) -> Result<Runtime, CliError> {
        Ok(Runtime::find(self.node.as_deref().unwrap_or(Path::new(NODE)))?)
    }

    fn simulate(&self, scenario: &Scenario) -> Result<Shown, CliError> {
        let sim = Sim::new(scenario);
        let sim::Run { trace, replay } = self.seed.map_or_else(|| sim.quiet(), |seed| sim.sample(seed))?;
        Ok(Shown { runtime: sim::NAME.to_owned(), trace, replay: Some(replay) })
    }
}

/// A run to print.
struct Shown {
    runtime: String,
    trace: Trace,
    /// The replay line of a simulated run.
    replay: Option<String>,
}

impl Shown {
    fn real(runtime: &str, trace: Trace) -> Self {
        Shown { runtime: runtime.to_owned(), trace, replay: None }
    }
}
