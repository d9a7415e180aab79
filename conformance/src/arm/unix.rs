//! The real operating system as an arm. This executable, started in a hidden role, plays the primary and the
//! workers with the library `cluster`. [`drive`] starts the primary.

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, error, fmt, fs, io, process};

use cluster::Role;

use super::drive::{self, Launch, RunError};
use crate::observation::{Line, Observation, Observer};
use crate::scenario::{Scenario, ScenarioError, Signal, User};
use crate::trace::Trace;

mod child;
mod connections;
mod primary;
mod program_sockets;
mod servers;
mod worker;

/// The name of the hidden role: `conformance play SCENARIO.json`.
pub(crate) const PLAY: &str = "play";

/// More than any run takes, even on a busy machine.
const DEADLINE: Duration = Duration::from_mins(1);

/// The exit code of Node after an uncaught error.
const UNCAUGHT: i32 = 1;

/// The name of the role, and the scenario.
const OWN_ARGS: usize = 2;

/// An executable that plays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unix {
    program: PathBuf,
}

impl Unix {
    /// This executable, which must be `conformance`.
    ///
    /// # Errors
    ///
    /// The operating system does not report the path.
    pub fn this() -> io::Result<Self> {
        Ok(Unix { program: env::current_exe()? })
    }

    /// The executable at a path. For tests, because the executable of a test is another program.
    pub fn at(program: &Path) -> Self {
        Unix { program: program.to_owned() }
    }

    /// Runs a scenario once.
    ///
    /// # Errors
    ///
    /// As [`drive::run`].
    pub fn run(&self, scenario: &Scenario) -> Result<Trace, RunError> {
        drive::run(&self.launch(scenario), scenario, DEADLINE)
    }

    /// Runs a scenario once. Also returns the standard error of the processes.
    ///
    /// # Errors
    ///
    /// As [`drive::run`].
    pub fn run_with_stderr(&self, scenario: &Scenario) -> Result<(Trace, String), RunError> {
        drive::run_with_stderr(&self.launch(scenario), scenario, DEADLINE)
    }

    /// The command of a process that plays a part of the scenario.
    pub(super) fn launch(&self, scenario: &Scenario) -> Launch {
        let args = vec![PLAY.into(), scenario.absolute().into()];
        let env = scenario.settings.policy_variable().into_iter().collect();
        Launch { program: self.program.clone().into(), args, env, files: Vec::new() }
    }
}

/// Plays a part of a scenario in this process: the part of a worker if a primary has forked this process,
/// otherwise the part of the primary. Call this before any thread starts.
///
/// `workers` is the command of the workers. Empty: this program.
///
/// # Errors
///
/// The scenario, the environment or the channel is broken.
pub fn play(scenario: &Path, workers: &[String]) -> Result<(), PlayError> {
    let channel = channel_at_start();
    let role = cluster::role().map_err(PlayError::Role)?;
    let scenario = Scenario::load(scenario).map_err(PlayError::Scenario)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(PlayError::Runtime)?;
    match role {
        Role::Primary if scenario.settings.user == Some(User::Nobody) => {
            become_nobody().map_err(PlayError::Runtime)?;
            runtime.block_on(primary::play(&scenario, workers))
        }
        Role::Primary => runtime.block_on(primary::play(&scenario, workers)),
        Role::Worker => runtime.block_on(worker::play(&scenario, channel)).map_err(PlayError::Join),
    }
}

/// The channel's descriptor. The library removes the variable before `main`, but the kernel keeps the initial
/// environment.
fn channel_at_start() -> Option<RawFd> {
    let environment = fs::read("/proc/self/environ").ok()?;
    let mut variables = environment.split(|byte| *byte == 0);
    let value = variables.find_map(|variable| variable.strip_prefix(b"NODE_CHANNEL_FD="))?;
    str::from_utf8(value).ok()?.parse().ok()
}

/// Drops the privileges of root. Other users have none.
fn become_nobody() -> io::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let nobody = nix::unistd::User::from_name("nobody")?;
    let nobody = nobody.ok_or_else(|| io::Error::other("the user `nobody` does not exist"))?;
    nix::unistd::setgid(nobody.gid)?;
    nix::unistd::setuid(nobody.uid)?;
    Ok(())
}

/// Writes a line with a single write. Exits if the pipe is closed, because then the run was given up.
fn write(observer: Observer, seen: &Observation) {
    let line = Line { observer, observation: seen.clone() };
    let text = format!("{line}\n");
    if nix::unistd::write(io::stdout(), text.as_bytes()) != Ok(text.len()) {
        process::exit(UNCAUGHT);
    }
}

/// Ends this process by a signal.
fn die(signal: Signal) -> ! {
    let signal = match signal {
        Signal::Hup => nix::sys::signal::Signal::SIGHUP,
        Signal::Int => nix::sys::signal::Signal::SIGINT,
        Signal::Term => nix::sys::signal::Signal::SIGTERM,
        Signal::Kill => nix::sys::signal::Signal::SIGKILL,
    };
    let raised = nix::sys::signal::raise(signal);
    unreachable!("{signal} has no handler and ends this process: {raised:?}")
}

/// Why a process cannot play its part.
#[derive(Debug)]
pub enum PlayError {
    /// The environment of a worker is incomplete.
    Role(cluster::RoleError),
    /// The scenario cannot be read.
    Scenario(ScenarioError),
    /// A tokio runtime cannot be created.
    Runtime(io::Error),
    /// The worker cannot join its cluster.
    Join(cluster::JoinError),
}

impl fmt::Display for PlayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlayError::Role(error) => error.fmt(f),
            PlayError::Scenario(mistake) => mistake.fmt(f),
            PlayError::Runtime(error) => write!(f, "no runtime: {error}"),
            PlayError::Join(error) => error.fmt(f),
        }
    }
}

impl error::Error for PlayError {}
