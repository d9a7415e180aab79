//! The mutants as data: small wrong changes, each with its detector.

use std::error::Error;
use std::fs;

use serde::Deserialize;

/// The file of the mutants.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/mutants.json");

/// All mutants, and the runs that search for them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Suite {
    /// The number of runs that a survivor has passed.
    pub(crate) runs: u32,
    /// The scenarios of the runs, taken cyclically.
    pub(crate) scenarios: Vec<String>,
    pub(crate) mutants: Vec<Mutant>,
}

/// One small wrong change.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mutant {
    /// The wrong behaviour.
    pub(crate) name: String,
    /// The file, relative to `cluster/core/src`.
    pub(crate) file: String,
    /// The text to replace; it occurs once.
    pub(crate) find: String,
    pub(crate) replace: String,
    /// The check of the simulator, or the test of the core, that must detect the mutant.
    pub(crate) killer: String,
    /// For a check, the greatest number of runs before the detection.
    #[serde(default)]
    pub(crate) within: u64,
    /// The reason why no check detects the mutant, if a test or nothing detects the mutant.
    #[serde(default)]
    pub(crate) reason: String,
}

/// The killer of a mutant that nothing can detect.
pub(crate) const NONE: &str = "none";

impl Suite {
    pub(crate) fn load() -> Result<Self, Box<dyn Error>> {
        let suite: Suite = serde_json::from_str(&fs::read_to_string(FILE)?)?;
        let unexplained = |mutant: &&Mutant| mutant.within == 0 && mutant.reason.is_empty();
        match suite.mutants.iter().find(unexplained) {
            Some(mutant) => {
                Err(format!("mutant `{}` has neither a number of runs nor a reason", mutant.name).into())
            }
            None => Ok(suite),
        }
    }

    /// The mutants with this text in their name; an empty selection is an error.
    pub(crate) fn named(&self, part: &str) -> Result<Vec<&Mutant>, String> {
        let named: Vec<_> = self.mutants.iter().filter(|mutant| mutant.name.contains(part)).collect();
        if named.is_empty() {
            return Err(format!("no mutant has `{part}` in its name; sim/MUTANTS.md lists the names"));
        }
        Ok(named)
    }
}
