//! Runs real processes: starts a primary, reads the lines of all processes, and plays the clients.
//!
//! Every process of a run inherits one pipe as standard output, and writes lines to the pipe. When the pipe
//! ends, no process is left, and the run is over. The processes may be in any language.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use std::{error, fmt};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::client::Client;
use super::run_dir::{self, RunDir};
use super::run_processes;
use crate::observation::{BadLine, Line, Observation, Observer};
use crate::program::clients::{ClientCommand, ClientScript};
use crate::scenario::{Scenario, Step};
use crate::trace::Trace;
use crate::vocabulary;

/// Variables that make a process a worker, or change how a process runs. A primary must not inherit these
/// variables.
const FOREIGN: [&str; 5] = [
    "NODE_UNIQUE_ID",
    "NODE_CHANNEL_FD",
    "NODE_CHANNEL_SERIALIZATION_MODE",
    "NODE_CLUSTER_SCHED_POLICY",
    "NODE_OPTIONS",
];

/// The limit of descriptors in a scenario that exhausts descriptors: more than a process needs before, but
/// few enough to exhaust quickly.
const FEW: u32 = 256;

/// The beginning of the line on standard error with which a process reports an action that its runtime lacks.
const LACK: &str = "cannot perform ";

/// The start of a primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The executable.
    pub program: OsString,
    /// The arguments.
    pub args: Vec<OsString>,
    /// Variables laid over this process's environment.
    pub env: Vec<(String, String)>,
    /// Files that are written beside the directory of the run, by name. An argument of `BESIDE` and a name
    /// becomes the path of the file.
    pub files: Vec<(&'static str, &'static str)>,
}

/// The beginning of an argument that stands for a file of a [`Launch`].
pub(crate) const BESIDE: &str = "{beside}/";

impl Launch {
    /// The same launch, with a limit of descriptors for the primary and the workers.
    fn with_few_descriptors(&self) -> Launch {
        let limited = format!("ulimit -n {FEW} && exec \"$0\" \"$@\"");
        let args = ["-c".into(), limited.into(), self.program.clone()].into_iter().chain(self.args.clone());
        Launch {
            program: "sh".into(),
            args: args.collect(),
            env: self.env.clone(),
            files: self.files.clone(),
        }
    }
}

/// The limits of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The limit of a run's duration.
    pub deadline: Duration,
    /// How long all processes of a run may sleep without using processor time. `None`: up to the deadline.
    pub idle: Option<Duration>,
}

impl From<Duration> for Limits {
    fn from(deadline: Duration) -> Self {
        Limits { deadline, idle: None }
    }
}

/// The limit that a run has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The limit of the duration.
    Deadline(Duration),
    /// The limit of sleeping.
    Idle(Duration),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Deadline(duration) => write!(f, "the run did not end within {} s", duration.as_secs()),
            Limit::Idle(duration) => {
                write!(f, "the run did not end: no process did anything for {} s", duration.as_secs())
            }
        }
    }
}

/// Runs a scenario once, within the limits, and returns the trace.
///
/// # Errors
///
/// The processes cannot be started, write a malformed line, or do not end in time. In each case all processes
/// are killed.
pub fn run(launch: &Launch, scenario: &Scenario, limits: impl Into<Limits>) -> Result<Trace, RunError> {
    run_with_stderr(launch, scenario, limits).map(|(trace, _)| trace)
}

/// [`run`], which also returns the standard error of the processes.
///
/// # Errors
///
/// As [`run`].
pub fn run_with_stderr(
    launch: &Launch,
    scenario: &Scenario,
    limits: impl Into<Limits>,
) -> Result<(Trace, String), RunError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::Machine)?;
    let mut stderr = tempfile::tempfile().map_err(RunError::Machine)?;
    let lines = runtime.block_on(perform(launch, scenario, limits.into(), &stderr));
    let trace = |lines| Trace::of(lines, &scenario.datagram_servers());
    let (seen, late) = match lines {
        Ok(lines) => (lines, None),
        Err(Stop::Late { limit, lines }) => (lines, Some(limit)),
        Err(Stop::Failed(error)) => return Err(error),
    };
    let stderr = text(&mut stderr);
    if let Some(lack) = stderr.lines().find_map(|line| line.strip_prefix(LACK)) {
        return Err(RunError::Lacks { action: lack.to_owned() });
    }
    match late {
        Some(limit) => Err(RunError::Hang { limit, seen: trace(seen), stderr }),
        None if seen.is_empty() => Err(RunError::Silent { stderr }),
        None => Ok((trace(seen), stderr)),
    }
}

