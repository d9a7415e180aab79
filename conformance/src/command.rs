//! The command line: the commands and the exit codes. One file per command.
//!
//! Only printing happens here.

use std::fmt;
use std::io::{self, Write as _};
use std::num::ParseIntError;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use clap::{Parser, Subcommand, ValueEnum};

use crate::arm::unix;
use crate::exceptions::Exceptions;
use crate::order;
use crate::scenario::Scenario;
use crate::trace::Trace;

mod coverage;
mod explore;
mod fetch;
mod file;
mod foreign;
mod forms;
mod fuzz;
mod interrupt;
mod list;
mod paths;
mod progress;
mod record;
mod replay;
mod report;
mod run;
mod show;

use paths::Paths;

const AFTER: &str = "\
Exit codes:
  0    every claim holds; for `fuzz`: no scenario diverges, some may be undecided
  1    a claim fails
  2    wrong usage, a missing file or program, or a replay that differs from the recorded run
  130  interrupted

The default command is `run`: every scenario on every arm, within a minute. NO_COLOR disables colours.";

/// Compare a cluster on the simulator and on the real system with recorded and live Node.js
#[derive(Debug, Parser)]
#[command(name = "conformance", version, after_help = AFTER)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    paths: paths::Named,
    /// An option of Node's executable, which a primary passes to our workers, too; they only report it
    #[arg(long = "inspect-port", hide = true, value_name = "PORT")]
    _inspect_port: Vec<u16>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the claims (the default command)
    Run(run::Run),
    /// Fetch the pinned runtimes through npm, for `--runtime` and `--node`
    Fetch(fetch::Fetch),
    /// Record what Node does, into the fixtures
    Record(record::Record),
    /// List the scenarios
    List(list::List),
    /// Run a scenario once and print the lines of every observer
    Show(show::Show),
    /// Report which of Node's own tests are covered, per arm
    Coverage(coverage::Coverage),
    /// Run random scenarios on real processes and search each trace in the simulator
    Fuzz(fuzz::Fuzz),
    /// Try every form of a call that a Node program may use, under our primary and under Node's
    Forms(forms::FormsOf),
    /// Compare runtimes with Node in every scenario, as a page, as Markdown or as data
    Report(report::MatrixReport),
    /// Replay a run of the simulator and print every step
    Replay(replay::Replay),
    /// Search for a run that fails, and explain the smallest one
    Explore(explore::Explore),
    /// Play a part of a scenario: started by the arms with real processes
    #[command(name = unix::PLAY, hide = true)]
    Play {
        /// The scenario's file
        scenario: PathBuf,
        /// The command of the workers, if not this program
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        workers: Vec<String>,
    },
}

/// Something that can run scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Arm {
    /// The simulator
    Sim,
    /// This operating system
    Unix,
    /// Node.js
    Node,
    /// Our primary, with workers on Node.js
    RustNode,
    /// A primary on Node.js, with our workers
    NodeRust,
}

impl Arm {
    /// The arms with Node.js.
    const LIVE: [Arm; 3] = [Arm::Node, Arm::RustNode, Arm::NodeRust];
}

/// The name on the command line.
impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("no arm is hidden").get_name())
    }
}

/// The result of a command that did not fail with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Holds,
    Fails,
    Absent,
    /// A replay differs from the recorded run.
    Left,
    Interrupted,
}

impl Outcome {
    /// The exit code after SIGINT.
    const INTERRUPTED: u8 = 130;
}

impl From<Outcome> for ExitCode {
    fn from(end: Outcome) -> Self {
        ExitCode::from(match end {
            Outcome::Holds => 0,
            Outcome::Fails => 1,
            Outcome::Absent | Outcome::Left => 2,
            Outcome::Interrupted => Outcome::INTERRUPTED,
        })
    }
}

/// A wrong command line, or a missing file or program: the text has the reason and the remedy.
#[derive(Debug)]
struct CliError(String);

