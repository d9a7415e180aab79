//! The real operating system as an arm: this project's own executable, started in a role that no user needs, plays the
//! primary and its workers on the face of `cluster`. The driver of all real processes runs it.

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

/// The name of the role: `conformance play SCENARIO.json`.
pub const PLAY: &str = "play";

/// More than any run takes, even on a busy machine.
const DEADLINE: Duration = Duration::from_mins(1);

/// Node ends with this code when an error is caught by nobody.
const UNCAUGHT: i32 = 1;

/// The name of the role and the scenario.
const OWN_ARGS: usize = 2;

/// The executable that plays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unix {
    program: PathBuf,
}

impl Unix {
    /// This executable, which must be `conformance`.
    ///
    /// # Errors
    ///
    /// The operating system cannot say where it is.
    pub fn this() -> io::Result<Self> {
        Ok(Unix { program: env::current_exe()? })
    }

    /// This executable, which must be `conformance`: for tests, which are another.
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

    /// How a process that plays a part of this scenario is started.
    pub(super) fn launch(&self, scenario: &Scenario) -> Launch {
        let args = vec![PLAY.into(), scenario.absolute().into()];
        let env = scenario.settings.policy_variable().into_iter().collect();
        Launch { program: self.program.clone().into(), args, env, files: Vec::new() }
    }
}

/// Plays a part of a scenario in this process, which an arm has started: the primary's, or that of a worker if a primary
/// has forked it. To be called while this is the only thread.
///
/// `workers` is what a primary executes instead of this program, with its arguments; empty, it is this program.
///
/// # Errors
///
/// This process cannot play: its scenario, its environment or its channel is broken.
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

/// The number of the channel's descriptor. The library removes its variable before `main`; the kernel still shows the
/// environment with which the process has started.
fn channel_at_start() -> Option<RawFd> {
    let environment = fs::read("/proc/self/environ").ok()?;
    let mut variables = environment.split(|byte| *byte == 0);
    let value = variables.find_map(|variable| variable.strip_prefix(b"NODE_CHANNEL_FD="))?;
    str::from_utf8(value).ok()?.parse().ok()
}

/// Whoever is not root is nobody already.
fn become_nobody() -> io::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let nobody = nix::unistd::User::from_name("nobody")?;
    let nobody = nobody.ok_or_else(|| io::Error::other("there is no user `nobody`"))?;
    nix::unistd::setgid(nobody.gid)?;
    nix::unistd::setuid(nobody.uid)?;
    Ok(())
}

/// Writes a line down, in one write. If nobody reads any more, the run was given up, and so is this process.
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
    unreachable!("{signal} is not handled here, and it has ended this process: {raised:?}")
}

/// Why a process cannot play its part.
#[derive(Debug)]
pub enum PlayError {
    /// Its environment says that it is a worker, but not how.
    Role(cluster::RoleError),
    /// The scenario cannot be read.
    Scenario(ScenarioError),
    /// There is no tokio runtime to be had.
    Runtime(io::Error),
    /// It cannot join its cluster.
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
