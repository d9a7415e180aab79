//! A fixture: the recorded traces of one scenario on one runtime. Only `record` writes fixtures; people
//! review the differences.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread;

use clap::ValueEnum;

use crate::trace::Trace;

mod format;

/// The recordings of this repository, one directory per runtime.
pub const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures");

/// The number of counting threads on each core while runs are recorded under load.
pub(crate) const THREADS_A_CORE: usize = 1;

/// The number of runs that are recorded at the same time under load.
pub(crate) const RUNS_AT_A_TIME: u32 = 10;

/// The load of the machine while a run was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Load {
    /// Only the run itself used the machine.
    Idle,
    /// A counting thread ran on each core, and several runs ran at the same time.
    Loaded,
    /// All processes of a run shared one core.
    Pinned,
}

impl Load {
    /// Every load.
    pub const ALL: [Load; 3] = [Load::Idle, Load::Loaded, Load::Pinned];
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Load::Idle => "idle",
            Load::Loaded => "loaded",
            Load::Pinned => "pinned",
        })
    }
}

/// How many runs there were under each load.
pub type Runs = BTreeMap<Load, u32>;

/// The recording of one scenario on one runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixture {
    /// The scenario's name.
    pub scenario: String,
    /// The runtime and version: `node v20.20.2`.
    pub runtime: String,
    /// The machine that has recorded, and the meaning of `loaded` there.
    pub machine: String,
    /// The number of recorded runs.
    pub runs: Runs,
    /// The distinct traces. Their order depends only on the traces.
    pub traces: Vec<Recorded>,
}

/// A trace and its number of occurrences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The number of runs with this trace.
    pub seen: Runs,
    /// Each observer's lines.
    pub trace: Trace,
}

impl Fixture {
    /// An empty fixture for this machine.
    pub fn new(scenario: &str, runtime: &str) -> Self {
        Fixture {
            scenario: scenario.to_owned(),
            runtime: runtime.to_owned(),
            machine: machine(),
            runs: Runs::new(),
            traces: Vec::new(),
        }
    }

    /// The fixture, with another machine added to its text if necessary.
    #[must_use]
    pub(crate) fn on_another(mut self, machine: &str) -> Self {
        if !self.machine.ends_with(machine) {
            self.machine = format!("{}; later: {machine}", self.machine);
        }
        self
    }

    /// Removes all runs under a load.
    pub fn forget(&mut self, load: Load) {
        self.runs.remove(&load);
        for recorded in &mut self.traces {
            recorded.seen.remove(&load);
        }
        self.traces.retain(|recorded| !recorded.seen.is_empty());
    }

    /// Adds one run.
    pub fn add(&mut self, load: Load, trace: Trace) {
        *self.runs.entry(load).or_default() += 1;
        let place = self.traces.binary_search_by(|recorded| recorded.trace.cmp(&trace));
        let index = place.unwrap_or_else(|index| {
            self.traces.insert(index, Recorded { seen: Runs::new(), trace });
            index
        });
        *self.traces[index].seen.entry(load).or_default() += 1;
    }

    /// Reads the fixture of a scenario from a runtime's directory.
    ///
    /// # Errors
    ///
    /// The file is missing or malformed.
    pub fn load(directory: &Path, scenario: &str) -> Result<Self, FixtureError> {
        let path = Fixture::path(directory, scenario);
        let failed = |what: String| FixtureError { path: path.clone(), what };
        let text = fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
        format::read(&text).map_err(failed)
    }

    /// Writes the fixture into a runtime's directory, creating the directory.
    ///
    /// # Errors
    ///
    /// The directory or the file cannot be written, or reading the text would give another fixture.
    pub fn save(&self, directory: &Path) -> Result<(), FixtureError> {
        let path = Fixture::path(directory, &self.scenario);
        let failed = |what: String| FixtureError { path: path.clone(), what };
        let text = format::write(self);
        if format::read(&text).map_err(failed)? != *self {
            return Err(failed("a line is ambiguous in the text of a recording".to_owned()));
        }
        fs::create_dir_all(directory).map_err(|error| failed(error.to_string()))?;
        fs::write(&path, text).map_err(|error| failed(error.to_string()))
    }

    fn path(directory: &Path, scenario: &str) -> PathBuf {
        directory.join(scenario).with_extension("txt")
    }
}

fn machine() -> String {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let (system, processor) = (env::consts::OS, env::consts::ARCH);
    format!(
        "{system} on {processor}, {cores} cores; loaded: {THREADS_A_CORE} counting thread for each core and \
         {RUNS_AT_A_TIME} runs at a time; pinned: to one core"
    )
}

/// A fixture that cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixtureError {
    /// The file.
    pub path: PathBuf,
    /// The error.
    pub what: String,
}

impl fmt::Display for FixtureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

impl std::error::Error for FixtureError {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn trace(line: &str) -> Trace {
        Trace::of([line.parse().expect(line)], &BTreeSet::new())
    }

    #[test]
    fn fixture_ignores_order_of_recording() {
        let mut one = Fixture::new("s", "node v0");
        let mut other = one.clone();
        for (load, line) in
            [(Load::Idle, "primary: b"), (Load::Loaded, "primary: a"), (Load::Loaded, "primary: b")]
        {
            one.add(load, trace(line));
        }
        for (load, line) in
            [(Load::Loaded, "primary: b"), (Load::Idle, "primary: b"), (Load::Loaded, "primary: a")]
        {
            other.add(load, trace(line));
        }
        assert_eq!(one, other);
        assert_eq!(one.runs, Runs::from([(Load::Idle, 1), (Load::Loaded, 2)]));
        assert_eq!(
            one.traces.iter().map(|recorded| recorded.seen.values().sum::<u32>()).collect::<Vec<_>>(),
            [1, 2]
        );
    }

    #[test]
    fn fixture_forgets_one_load() {
        let mut fixture = Fixture::new("s", "node v0");
        for (load, line) in
            [(Load::Idle, "primary: a"), (Load::Idle, "primary: b"), (Load::Pinned, "primary: b")]
        {
            fixture.add(load, trace(line));
        }
        fixture.forget(Load::Idle);
        assert_eq!(fixture.runs, Runs::from([(Load::Pinned, 1)]));
        assert_eq!(fixture.traces.len(), 1, "traces of this load alone are forgotten");
        assert_eq!(fixture.traces[0].seen, Runs::from([(Load::Pinned, 1)]));
    }

    #[test]
    fn fixture_round_trips_through_file() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut fixture = Fixture::new("s", "node v0");
        fixture.add(Load::Idle, trace("worker 1: listening server=web port=4000"));
        fixture.save(&directory.path().join("new")).expect("the directory is made");
        assert_eq!(Fixture::load(&directory.path().join("new"), "s").expect("just written"), fixture);
        let missing = Fixture::load(directory.path(), "t").expect_err("there is none");
        assert_eq!(missing.path, directory.path().join("t.txt"));
    }
}
