//! The runtimes that `run` and `show` take by name or by path.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::{CliError, Paths, at_least_1, file};
use crate::arm::drive::Limits;
use crate::arm::node::Runtime;
use crate::expected::Expected;
use crate::report::Absent;
use crate::runtimes::PinnedRuntime;
use crate::verdict::Verdict;

/// The name that stands for all pinned runtimes.
const ALL: &str = "all";

/// More than a run takes on a busy machine.
const DEADLINE: u64 = 30;

/// No scenario has a timer, so a run in which every process sleeps this long does not end.
const IDLE: Duration = Duration::from_secs(3);

/// The limits of a run without options.
pub(super) const LIMITS: Limits = Limits { deadline: Duration::from_secs(DEADLINE), idle: Some(IDLE) };

/// The runtimes to compare with Node.js.
#[derive(Debug, Args)]
#[command(next_help_heading = "Runtimes")]
pub(super) struct Foreign {
    /// Run this runtime, which may be any executable with the module `cluster` of Node.js: a path, a name of
    /// `conformance fetch`, or `all` for all these names; repeatable. Without --arm, runs nothing else
    #[arg(long = "runtime", value_name = "PATH|NAME")]
    named: Vec<String>,
    /// Arguments before the script, for the runtimes with a path: `--args 'run --allow-all'`
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true, requires = "named")]
    args: Option<String>,
    /// Limit of a run of these runtimes, in seconds. A run ends earlier if all its
    /// processes sleep for 3 seconds
    #[arg(long, value_name = "SECONDS", default_value_t = DEADLINE, value_parser = at_least_1::<u64>)]
    deadline: u64,
    /// Expected differences, in the format of the exceptions; an entry without `lines` is about the whole
    /// scenario. An expected difference is no failure, and an entry that is not needed is one
    #[arg(long, value_name = "FILE")]
    expected: Option<PathBuf>,
    /// Write a file for `--expected` with every scenario that fails
    #[arg(long, value_name = "FILE")]
    write_expected: Option<PathBuf>,
}

impl Default for Foreign {
    fn default() -> Self {
        Foreign { named: Vec::new(), args: None, deadline: DEADLINE, expected: None, write_expected: None }
    }
}

impl Foreign {
    /// Runtimes by name or path; without names, every pinned runtime.
    pub(super) fn of(chosen: &[String]) -> Self {
        let named = if chosen.is_empty() { vec![ALL.to_owned()] } else { chosen.to_vec() };
        Foreign { named, ..Foreign::default() }
    }

    /// Whether no runtime is named.
    pub(super) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// The expected differences.
    pub(super) fn expected(&self) -> Result<Expected, CliError> {
        Ok(self.expected.as_deref().map(Expected::load).transpose()?.unwrap_or_default())
    }

    /// Writes the file of expected differences, if the user asks for one.
    pub(super) fn write_expected(&self, verdicts: &[Verdict]) -> Result<(), CliError> {
        let Some(path) = &self.write_expected else { return Ok(()) };
        file::write(path, Expected::of(verdicts).as_bytes())
    }

    /// The named runtimes, and those that are not installed.
    pub(super) fn find(&self, paths: &Paths) -> (Vec<Runtime>, Vec<Absent>) {
        let limits = Limits { deadline: Duration::from_secs(self.deadline), ..LIMITS };
        let (mut found, mut absent) = (Vec::new(), Vec::new());
        for name in &self.named {
            let all: Vec<_> = PinnedRuntime::all().into_iter().map(|pinned| pinned.name).collect();
            let (names, asked_for) = if name == ALL { (all, false) } else { (vec![name.clone()], true) };
            for name in names {
                match foreign(&name, self.args.as_deref(), paths) {
                    Ok(runtime) => found.push(runtime.within(limits)),
                    Err(CliError(why)) => absent.push(Absent { arm: name, why, asked_for }),
                }
            }
        }
        if found.is_empty() {
            // Without this error, a run of `all` would pass although no runtime is installed.
            for absent in &mut absent {
                absent.asked_for = true;
            }
        }
        (found, absent)
    }
}

/// The runtime with a pinned name, or at a path and with arguments.
pub(super) fn foreign(name: &str, args: Option<&str>, paths: &Paths) -> Result<Runtime, CliError> {
    if let Some(runtime) = pinned(name, paths) {
        return runtime;
    }
    let args = args.iter().flat_map(|args| args.split_whitespace());
    Ok(Runtime::find(Path::new(name))?.with_args(args))
}

/// The executable of `--node`: of a pinned runtime with this name, or at this path.
pub(super) fn node(name: &Path, paths: &Paths) -> Result<Runtime, CliError> {
    let pinned = name.to_str().and_then(|name| pinned(name, paths));
    pinned.unwrap_or_else(|| Ok(Runtime::find(name)?))
}

/// The fetched runtime with this name. `None`: no pinned runtime has the name.
fn pinned(name: &str, paths: &Paths) -> Option<Result<Runtime, CliError>> {
    let pinned = PinnedRuntime::all().into_iter().find(|pinned| pinned.name == name)?;
    let executable: Option<PathBuf> = pinned.executable(paths.runtimes());
    let Some(executable) = executable.filter(|path| path.is_file()) else {
        return Some(Err(CliError(format!("not fetched; `conformance fetch {name}` fetches it"))));
    };
    Some(Runtime::find(&executable).map(|runtime| runtime.with_args(&pinned.args)).map_err(CliError::from))
}
