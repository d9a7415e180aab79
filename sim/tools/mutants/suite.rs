//! The mutants as data: small wrong changes, and who must see each of them. It changes nothing.

use std::error::Error;
use std::fs;

use serde::Deserialize;

/// Where they are written down.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/mutants.json");

/// All mutants, and where their bugs are looked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Suite {
    /// How many runs a mutant must survive to be called a survivor.
    pub(crate) runs: u32,
    /// The scenarios of the simulator's own that are run in turn.
    pub(crate) grounds: Vec<String>,
    pub(crate) mutants: Vec<Mutant>,
}

/// One small wrong change.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mutant {
    /// What is wrong then.
    pub(crate) name: String,
    /// In `cluster/core/src`.
    pub(crate) file: String,
    /// It is there once.
    pub(crate) find: String,
    pub(crate) replace: String,
    /// Who must see it: a check of the simulator, or a test of the core.
    pub(crate) killer: String,
    /// Within how many runs, if it is a check.
    #[serde(default)]
    pub(crate) within: u64,
    /// Why no check sees it, if it is a test; or why nobody can.
    #[serde(default)]
    pub(crate) reason: String,
}

/// What stands for a killer where there is none, and cannot be.
pub(crate) const NOBODY: &str = "nobody";

impl Suite {
    pub(crate) fn load() -> Result<Self, Box<dyn Error>> {
        let suite: Suite = serde_json::from_str(&fs::read_to_string(FILE)?)?;
        let unexplained = |mutant: &&Mutant| mutant.within == 0 && mutant.reason.is_empty();
        match suite.mutants.iter().find(unexplained) {
            Some(mutant) => Err(format!("{}: no check within some runs, and no reason", mutant.name).into()),
            None => Ok(suite),
        }
    }

    /// Those whose name has this in it: at least one, as of none all would be seen.
    pub(crate) fn named(&self, part: &str) -> Result<Vec<&Mutant>, String> {
        let named: Vec<_> = self.mutants.iter().filter(|mutant| mutant.name.contains(part)).collect();
        if named.is_empty() {
            return Err(format!("no mutant has `{part}` in its name; sim/MUTANTS.md has their names"));
        }
        Ok(named)
    }
}
