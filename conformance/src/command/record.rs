//! `conformance record`: records what Node does in each scenario.

use std::path::{Path, PathBuf};

use clap::Args;

use super::progress::Progress;
use super::{CliError, Outcome, Paths, at_least_1, interrupt, print};
use crate::arm::node::Runtime;
use crate::fixture::{Fixture, Load};
use crate::scenario::Scenario;

/// The scenarios, the loads and the number of runs.
#[derive(Debug, Args)]
pub(super) struct Record {
    /// The Node.js to record
    #[arg(long, value_name = "PATH", default_value = "node")]
    node: PathBuf,
    /// Runs of each scenario on an idle machine, as many on a busy one, and as many with one core for all
    /// processes
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = at_least_1::<u32>)]
    runs: u32,
    /// Record only under this load, and keep the runs under the others; repeatable
    #[arg(long = "load", value_name = "LOAD")]
    loads: Vec<Load>,
    /// Only scenarios with a matching name; `*` matches any text; repeatable
    #[arg(long = "scenario", value_name = "GLOB")]
    globs: Vec<String>,
    /// The same, without the option
    #[arg(value_name = "GLOB")]
    names: Vec<String>,
}

impl Record {
    pub(super) fn perform(&self, paths: &Paths) -> Result<Outcome, CliError> {
        let mut scenarios = paths.scenarios(&[self.globs.as_slice(), &self.names].concat())?;
        let node = Runtime::find(&self.node)?;
        scenarios.retain(|scenario| scenario.runs_on(&node.name()));
        let directory = paths.need_own_recordings()?.join(node.directory());
        let _home = interrupt::listen()?;
        let progress = Progress::new(scenarios.len());
        for scenario in &scenarios {
            let fixture = self.record(&node, scenario, &directory);
            if interrupt::is_stopped() {
                return Ok(Outcome::Interrupted);
            }
            let fixture = fixture?;
            fixture.save(&directory)?;
            progress.step(&format!("{}: {} different traces", scenario.name, fixture.traces.len()));
        }
        drop(progress);
        print(format_args!(
            "{} recordings of {} are in {}\n",
            scenarios.len(),
            node.name(),
            directory.display()
        ))?;
        Ok(Outcome::Holds)
    }

    fn record(&self, node: &Runtime, scenario: &Scenario, directory: &Path) -> Result<Fixture, CliError> {
        let new = Fixture::new(&scenario.name, &node.name());
        let (mut fixture, loads) = if self.loads.is_empty() {
            (new, Load::ALL.as_slice())
        } else {
            let before = Fixture::load(directory, &scenario.name);
            (
                before.map_or_else(|_| new.clone(), |before| before.on_another(&new.machine)),
                self.loads.as_slice(),
            )
        };
        for &load in loads {
            fixture.forget(load);
            let recorded = node.record(scenario, self.runs, load, &mut fixture, || ());
            recorded.map_err(|error| CliError(format!("{}, {load}: {error}", scenario.name)))?;
        }
        Ok(fixture)
    }
}
