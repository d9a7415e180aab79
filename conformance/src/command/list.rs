//! `conformance list`: the scenarios and their descriptions.

use super::{CliError, Outcome, Paths, print, width};
use crate::text::wrapped;

/// Where the stories begin.
const INDENT: usize = 4;
/// Longer lines are hard to read, on a wide terminal, too.
const WIDEST: usize = 100;

pub(super) fn perform(paths: &Paths) -> Result<Outcome, CliError> {
    for scenario in paths.scenarios(&[])? {
        print(format_args!("{}\n", scenario.name))?;
        for line in wrapped(&scenario.description, width().min(WIDEST) - INDENT, "") {
            print(format_args!("{:INDENT$}{line}\n", ""))?;
        }
    }
    Ok(Outcome::Holds)
}
