//! The mutants as data: small wrong changes, each with the check or test that must detect it.

use std::error::Error;
use std::fs;

use serde::Deserialize;

/// The file of the mutants.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/mutants.json");

/// All mutants, and the runs that search for them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Suite {
    /// The number of runs after which a mutant counts as surviving.
    pub(crate) runs: u32,
    /// The scenarios of the runs. Run `n` takes the `n`th scenario, cyclically.
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
    /// For a check: the largest number of runs that may pass before the check detects the mutant.
    #[serde(default)]
    pub(crate) within: u64,
    /// Why no check detects the mutant, if only a test does or nothing does.
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

    /// The mutants with this text in the name. An empty selection is an error.
    pub(crate) fn named(&self, part: &str) -> Result<Vec<&Mutant>, String> {
        let named: Vec<_> = self.mutants.iter().filter(|mutant| mutant.name.contains(part)).collect();
        if named.is_empty() {
            return Err(format!("no mutant has `{part}` in its name; sim/MUTANTS.md lists the names"));
        }
        Ok(named)
    }
}