fn text(file: &mut File) -> String {
    let mut text = Vec::new();
    let read = file.rewind().and_then(|()| file.read_to_end(&mut text));
    read.map_or_else(|error| error.to_string(), |_| String::from_utf8_lossy(&text).into_owned())
}

/// Why a run is stopped.
enum Stop {
    Late { limit: Limit, lines: Vec<Line> },
    Failed(RunError),
}

impl From<RunError> for Stop {
    fn from(error: RunError) -> Self {
        Stop::Failed(error)
    }
}

async fn perform(
    launch: &Launch,
    scenario: &Scenario,
    limits: Limits,
    stderr: &File,
) -> Result<Vec<Line>, Stop> {
    let stderr = stderr.try_clone().map_err(RunError::Machine)?;
    run_processes::adopt().map_err(RunError::Machine)?;
    let directory = RunDir::new().map_err(RunError::Machine)?;
    let launch = if scenario.exhausts_fds() { &launch.with_few_descriptors() } else { launch };
    let mut primary = start(launch, &directory, stderr)?;
    let group = primary.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    let group = group.expect("a child before its wait has a process id");
    let stdout = primary.stdout.take().expect("standard output is a pipe");
    let mut run = RealRun::new(scenario, directory.clone());
    let ended = tokio::select! {
        ended = run.drive(stdout) => Ok(ended),
        limit = reached(limits, directory.path()) => Err(limit),
    };
    // The leader of the group has not been reaped, so the number still means the same group.
    killpg(group, Signal::SIGKILL).map_err(|errno| RunError::Machine(errno.into()))?;
    primary.wait().await.map_err(RunError::Machine)?;
    run_processes::end(group, directory.path());
    match ended {
        Ok(Ok(())) => Ok(run.lines),
        Ok(Err(error)) => Err(Stop::Failed(error)),
        Err(limit) => Err(Stop::Late { limit, lines: run.lines }),
    }
}

/// Waits until a run has reached one of its limits.
async fn reached(limits: Limits, place: &Path) -> Limit {
    let Limits { deadline, idle } = limits;
    let late = tokio::time::sleep(deadline);
    let Some(patience) = idle else {
        late.await;
        return Limit::Deadline(deadline);
    };
    tokio::select! {
        () = late => Limit::Deadline(deadline),
        () = run_processes::idle(place, patience) => Limit::Idle(patience),
    }
}

fn start(launch: &Launch, directory: &RunDir, stderr: File) -> Result<Child, RunError> {
    let mut command = Command::new(&launch.program);
    for &(name, text) in &launch.files {
        directory.write_beside(name, text).map_err(RunError::Machine)?;
    }
    let beside = |arg: &OsString| {
        let name = arg.to_str().and_then(|arg| arg.strip_prefix(BESIDE));
        name.map_or_else(|| arg.clone(), |name| directory.beside(name).into())
    };
    command
        .args(launch.args.iter().map(beside))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .process_group(0);
    for name in FOREIGN {
        command.env_remove(name);
    }
    command.current_dir(directory.path()).env("PLACE", directory.path());
    command.envs(launch.env.iter().map(|(name, value)| (name, value)));
    let program = launch.program.to_string_lossy().into_owned();
    command.spawn().map_err(|error| RunError::Spawn { program, error })
}

/// A run in progress: the lines so far and the clients.
struct RealRun {
    lines: Vec<Line>,
    script: ClientScript,
    directory: RunDir,
    clients: JoinSet<io::Result<()>>,
    steps: BTreeMap<u32, UnboundedSender<Step>>,
    seen: UnboundedSender<Line>,
    by_clients: UnboundedReceiver<Line>,
}

impl RealRun {
    fn new(scenario: &Scenario, directory: RunDir) -> Self {
        let (seen, by_clients) = unbounded_channel();
        let (script, clients, steps) = (ClientScript::new(scenario), JoinSet::new(), BTreeMap::new());
        RealRun { lines: Vec::new(), script, directory, clients, steps, seen, by_clients }
    }

