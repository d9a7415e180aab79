//! Runs real processes: starts a primary, reads the lines of all processes, and plays the clients.
//!
//! Every process of a run inherits one pipe as standard output, and writes lines to the pipe. When the pipe
//! ends, no process is left, and the run is over. The processes may be in any language.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek};
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

/// Runs a scenario once, within the deadline, and returns the trace.
///
/// # Errors
///
/// The processes cannot be started, write a malformed line, or do not end in time. In each case all processes
/// are killed.
pub fn run(launch: &Launch, scenario: &Scenario, deadline: Duration) -> Result<Trace, RunError> {
    run_with_stderr(launch, scenario, deadline).map(|(trace, _)| trace)
}

/// [`run`], which also returns the standard error of the processes.
///
/// # Errors
///
/// As [`run`].
pub fn run_with_stderr(
    launch: &Launch,
    scenario: &Scenario,
    deadline: Duration,
) -> Result<(Trace, String), RunError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::Machine)?;
    let mut stderr = tempfile::tempfile().map_err(RunError::Machine)?;
    let lines = runtime.block_on(perform(launch, scenario, deadline, &stderr));
    let trace = |lines| Trace::of(lines, &scenario.datagram_servers());
    match lines {
        Ok(lines) if lines.is_empty() => Err(RunError::Silent { stderr: text(&mut stderr) }),
        Ok(lines) => Ok((trace(lines), text(&mut stderr))),
        Err(Stop::Late { lines }) => {
            let seen = trace(lines);
            Err(RunError::Hang { deadline, seen, stderr: text(&mut stderr) })
        }
        Err(Stop::Failed(error)) => Err(error),
    }
}

fn text(file: &mut File) -> String {
    let mut text = Vec::new();
    let read = file.rewind().and_then(|()| file.read_to_end(&mut text));
    read.map_or_else(|error| error.to_string(), |_| String::from_utf8_lossy(&text).into_owned())
}

/// Why a run is stopped.
enum Stop {
    Late { lines: Vec<Line> },
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
    deadline: Duration,
    stderr: &File,
) -> Result<Vec<Line>, Stop> {
    let stderr = stderr.try_clone().map_err(RunError::Machine)?;
    let directory = RunDir::new().map_err(RunError::Machine)?;
    let launch = if scenario.exhausts_fds() { &launch.with_few_descriptors() } else { launch };
    let mut primary = start(launch, &directory, stderr)?;
    let group = primary.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    let group = group.expect("a child before its wait has a process id");
    let stdout = primary.stdout.take().expect("standard output is a pipe");
    let mut run = RealRun::new(scenario, directory);
    let ended = tokio::time::timeout(deadline, run.drive(stdout)).await;
    if !matches!(ended, Ok(Ok(()))) {
        // The leader of the group has not been reaped, so the number still means the same group.
        killpg(group, Signal::SIGKILL).map_err(|errno| RunError::Machine(errno.into()))?;
    }
    primary.wait().await.map_err(RunError::Machine)?;
    match ended {
        Ok(Ok(())) => Ok(run.lines),
        Ok(Err(error)) => Err(Stop::Failed(error)),
        Err(_) => Err(Stop::Late { lines: run.lines }),
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
            // The script waits.
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
        /// The deadline.
        deadline: Duration,
        /// The lines up to the deadline.
        seen: Trace,
        /// Standard error of the processes.
        stderr: String,
    },
    /// No process wrote a line.
    Silent {
        /// Standard error of the processes.
        stderr: String,
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
            RunError::Hang { deadline, seen, stderr } => {
                let seconds = deadline.as_secs();
                write!(f, "the run did not end within {seconds} s; the trace until then:\n{seen}{stderr}")
            }
            RunError::Silent { stderr } if stderr.is_empty() => {
                f.write_str("the processes ended without a line; check the executable")
            }
            RunError::Silent { stderr } => write!(f, "the processes ended without a line: {stderr}"),
            RunError::Garbled(line) => write!(f, "a process wrote {line}"),
            RunError::Machine(error) => write!(f, "this machine cannot run the scenario: {error}"),
        }
    }
}

impl error::Error for RunError {}
