//! `conformance run`: tries the claims and reports.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use cluster_sim::explore::Budget;

use super::foreign::{self, Foreign};
use super::paths::NO_RECORDINGS;
use super::progress::Progress;
use super::{Arm, CliError, NODE, Outcome, Paths, at_least_1, file, interrupt, needs_node, print, width};
use crate::arm::mixed::{Mixed, Side};
use crate::arm::node::Runtime;
use crate::arm::unix::Unix;
use crate::exceptions::Exception;
use crate::report::{Absent, Printed, Report};
use crate::suite::Suite;
use crate::verdict::{Checker, Verdict};

// The default numbers without `--all`.
const SAMPLES: u64 = 100;
const RUNS: u32 = 1;
// The default numbers with `--all`.
const ALL_SAMPLES: u64 = 1000;
const ALL_RUNS: u32 = 5;
const WORLDS: usize = 1_000_000;
// A search finds nearly every trace of Node.js within this limit. Without the limit, each other trace can
// take a minute.
const FOREIGN_WORLDS: usize = 20_000;

/// The claims, the budget and the output.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// Only these scenarios, as `--scenario`. `conformance list` prints the names
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Run only this arm; repeatable. Default: all arms, those with Node.js only if it is installed
    #[arg(long = "arm", value_name = "ARM")]
    arms: Vec<Arm>,
    /// Only scenarios with a matching name; `*` matches any text; repeatable
    #[arg(long = "scenario", value_name = "GLOB")]
    globs: Vec<String>,
    /// Sampled schedules of the simulator per scenario
    /// [default: 100, with --all 1000]
    #[arg(long, value_name = "N", value_parser = at_least_1::<u64>)]
    samples: Option<u64>,
    /// Runs of each scenario on each arm but `sim`
    /// [default: 1, with --all 5]
    #[arg(long, value_name = "N", value_parser = at_least_1::<u32>)]
    runs: Option<u32>,
    /// Run everything as often as in CI, which takes minutes
    #[arg(long)]
    all: bool,
    /// Print a column per claim, with the numbers of runs and of distinct traces
    #[arg(long)]
    details: bool,
    /// Limit of worlds of the simulator per trace
    /// [default: 1000000, with named runtimes alone 20000]
    #[arg(long, value_name = "N", value_parser = at_least_1::<usize>)]
    worlds: Option<usize>,
    /// The Node.js of `node`, `rust-node`, `node-rust`: a path, or a name of `conformance fetch`. Without
    /// --arm, selects these arms
    #[arg(long, value_name = "PATH|NAME")]
    node: Option<PathBuf>,
    #[command(flatten)]
    foreign: Foreign,
    /// Report on standard output as JSON
    #[arg(long)]
    json: bool,
    #[arg(long, value_name = "FILE", help = "Also write a JUnit report")]
    junit: Option<PathBuf>,
}

/// The same defaults as on the command line.
impl Default for Run {
    fn default() -> Self {
        Run {
            names: Vec::new(),
            arms: Vec::new(),
            globs: Vec::new(),
            samples: None,
            runs: None,
            all: false,
            details: false,
            worlds: None,
            node: None,
            foreign: Foreign::default(),
            json: false,
            junit: None,
        }
    }
}

impl Run {
    /// Everything, as often as in CI.
    pub(super) fn all() -> Self {
        Run { all: true, ..Run::default() }
    }

    pub(super) fn perform(&self, paths: &Paths) -> Result<Outcome, CliError> {
        needs_node(&self.arms, self.node.as_deref())?;
        // Checked before the claims run, because they may run for minutes.
        self.junit.as_deref().map_or(Ok(()), file::writable)?;
        let Some(report) = self.report(paths)? else { return Ok(Outcome::Interrupted) };
        self.print(&report)?;
        self.foreign.write_expected(&report.verdicts)?;
        if let Some(path) = &self.junit {
            let mut xml = Vec::new();
            report.junit().serialize(&mut xml).map_err(|error| file::cli_error(path, &error))?;
            file::write(path, &xml)?;
        }
        Ok(end(&report))
    }

    /// Runs the claims; `None` after an interruption.
    pub(super) fn report(&self, paths: &Paths) -> Result<Option<Report>, CliError> {
        let expected = self.foreign.expected()?;
        let exceptions = paths.exceptions()?.and(expected.exceptions());
        let patterns = [&self.names[..], &self.globs].concat();
        let scenarios = paths.scenarios(&patterns)?;
        let directory = if self.compares_recordings() { paths.recordings()? } else { None };
        let recordings = directory.map(recordings).transpose()?;
        let _home = interrupt::listen()?;
        let (node, mut absent) = self.node(paths, recordings.as_deref());
        let (foreign, not_installed) = self.foreign.find(paths);
        absent.extend(not_installed);
        if recordings.is_none() && self.compares_recordings() {
            let (arm, why) = ("recordings".to_owned(), NO_RECORDINGS.to_owned());
            absent.push(Absent { arm, why, asked_for: false });
        }
        let unix = Unix::this()?;
        let suite = Suite {
            scenarios,
            sim: self.wants(Arm::Sim),
            mixed: node.as_ref().map(|node| self.mixed(&unix, node)).unwrap_or_default(),
            unix: Some(unix).filter(|_| self.wants(Arm::Unix)),
            node: node.filter(|_| self.wants(Arm::Node)),
            foreign,
            recordings: recordings.unwrap_or_default(),
            samples: self.samples.unwrap_or(if self.all { ALL_SAMPLES } else { SAMPLES }),
            runs: self.runs.unwrap_or(if self.all { ALL_RUNS } else { RUNS }),
        };
        let checker = Checker::new(exceptions, Budget::from(self.worlds()).until(&interrupt::STOPPED));
        let begun = Instant::now();
        let mut verdicts = try_all(&suite, &checker);
        if interrupt::is_stopped() {
            eprintln!("interrupted: {} of {} claims were tried", verdicts.len(), suite.claims());
            return Ok(None);
        }
        // Exceptions of scenarios that do not run are not needed. Some exceptions are needed only when
        // recordings are searched in the simulator.
        let compares_all = patterns.is_empty() && self.wants(Arm::Sim) && self.compares_recordings();
        let all_needed = compares_all && paths.need_all_exceptions();
        let (unneeded, of_the_user) = (checker.stale(), expected.exceptions());
        let ours = unneeded.iter().filter(|one| all_needed && !of_the_user.contains(one));
        let mut stale: Vec<_> = ours.map(Exception::stale_error).collect();
        expected.mark(&mut verdicts);
        stale.extend(expected.stale(&verdicts, &unneeded, patterns.is_empty()));
        Ok(Some(Report::new(verdicts, absent, stale, begun.elapsed())))
    }

