//! Recorded runs of random scenarios: each file has the runtime, the scenario and the trace of one run. Two
//! versions of the search can be compared on the same recordings.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::scenario::Scenario;
use crate::trace::Trace;

/// The trace of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    /// The name of the runtime, as exceptions use it.
    pub runtime: String,
    /// The file name of the scenario, without its extension.
    name: String,
    /// The text of the scenario's file.
    scenario: String,
    /// The lines of all observers.
    pub trace: Trace,
    /// The standard error of all processes.
    #[serde(default)]
    pub stderr: String,
}

impl Recording {
    /// The trace and the standard error of a run, with the text of the scenario's file.
    ///
    /// # Errors
    ///
    /// The file of the scenario cannot be read.
    pub fn new(runtime: String, scenario: &Scenario, (trace, stderr): (Trace, String)) -> io::Result<Self> {
        let (name, text) = (scenario.name.clone(), fs::read_to_string(&scenario.path)?);
        Ok(Recording { runtime, name, scenario: text, trace, stderr })
    }

    /// Writes the recording into a directory. The name of the scenario and the runtime are in the name of the
    /// file.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        let runtime = self.runtime.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
        fs::write(directory.join(format!("{}_{runtime}.json", self.name)), serde_json::to_vec(self)?)
    }

    /// Reads all recordings of a directory, sorted by file name.
    ///
    /// # Errors
    ///
    /// The directory or a file cannot be read, or a file is no recording.
    pub fn all(directory: &Path) -> io::Result<Vec<Self>> {
        let entries = fs::read_dir(directory)?.map(|entry| Ok(entry?.path()));
        let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        paths.sort();
        paths.iter().map(|path| Ok(serde_json::from_slice(&fs::read(path)?)?)).collect()
    }

    /// The scenario.
    ///
    /// # Errors
    ///
    /// The text is no scenario of this version.
    pub fn scenario(&self) -> io::Result<Scenario> {
        let path = Path::new(&self.name).with_extension("json");
        Scenario::parse(&path, &self.scenario).map_err(io::Error::other)
    }
}
