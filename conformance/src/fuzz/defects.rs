//! What a runtime is known to do wrong, by which a random run of it cannot be compared any further: `defects.json`.
//!
//! Scenarios of the suite do not need it: there, a defect that shows stands in `exceptions.json`.

use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;

use crate::exceptions::glob;
use crate::observation::Line;
use crate::order::Misfit;
use crate::pattern::LinePattern;

/// Those of this repository.
pub const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/defects.json");

/// One thing that a runtime does wrong, and the misfit by which it shows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defect {
    /// Which runtimes: a name and version, in which `*` is anything.
    pub runtime: String,
    /// The lines that may not fit; without any, something is missing.
    #[serde(default)]
    pub seen: Vec<LinePattern>,
    /// A part of what is expected there.
    pub expected: String,
    /// What is wrong, in a sentence.
    pub defect: String,
}

impl Defect {
    /// Reads a list of them.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is no such list.
    pub fn load(path: &Path) -> io::Result<Vec<Self>> {
        Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
    }

    /// Whether this is what does not fit.
    pub fn is_behind(&self, runtime: &str, misfit: &Misfit) -> bool {
        let fits = match &misfit.seen {
            Some((observer, _, line)) => {
                let line = Line { observer: *observer, observation: line.clone() };
                self.seen.iter().any(|pattern| pattern.fits(&line, None))
            }
            None => self.seen.is_empty(),
        };
        fits && glob(&self.runtime, runtime) && misfit.expected.contains(&self.expected)
    }
}