    /// Whether every arm is wanted.
    fn wants_all(&self) -> bool {
        self.arms.is_empty() && self.foreign.is_empty()
    }

    fn worlds(&self) -> usize {
        self.worlds.unwrap_or(if self.compares_recordings() { WORLDS } else { FOREIGN_WORLDS })
    }

    fn wants(&self, arm: Arm) -> bool {
        self.wants_all() || self.asks_for(arm)
    }

    /// With named runtimes alone, recordings are not compared.
    fn compares_recordings(&self) -> bool {
        self.foreign.is_empty() || !self.arms.is_empty()
    }

    fn asks_for(&self, arm: Arm) -> bool {
        self.arms.contains(&arm) || self.arms.is_empty() && self.node.is_some() && Arm::LIVE.contains(&arm)
    }

    /// The Node.js for the live arms, if the major version was recorded; otherwise the reason.
    fn node(&self, paths: &Paths, recordings: Option<&[PathBuf]>) -> (Option<Runtime>, Vec<Absent>) {
        let wanted: Vec<_> = Arm::LIVE.into_iter().filter(|arm| self.wants(*arm)).collect();
        if wanted.is_empty() {
            return (None, Vec::new());
        }
        let found = foreign::node(self.node.as_deref().unwrap_or(Path::new(NODE)), paths);
        match found.map_err(|none| none.to_string()).and_then(|node| fitting(node, recordings)) {
            Ok(node) => (Some(node), Vec::new()),
            Err(why) => {
                let absent = |arm: Arm| Absent {
                    arm: arm.to_string(),
                    why: why.clone(),
                    asked_for: self.asks_for(arm),
                };
                (None, wanted.into_iter().map(absent).collect())
            }
        }
    }

    fn mixed(&self, unix: &Unix, node: &Runtime) -> Vec<Mixed> {
        let arms = [(Arm::RustNode, Side::Unix), (Arm::NodeRust, Side::Node)];
        let wanted = arms.into_iter().filter(|(arm, _)| self.wants(*arm));
        wanted.map(|(_, primary)| Mixed::new(primary, unix.clone(), node.clone())).collect()
    }

    fn print(&self, report: &Report) -> Result<(), CliError> {
        if self.json {
            return print(format_args!("{:#}\n", report.json()));
        }
        print(Printed { report, width: width(), details: self.details })
    }
}

fn end(report: &Report) -> Outcome {
    match report.holds() {
        false => Outcome::Fails,
        true if report.missed().next().is_some() => Outcome::Absent,
        true => Outcome::Holds,
    }
}

/// The directories of recordings, one per runtime.
pub(super) fn recordings(directory: &Path) -> Result<Vec<PathBuf>, CliError> {
    let unreadable =
        |error| CliError(format!("{}: {error}; `--recordings` names another", directory.display()));
    let entries = fs::read_dir(directory).map_err(unreadable)?;
    let mut directories: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    directories.sort();
    if directories.is_empty() {
        let directory = directory.display();
        return Err(CliError(format!(
            "no recordings in {directory}; `conformance record --recordings {directory}` creates them"
        )));
    }
    Ok(directories)
}

/// A Node.js of a recorded major version: the behaviour of other versions is unknown. Without recordings,
/// every version fits.
fn fitting(node: Runtime, recordings: Option<&[PathBuf]>) -> Result<Runtime, String> {
    let Some(recordings) = recordings else { return Ok(node) };
    let major = |name: &str| name.split('.').next().map(str::to_owned);
    let recorded =
        recordings.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let names: Vec<_> = recorded.collect();
    if names.iter().any(|name| major(name) == major(&node.directory())) {
        return Ok(node);
    }
    let (name, names) = (node.name(), names.join(", "));
    Err(format!(
        "`{name}` has another major version than the recordings ({names}); choose a recorded one with --node"
    ))
}

fn try_all(suite: &Suite, checker: &Checker) -> Vec<Verdict> {
    let progress = Progress::new(suite.claims());
    let mut verdicts = Vec::new();
    suite.run(checker, &interrupt::STOPPED, |verdict| {
        if !interrupt::is_stopped() {
            let line = progress_line(&verdict);
            if verdict.holds() {
                progress.step(&line);
            } else {
                progress.step_failed(&line);
            }
            verdicts.push(verdict);
        }
    });
    verdicts
}

fn progress_line(verdict: &Verdict) -> String {
    let Verdict { scenario, claim, runtime, .. } = verdict;
    let how = if verdict.holds() { "ok" } else { "FAILS" };
    format!("{how} {scenario}: {} ({runtime})", claim.words())
}
