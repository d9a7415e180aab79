//! `conformance record`: writes anew what Node does in each scenario.

use std::path::PathBuf;

use clap::Args;

use super::progress::Progress;
use super::{End, Places, Trouble, at_least_1, interrupt, say};
use crate::arm::node::Runtime;
use crate::fixture::{Fixture, Load};
use crate::scenario::Scenario;

/// What to record, and how often.
#[derive(Debug, Args)]
pub(super) struct Record {
    /// The Node.js to record
    #[arg(long, value_name = "PATH", default_value = "node")]
    node: PathBuf,
    /// Runs of each scenario on an idle machine, and as many again on a busy one
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = at_least_1::<u32>)]
    runs: u32,
    /// Only the scenarios of this name, in which `*` is anything; may be given several times
    #[arg(long = "scenario", value_name = "GLOB")]
    globs: Vec<String>,
}

impl Record {
    pub(super) fn perform(&self, places: &Places) -> Result<End, Trouble> {
        let scenarios = places.scenarios(&self.globs)?;
        let node = Runtime::find(&self.node)?;
        let directory = places.recordings.join(node.directory());
        interrupt::listen()?;
        let progress = Progress::new(scenarios.len());
        for scenario in &scenarios {
            let fixture = self.record(&node, scenario);
            if interrupt::is_stopped() {
                return Ok(End::Interrupted);
            }
            let fixture = fixture?;
            fixture.save(&directory)?;
            progress.step(&format!("{}: {} different traces", scenario.name, fixture.traces.len()));
        }
        drop(progress);
        say(format_args!(
            "{} recordings of {} are in {}\n",
            scenarios.len(),
            node.name(),
            directory.display()
        ))?;
        Ok(End::Holds)
    }

    fn record(&self, node: &Runtime, scenario: &Scenario) -> Result<Fixture, Trouble> {
        let mut fixture = Fixture::new(&scenario.name, &node.name());
        for load in [Load::Idle, Load::Loaded] {
            let recorded = node.record(scenario, self.runs, load, &mut fixture, || ());
            recorded.map_err(|error| Trouble(format!("{}, {load}: {error}", scenario.name)))?;
        }
        Ok(fixture)
    }
}
