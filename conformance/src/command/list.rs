//! `conformance list`: the scenarios and their descriptions.

use clap::Args;

use super::{CliError, Outcome, Paths, print, width};
use crate::scenario::Scenario;
use crate::text::wrapped;

/// The indent of descriptions.
const INDENT: usize = 4;
/// The largest width: longer lines are hard to read, even on a wide terminal.
const WIDEST: usize = 100;

/// The scenarios to list.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only scenarios with a matching name; `*` matches any text
    #[arg(value_name = "GLOB")]
    globs: Vec<String>,
}

impl List {
    pub(super) fn perform(&self, paths: &Paths) -> Result<Outcome, CliError> {
        list(&paths.scenarios(&self.globs)?)
    }
}

fn list(scenarios: &[Scenario]) -> Result<Outcome, CliError> {
    for scenario in scenarios {
        print(format_args!("{}\n", scenario.name))?;
        for line in wrapped(&scenario.description, width().min(WIDEST) - INDENT, "") {
            print(format_args!("{:INDENT$}{line}\n", ""))?;
        }
    }
    Ok(Outcome::Holds)
}
