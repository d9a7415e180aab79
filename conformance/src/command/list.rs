//! `conformance list`: the scenarios and their stories.

use super::{End, Places, Trouble, say, width};
use crate::text::wrapped;

/// Where the stories begin.
const INDENT: usize = 4;
/// Longer lines are hard to read, on a wide terminal, too.
const WIDEST: usize = 100;

pub(super) fn perform(places: &Places) -> Result<End, Trouble> {
    for scenario in places.scenarios(&[])? {
        say(format_args!("{}\n", scenario.name))?;
        for line in wrapped(&scenario.description, width().min(WIDEST) - INDENT, "") {
            say(format_args!("{:INDENT$}{line}\n", ""))?;
        }
    }
    Ok(End::Holds)
}
