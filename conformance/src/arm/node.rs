//! Live JavaScript: Node, or any runtime that has `cluster` and is called in the same way. Runs and records.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::drive::{self, Launch, RunError};
use super::load::Busy;
use crate::fixture::{Fixture, Load};
use crate::scenario::Scenario;
use crate::trace::Trace;

mod version;

const RECORDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recorder/recorder.cjs");

/// More than any run takes, even on a busy machine.
const DEADLINE: Duration = Duration::from_mins(1);

/// An installed runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    program: PathBuf,
    version: String,
}

impl Runtime {
    /// Asks the executable, searched in `PATH` if it is a bare name, for its version. It has five seconds.
    ///
    /// # Errors
    ///
    /// It cannot be executed, or has no version to tell.
    pub fn find(program: &Path) -> Result<Self, NoRuntime> {
        let none = |why: String| NoRuntime { program: program.to_owned(), why };
        let said = version::ask(program).map_err(|error| none(error.to_string()))?;
        let version = said.split_whitespace().find(|word| version::is_one(word)).map(str::to_owned);
        let version = version.ok_or_else(|| none(format!("`--version` says `{}`", said.trim())))?;
        Ok(Runtime { program: program.to_owned(), version })
    }

    /// Name and version: `node v20.20.2`.
    pub fn name(&self) -> String {
        let name = self.program.file_stem().unwrap_or_default().to_string_lossy();
        format!("{name} {}", self.version)
    }

    /// The name of the directory with its recordings: `node-v20.20.2`.
    pub fn directory(&self) -> String {
        self.name().replace(' ', "-")
    }

    /// Runs a scenario once.
    ///
    /// # Errors
    ///
    /// As [`drive::run`].
    pub fn run(&self, scenario: &Scenario) -> Result<Trace, RunError> {
        drive::run(&self.launch(scenario), scenario, DEADLINE)
    }

    /// How a process that plays a part of this scenario is started.
    pub(super) fn launch(&self, scenario: &Scenario) -> Launch {
        let args = vec![RECORDER.into(), scenario.path.clone().into()];
        Launch { program: self.program.clone().into(), args, env: Vec::new() }
    }

    /// Runs a scenario so many times under this load and adds what was seen to its fixture. `progress` is told after
    /// each run.
    ///
    /// # Errors
    ///
    /// The first run that fails. The runs before it are in the fixture.
    pub fn record(
        &self,
        scenario: &Scenario,
        runs: u32,
        load: Load,
        fixture: &mut Fixture,
        mut progress: impl FnMut(),
    ) -> Result<(), RunError> {
        let _busy = (load == Load::Loaded).then(Busy::new);
        for _ in 0..runs {
            fixture.add(load, self.run(scenario)?);
            progress();
        }
        Ok(())
    }
}

/// There is no such runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoRuntime {
    program: PathBuf,
    why: String,
}

impl fmt::Display for NoRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no runtime `{}`: {}; install it, or run the other arms", self.program.display(), self.why)
    }
}

impl std::error::Error for NoRuntime {}
