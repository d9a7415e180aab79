//! `conformance report`: every scenario on every runtime, as a page, as Markdown or as data.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};
use std::{env, fs, thread};

use clap::Args;
use cluster_sim::explore::Budget;

use super::foreign::Foreign;
use super::progress::Progress;
use super::run::recordings;
use super::{CliError, Outcome, Paths, at_least_1, file, interrupt, print};
use crate::arm::mixed::{Mixed, Side};
use crate::arm::node::Runtime;
use crate::arm::unix::Unix;
use crate::matrix::{CellResult, Contestant, Markdown, Matrix, Runner};

/// The default number of runs of a cell.
const RUNS: u32 = 2;

/// The default limit of worlds per search. A search finds nearly all traces of Node within this limit.
const WORLDS: usize = 20_000;

/// The runtimes, the runs and the outputs.
#[derive(Debug, Args)]
pub(super) struct MatrixReport {
    /// Scenarios; `*` matches any text
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Run nothing: read the data of an earlier `conformance report --json`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["names", "runs", "worlds"])]
    from: Option<PathBuf>,
    /// Write the page for a browser
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the results and the differences as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the data
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Runs of a scenario on a runtime
    #[arg(long, value_name = "N", default_value_t = RUNS, value_parser = at_least_1::<u32>)]
    runs: u32,
    /// Limit of worlds of the simulator per trace
    #[arg(long, value_name = "N", default_value_t = WORLDS, value_parser = at_least_1::<usize>)]
    worlds: usize,
    /// Only this runtime, besides this system: a path, or a name of `conformance fetch`; repeatable. Default:
    /// all these names
    #[arg(long = "runtime", value_name = "PATH|NAME")]
    runtimes: Vec<String>,
}

impl MatrixReport {
    pub(super) fn perform(&self, paths: &Paths) -> Result<Outcome, CliError> {
        let outputs = [&self.html, &self.markdown, &self.json];
        outputs.into_iter().flatten().try_for_each(|path| file::writable(path))?;
        let matrix = match &self.from {
            Some(path) => read(path)?,
            None => match self.run(paths)? {
                Some(matrix) => matrix,
                None => return Ok(Outcome::Interrupted),
            },
        };
        if let Some(path) = &self.json {
            file::write(path, matrix.json().as_bytes())?;
        }
        if let Some(path) = &self.markdown {
            file::write(path, Markdown(&matrix).to_string().as_bytes())?;
        }
        if let Some(path) = &self.html {
            file::write(path, matrix.html().as_bytes())?;
        }
        print_counts(&matrix)?;
        Ok(Outcome::Holds)
    }

    /// Runs everything; `None` after an interruption.
    fn run(&self, paths: &Paths) -> Result<Option<Matrix>, CliError> {
        let recordings = recordings(paths.need_recordings()?)?;
        let scenarios = paths.scenarios(&self.names)?;
        let _home = interrupt::listen()?;
        let runner = Runner {
            scenarios,
            contestants: self.contestants(paths)?,
            recordings,
            exceptions: paths.exceptions()?,
            runs: self.runs,
            budget: Budget::from(self.worlds).until(&interrupt::STOPPED),
        };
        let begun = Instant::now();
        let cells = u32::try_from(runner.cells()).unwrap_or(u32::MAX);
        let progress = Progress::new(runner.cells());
        let mut done: u32 = 0;
        let mut matrix = runner.run(&interrupt::STOPPED, |scenario, runtime, result| {
            done += 1;
            let left = (begun.elapsed() / done * cells.saturating_sub(done)).as_secs();
            progress.step(&format!("{scenario} on {runtime}: {result}; about {left} s left"));
        });
        drop(progress);
        if interrupt::is_stopped() {
            eprintln!("interrupted: {done} of {cells} cells were run; nothing was written");
            return Ok(None);
        }
        matrix.seconds = begun.elapsed().as_secs();
        matrix.date = today();
        matrix.machine = machine();
        Ok(Some(matrix))
    }

    /// This system, the runtimes, and the clusters of this system and the newest Node.
    fn contestants(&self, paths: &Paths) -> Result<Vec<Contestant>, CliError> {
        let unix = Unix::this()?;
        let mut contestants = Vec::new();
        let mut newest: Option<Runtime> = None;
        let (found, absent) = Foreign::of(&self.runtimes).find(paths);
        if let Some(absent) = absent.iter().find(|one| self.runtimes.contains(&one.arm)) {
            return Err(CliError(format!("{}: {}", absent.arm, absent.why)));
        }
        for runtime in found {
            if runtime.name().starts_with("node ") {
                newest = Some(runtime.clone());
            }
            contestants.push(Contestant::Live(runtime));
        }
        contestants.extend(absent.into_iter().map(|one| Contestant::Absent(one.arm, one.why)));
        contestants.push(Contestant::Unix(unix.clone()));
        for side in [Side::Unix, Side::Node] {
            let mixed = newest.clone().map(|node| Mixed::new(side, unix.clone(), node));
            contestants.extend(mixed.map(Contestant::Mixed));
        }
        Ok(contestants)
    }
}

fn read(path: &Path) -> Result<Matrix, CliError> {
    let text = fs::read_to_string(path).map_err(|error| file::cli_error(path, &error))?;
    let no_matrix =
        |error| CliError(format!("the file is no output of `conformance report --json`: {error}"));
    Matrix::from_json(&text).map_err(no_matrix)
}

fn print_counts(matrix: &Matrix) -> Result<(), CliError> {
    for summary in &matrix.summaries {
        let counts = CellResult::ALL.iter().filter_map(|result| {
            let count = summary.counts.get(result)?;
            Some(format!("{count} {result}"))
        });
        print(format_args!("{}: {}\n", summary.runtime, counts.collect::<Vec<_>>().join(", ")))?;
    }
    Ok(())
}

/// The date in UTC: `2026-11-30`.
fn today() -> String {
    #[expect(clippy::disallowed_methods, reason = "the date is printed, and no duration is measured")]
    let now = SystemTime::now();
    let mut text = humantime::format_rfc3339_seconds(now).to_string();
    text.truncate("2026-11-30".len());
    text
}

/// The operating system, the processor and the cores.
fn machine() -> String {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} {} on {}, {cores} cores", env::consts::OS, release.trim(), env::consts::ARCH)
}
