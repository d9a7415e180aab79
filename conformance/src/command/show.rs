//! `conformance show`: runs a scenario once and prints the lines of every observer, right or wrong.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{
    Arm, CliError, NODE, Outcome, Paths, foreign, interrupt, needs_node, print, print_misfits, width,
};
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
    /// Run this runtime instead of an arm: a path, or a name of `conformance fetch`
    #[arg(long, value_name = "PATH|NAME", conflicts_with_all = ["arm", "seed", "node"])]
    runtime: Option<String>,
    /// Arguments before the script, for a runtime with a path
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true, requires = "runtime")]
    args: Option<String>,
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
            _ if self.runtime.is_some() => self.foreign(&scenario, paths),
            Arm::Sim => self.simulate(&scenario),
            Arm::Unix => {
                Unix::this()?.run(&scenario).map(|trace| Shown::real(UNIX, trace)).map_err(CliError::from)
            }
            Arm::Node => self.live(&scenario, paths),
            Arm::RustNode => self.mix(Side::Unix, &scenario, paths),
            Arm::NodeRust => self.mix(Side::Node, &scenario, paths),
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

    fn live(&self, scenario: &Scenario, paths: &Paths) -> Result<Shown, CliError> {
        let node = self.runtime(paths)?;
        Ok(Shown::real(&node.name(), node.run(scenario)?))
    }

    fn foreign(&self, scenario: &Scenario, paths: &Paths) -> Result<Shown, CliError> {
        let name = self.runtime.as_deref().unwrap_or_default();
        let runtime = foreign::foreign(name, self.args.as_deref(), paths)?.within(foreign::LIMITS);
        Ok(Shown::real(&runtime.name(), runtime.run(scenario)?))
    }

    fn mix(&self, primary: Side, scenario: &Scenario, paths: &Paths) -> Result<Shown, CliError> {
        let mixed = Mixed::new(primary, Unix::this()?, self.runtime(paths)?);
        Ok(Shown::real(&mixed.name(), mixed.run(scenario)?))
    }

    fn runtime(&self, paths: &Paths) -> Result<Runtime, CliError> {
        foreign::node(self.node.as_deref().unwrap_or(Path::new(NODE)), paths)
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