impl<E: std::error::Error> From<E> for CliError {
    fn from(error: E) -> Self {
        CliError(error.to_string())
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Runs the command of the command line.
pub fn main() -> ExitCode {
    match perform(Cli::parse()) {
        Ok(end) => end.into(),
        Err(cli_error) => {
            eprintln!("{} {cli_error}", console::style("error:").for_stderr().red().bold());
            Outcome::Absent.into()
        }
    }
}

fn perform(Cli { verb, paths, .. }: Cli) -> Result<Outcome, CliError> {
    match verb.unwrap_or_else(|| Verb::Run(run::Run::default())) {
        Verb::Run(run) => run.perform(&paths.find()?),
        Verb::Fetch(fetch) => fetch.perform(&paths.find()?),
        Verb::Record(record) => record.perform(&paths.find()?),
        Verb::List(list) => list.perform(&paths.find()?),
        Verb::Show(show) => show.perform(&paths.find()?),
        Verb::Coverage(coverage) => coverage.perform(&paths.find()?),
        Verb::Fuzz(fuzz) => fuzz.perform(&paths.find()?),
        Verb::Forms(forms) => forms.perform(),
        Verb::Report(report) => report.perform(&paths.find()?),
        Verb::Replay(replay) => replay.perform(&paths.find()?),
        Verb::Explore(explore) => explore.perform(&paths.find()?),
        Verb::Play { scenario, workers } => Ok(unix::play(&scenario, &workers).map(|()| Outcome::Holds)?),
    }
}

/// The least likeness, from 0 to 1, at which an unknown name counts as a typing error.
const ALIKE: f64 = 0.8;

fn unknown(name: &str, scenarios: &[Scenario]) -> CliError {
    let names: Vec<_> = scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
    let alike = names.iter().map(|known| (strsim::jaro_winkler(name, known), known));
    let nearest =
        alike.filter(|(alike, _)| *alike >= ALIKE).max_by(|(one, _), (other, _)| one.total_cmp(other));
    let meant = nearest.map_or_else(String::new, |(_, known)| format!("; did you mean `{known}`?"));
    let (colon, of) = (if meant.is_empty() { ";" } else { "" }, names.len());
    CliError(format!(
        "no scenario is named `{name}`{meant}{colon} `conformance list` prints all {of} names, and `--scenarios` \
         chooses another directory"
    ))
}

/// The Node.js that is used by default.
const NODE: &str = "node";

/// Rejects `--node` for arms without Node.js.
fn needs_node(arms: &[Arm], node: Option<&Path>) -> Result<(), CliError> {
    if node.is_none() || arms.is_empty() || arms.iter().any(|arm| Arm::LIVE.contains(arm)) {
        return Ok(());
    }
    let names = |arms: &[Arm]| arms.iter().map(Arm::to_string).collect::<Vec<_>>().join(", ");
    let (live, asked) = (names(&Arm::LIVE), names(arms));
    Err(CliError(format!("`--node` is for the arms {live}; the requested arms run no Node.js: {asked}")))
}

/// A number from 1 on. With 0 runs or samples, every claim would hold without evidence.
fn at_least_1<N: FromStr<Err = ParseIntError> + From<u8> + PartialOrd>(text: &str) -> Result<N, String> {
    let number: N = text.parse().map_err(|error: ParseIntError| error.to_string())?;
    if number >= N::from(1) { Ok(number) } else { Err("expected at least 1".to_owned()) }
}

/// Prints to standard output. A closed pipe, as with `head`, is not an error.
fn print(what: impl fmt::Display) -> Result<(), CliError> {
    match write!(io::stdout(), "{what}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Prints every mismatch of a trace with the contract, and the exceptions that excuse a mismatch.
fn print_misfits(
    scenario: &Scenario,
    runtime: &str,
    trace: &Trace,
    exceptions: &Exceptions,
) -> Result<Outcome, CliError> {
    let mut end = Outcome::Holds;
    for misfit in order::check(&exceptions.relieve(scenario, runtime), trace) {
        if let Some(exception) = exceptions.excuse_for(&scenario.name, runtime, &misfit) {
            print(format_args!("Excused by an exception: {misfit}\n  {}\n", exception.reason))?;
        } else {
            print(format_args!("contract: {misfit}\n"))?;
            end = Outcome::Fails;
        }
    }
    Ok(end)
}

/// The width of the terminal.
fn width() -> usize {
    console::Term::stdout().size_checked().map_or(120, |(_, columns)| usize::from(columns))
}