    /// Runs until no process is left and no client can observe more.
    async fn drive(&mut self, stdout: ChildStdout) -> Result<(), RunError> {
        let mut written = BufReader::new(stdout).lines();
        let mut processes_live = true;
        while processes_live || !self.clients.is_empty() || !self.by_clients.is_empty() {
            tokio::select! {
                line = written.next_line(), if processes_live => if let Some(text) = line.map_err(RunError::Machine)? {
                    self.on_line(text.parse().map_err(RunError::Garbled)?)?;
                } else {
                    processes_live = false;
                    // No process is left to answer a datagram. A connection reports its end itself.
                    self.steps.clear();
                },
                Some(line) = self.by_clients.recv() => self.on_line(line)?,
                Some(over) = self.clients.join_next() => {
                    over.map_err(io::Error::from).and_then(|lived| lived).map_err(RunError::Machine)?;
                }
            }
        }
        Ok(())
    }

    fn on_line(&mut self, line: Line) -> Result<(), RunError> {
        let commands = self.script.on_line(&line);
        self.lines.push(line);
        commands.into_iter().try_for_each(|command| self.command(command))
    }

    fn command(&mut self, command: ClientCommand) -> Result<(), RunError> {
        let ClientCommand { client: number, step } = command;
        match &step {
            // The script itself waits, so the client has nothing to do.
            Step::Await(_) => {}
            Step::Connect(server) | Step::ConnectV6(server) => {
                let (client, directory) = (self.client(number), self.directory.clone());
                self.clients.spawn(client.live(server.clone(), step.loopback(), directory));
            }
            Step::Mode(server) => {
                let mode = self.directory.mode(server.address.as_ref());
                self.observe(number, vocabulary::outside("mode", server.as_str(), mode.as_deref()));
            }
            Step::Backlog(server) => {
                let backlog = run_dir::backlog(server.address.as_ref()).map_err(RunError::Machine)?;
                self.observe(number, vocabulary::outside("backlog", server.as_str(), backlog.as_deref()));
            }
            Step::SendDatagram(_) | Step::SendDatagramV6(_) => {
                if !self.steps.contains_key(&number) {
                    let client = self.client(number);
                    self.clients.spawn(client.exchange(step.loopback()));
                }
                self.forward(number, step);
            }
            Step::Write(_) | Step::End | Step::Reset => self.forward(number, step),
        }
        Ok(())
    }

    fn client(&mut self, number: u32) -> Client {
        let (sender, steps) = unbounded_channel();
        self.steps.insert(number, sender);
        Client { number, seen: self.seen.clone(), steps }
    }

    /// Forwards a step to a client. After the end of its connection, a client ignores steps.
    fn forward(&self, number: u32, step: Step) {
        if let Some(steps) = self.steps.get(&number) {
            steps.send(step).unwrap_or_default();
        }
    }

    /// Writes a line for a client that may have no connection.
    fn observe(&self, number: u32, observation: Observation) {
        let line = Line { observer: Observer::Client(number), observation };
        self.seen.send(line).expect("the run holds the receiver");
    }
}

/// Why a run has no trace.
#[derive(Debug)]
pub enum RunError {
    /// The primary could not be started.
    Spawn {
        /// The executable.
        program: String,
        /// The error of the start.
        error: io::Error,
    },
    /// The run did not end in time, and its processes were killed.
    Hang {
        /// The limit.
        limit: Limit,
        /// The lines up to the limit.
        seen: Trace,
        /// Standard error of the processes.
        stderr: String,
    },
    /// No process wrote a line.
    Silent {
        /// Standard error of the processes.
        stderr: String,
    },
    /// The runtime lacks what an action needs.
    Lacks {
        /// The action, and the error of the runtime.
        action: String,
    },
    /// A process wrote a malformed line.
    Garbled(BadLine),
    /// An operation of this process failed.
    Machine(io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Spawn { program, error } => write!(f, "`{program}` cannot be started: {error}"),
            RunError::Hang { limit, seen, stderr } => {
                let error = stderr.lines().find(|line| line.contains("Error: ") || line.contains("error: "));
                let error = error.map_or_else(String::new, |line| format!("; {}", line.trim()));
                write!(f, "{limit}{error}; the trace until then:\n{seen}{stderr}")
            }
            RunError::Silent { stderr } if stderr.is_empty() => {
                f.write_str("the processes ended without a line; check the executable")
            }
            RunError::Silent { stderr } => write!(f, "the processes ended without a line: {stderr}"),
            RunError::Lacks { action } => write!(f, "the runtime cannot perform {action}"),
            RunError::Garbled(line) => write!(f, "a process wrote {line}"),
            RunError::Machine(error) => write!(f, "this machine cannot run the scenario: {error}"),
        }
    }
}

impl error::Error for RunError {}
