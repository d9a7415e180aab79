//! Live JavaScript: Node, or any runtime with the module `cluster` and the same command line. Runs scenarios
//! and records them.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::drive::{self, BESIDE, Launch, Limits, RunError};
use super::load::{Busy, Pinned};
use crate::fixture::{Fixture, Load, RUNS_AT_A_TIME};
use crate::scenario::Scenario;
use crate::trace::Trace;

mod version;

const RECORDER: (&str, &str) = ("recorder.cjs", include_str!("../../recorder/recorder.cjs"));

/// More than any run of Node.js takes, even on a busy machine.
const DEADLINE: Duration = Duration::from_mins(1);

/// An installed runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    program: PathBuf,
    version: String,
    /// The arguments before the script.
    args: Vec<OsString>,
    limits: Limits,
}

impl Runtime {
    /// Asks the executable for its version, for at most five seconds. A name without a slash is searched in
    /// `PATH`.
    ///
    /// # Errors
    ///
    /// The executable cannot be run, or prints no version.
    pub fn find(program: &Path) -> Result<Self, NoRuntime> {
        let none = |why: String| NoRuntime { program: program.to_owned(), why };
        let said = version::ask(program).map_err(|error| none(error.to_string()))?;
        let version = said.split_whitespace().find(|word| version::is_one(word)).map(str::to_owned);
        let version = version.ok_or_else(|| none(format!("`--version` prints `{}`", said.trim())))?;
        // Processes of a run start in the directory of the run.
        let is_path = program.components().count() > 1;
        let program = if is_path { std::path::absolute(program) } else { Ok(program.to_owned()) };
        let program = program.map_err(|error| none(error.to_string()))?;
        Ok(Runtime { program, version, args: Vec::new(), limits: DEADLINE.into() })
    }

    /// The runtime with arguments before the script.
    #[must_use]
    pub fn with_args(self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Runtime { args: args.into_iter().map(Into::into).collect(), ..self }
    }

    /// The runtime with other limits of a run. The default, a minute, is enough for any run of Node.js.
    #[must_use]
    pub fn within(self, limits: Limits) -> Self {
        Runtime { limits, ..self }
    }

    /// Name and version: `node v20.20.2`.
    pub fn name(&self) -> String {
        let name = self.program.file_stem().unwrap_or_default().to_string_lossy();
        format!("{name} {}", self.version)
    }

    /// The executable.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// The name of the directory with the recordings: `node-v20.20.2`.
    pub fn directory(&self) -> String {
        self.name().replace(' ', "-")
    }

    /// Runs a scenario once.
    ///
    /// # Errors
    ///
    /// As [`drive::run`].
    pub fn run(&self, scenario: &Scenario) -> Result<Trace, RunError> {
        drive::run(&self.launch(scenario), scenario, self.limits)
    }

    /// Runs a scenario once. Also returns the standard error of the processes.
    ///
    /// # Errors
    ///
    /// As [`drive::run`].
    pub fn run_with_stderr(&self, scenario: &Scenario) -> Result<(Trace, String), RunError> {
        drive::run_with_stderr(&self.launch(scenario), scenario, self.limits)
    }

    /// The command of a process that plays a part of the scenario.
    pub(super) fn launch(&self, scenario: &Scenario) -> Launch {
        let script = [format!("{BESIDE}{}", RECORDER.0).into(), scenario.absolute().into()];
        let args = self.args.iter().cloned().chain(script).collect();
        let env = scenario.settings.policy_variable().into_iter().collect();
        Launch { program: self.program.clone().into(), args, env, files: vec![RECORDER] }
    }

    /// Runs a scenario `runs` times under a load, and adds the traces to the fixture. Calls `progress` after
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
        let _pinned = (load == Load::Pinned).then(Pinned::new).transpose().map_err(RunError::Machine)?;
        let _busy = (load == Load::Loaded).then(Busy::new);
        let at_a_time = if load == Load::Loaded { RUNS_AT_A_TIME } else { 1 };
        let mut left = runs;
        while left > 0 {
            let now = left.min(at_a_time);
            for trace in self.run_at_once(scenario, now) {
                fixture.add(load, trace?);
                progress();
            }
            left -= now;
        }
        Ok(())
    }

    /// Runs a scenario `runs` times at the same time; the first run is on this thread.
    fn run_at_once(&self, scenario: &Scenario, runs: u32) -> Vec<Result<Trace, RunError>> {
        thread::scope(|scope| {
            let others: Vec<_> = (1..runs).map(|_| scope.spawn(|| self.run(scenario))).collect();
            let first = self.run(scenario);
            let others = others.into_iter().map(|other| other.join().expect("a run does not panic"));
            std::iter::once(first).chain(others).collect()
        })
    }
}

/// No such runtime is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoRuntime {
    program: PathBuf,
    why: String,
}

impl fmt::Display for NoRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no Node.js at `{}`: {}; install Node.js, or choose another with `--node PATH`",
            self.program.display(),
            self.why
        )
    }
}

impl std::error::Error for NoRuntime {}
