//! A scenario: what a primary, its workers and some clients do, and what may be seen of it. Data, read from JSON.
//!
//! `scenarios/README.md` is the manual. Nothing is run here: [`crate::program`] interprets a scenario for the Rust
//! arms, `recorder/recorder.cjs` for the JavaScript ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::pattern::{LinePattern, Pattern};

mod action;
mod clause;
mod deserialize;
mod error;
mod listen;
mod settings;
#[cfg(test)]
mod tests;
mod token;
mod validate;

pub use clause::{Clause, ClauseKind};
pub use error::ScenarioError;
pub use listen::{Bind, Listen, Open};
pub use settings::{Policy, PolicyFrom, Serialization, Settings, User};
pub use token::{Signal, Token};

/// Where the scenarios of this repository are.
pub const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");

/// How many clients a scenario has at most, and how many workers its rules fork: a slip of the pen must not take the machine.
pub const MOST: u32 = 1000;

/// One scenario. Fields appear in files under these names.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The name, which is also the name of the file without `.json`.
    pub name: String,
    /// What happens, in a sentence or two.
    pub description: String,
    /// What of Node's behaviour it shows: tests of Node's own suite and topics by name.
    #[serde(default)]
    pub covers: Vec<String>,
    /// The first major version of Node that can run it; without, every one can.
    #[serde(default)]
    pub min_node: Option<u32>,
    /// How the primary is set up.
    #[serde(default)]
    pub settings: Settings,
    /// What the primary does.
    pub primary: Vec<Rule<PrimaryAction>>,
    /// What every worker does.
    pub worker: Vec<Rule<WorkerAction>>,
    /// What the worker with this id does instead.
    #[serde(default)]
    pub workers: BTreeMap<u64, Vec<Rule<WorkerAction>>>,
    /// What the clients do.
    #[serde(default)]
    pub clients: Vec<Clients>,
    /// What must hold of every run, beyond what [`crate::order`] asks of all scenarios.
    pub contract: Vec<Clause>,
    /// The file it was read from.
    #[serde(skip)]
    pub path: PathBuf,
}

/// On such an observation of one's own, do this, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule<Action> {
    /// Which.
    pub on: Pattern,
    /// What to do.
    #[serde(rename = "do")]
    pub actions: Vec<Action>,
}

/// What a primary can do.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PrimaryAction {
    /// Fork so many workers.
    Fork(#[serde(deserialize_with = "deserialize::few")] u32),
    /// Fork one worker with this environment.
    ForkWith(BTreeMap<String, Token>),
    /// Node: `cluster.setupPrimary()`.
    Setup(Setup),
    /// Write down what is set up now.
    Settings,
    /// Node: an assignment to `cluster.schedulingPolicy`.
    Policy(Policy),
    /// Open a server of the primary's own.
    Open(Open),
    /// Close a server of the primary's own.
    Close(Token),
    /// Send a worker a message with a socket.
    SendHandle {
        /// To whom.
        to: u64,
        /// What the message says.
        text: Token,
        /// Which server of the primary's own; without, the connection of the observation.
        #[serde(default)]
        what: Option<Token>,
        /// Whether the primary keeps it, too.
        #[serde(default)]
        keep_open: bool,
    },
    /// Write a line of text to the connection of the observation.
    Reply(Token),
    /// End the connection of the observation.
    End,
    /// Send a worker a message.
    Send {
        /// To whom.
        to: Target,
        /// What.
        text: Token,
    },
    /// Send a worker a message, and write down whether that can be.
    TrySend {
        /// To whom.
        to: Target,
        /// What.
        text: Token,
    },
    /// Do nothing more until the process of a worker has ended, whatever else happens.
    BlockUntilExit(Target),
    /// Node: `worker.disconnect()`.
    Disconnect(Target),
    /// Node: `cluster.disconnect()`.
    DisconnectAll,
    /// Node: `worker.kill(signal)`.
    Kill {
        /// Whom.
        worker: Target,
        /// With what.
        signal: Signal,
    },
    /// Write down what is known of a worker now.
    Inspect(Target),
    /// Open files until no descriptor is left.
    ExhaustFds,
    /// Close them again.
    FreeFds,
    /// End this process with a code.
    Exit(i32),
    /// Fail with nobody to catch it: code 1.
    Crash,
    /// End this process by a signal.
    Raise(Signal),
}

/// What is set up; what is left out stays as it was. Node: the argument of `cluster.setupPrimary()`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// The arguments of workers, beyond what every run needs.
    #[serde(default)]
    pub args: Option<Vec<Token>>,
    /// What Node's own executable is told of workers, before their script.
    #[serde(default)]
    pub exec_argv: Option<Vec<Token>>,
    /// Where the inspectors of workers listen.
    #[serde(default)]
    pub inspect_port: Option<u16>,
    /// The directory of workers.
    #[serde(default)]
    pub cwd: Option<Token>,
    /// Whether the standard descriptors of workers are pipes to the primary.
    #[serde(default)]
    pub silent: Option<bool>,
    /// The first descriptors of workers.
    #[serde(default)]
    pub stdio: Option<Vec<Stdio>>,
}

/// One of the first descriptors of a worker. Node: an element of `stdio`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdio {
    /// The primary's of the same number.
    Inherit,
    /// None.
    Ignore,
    /// A pipe to the primary.
    Pipe,
    /// The channel.
    Ipc,
}

/// Which worker an action of the primary means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// The one with this id.
    Id(u64),
    /// The one of the observation that the rule is on: `"same"`.
    Same,
}

/// What a worker can do.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WorkerAction {
    /// Open a server.
    Listen(Listen),
    /// Open a server for datagrams.
    Bind(Bind),
    /// Close a server.
    Close(Token),
    /// Send a datagram.
    SendDatagram {
        /// To the port of which server.
        to: Token,
        /// What.
        text: Token,
        /// From which server for datagrams; without, from a new socket.
        #[serde(default)]
        from: Option<Token>,
    },
    /// Send the primary a message.
    Send(Token),
    /// Send the primary the message of a form: one of the [families](crate::families).
    SendForm(String),
    /// Send the primary a message, and write down whether that can be.
    TrySend(Token),
    /// Send the primary what looks like one of Node's own messages.
    SendReserved,
    /// Send the primary a message with a socket.
    SendHandle {
        /// What the message says.
        text: Token,
        /// Which server; without, the connection of the observation.
        #[serde(default)]
        what: Option<Token>,
        /// Whether the worker keeps it, too.
        #[serde(default)]
        keep_open: bool,
    },
    /// Node: `cluster.worker.disconnect()`.
    Disconnect,
    /// Node: `cluster.worker.kill()`.
    Kill,
    /// Close the channel without a word to the cluster. Node: `process.disconnect()`.
    DisconnectChannel,
    /// Never come back from this: nothing more happens in the process.
    BlockForever,
    /// Start a child that has the channel, too, and ends with the connection of the observation.
    LeaveChildWithChannel,
    /// Nothing more happens in the process before there is something at this path, of the directory of the run.
    BlockUntilPath(Token),
    /// End this process with a code.
    Exit(i32),
    /// Fail with nobody to catch it: code 1.
    Crash,
    /// End this process by a signal.
    Raise(Signal),
    /// Write a line of text to the connection of the observation.
    Reply(Token),
    /// End the connection of the observation.
    End,
    /// End every connection that is open.
    EndAll,
    /// Write down a variable of the environment.
    Env(String),
    /// Write down what this worker knows of itself now.
    Inspect,
    /// Write down the arguments, beyond what every run needs.
    Args,
    /// Write down what Node's own executable was told. Node: `process.execArgv`.
    ExecArgs,
    /// Write down the directory.
    Cwd,
    /// Write a line of text to a descriptor.
    Write {
        /// Its number.
        fd: u32,
        /// What.
        text: Token,
    },
}

/// Some clients that do the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clients {
    /// How many.
    #[serde(default = "one", deserialize_with = "deserialize::few")]
    pub count: u32,
    /// All at once, or the next when the one before is through.
    #[serde(default)]
    pub order: ClientOrder,
    /// What each of them does.
    pub steps: Vec<Step>,
}

fn one() -> u32 {
    1
}

/// When the clients of a group begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientOrder {
    /// The next when the one before is through: refused, ended or reset.
    #[default]
    InTurn,
    /// All at once.
    Together,
}

/// What a client can do.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Wait for a line, by anybody; for `#n`, until there have been `n` of them since the run began.
    Await(LinePattern),
    /// Connect to the server with this name, at 127.0.0.1 or at its path.
    Connect(Token),
    /// Connect to the server with this name, at `::1`.
    #[serde(rename = "connect_v6")]
    ConnectV6(Token),
    /// Send a datagram to the server with this name, at 127.0.0.1.
    SendDatagram {
        /// To whom.
        to: Token,
        /// What.
        text: Token,
    },
    /// The same, at `::1`.
    #[serde(rename = "send_datagram_v6")]
    SendDatagramV6 {
        /// To whom.
        to: Token,
        /// What.
        text: Token,
    },
    /// Write down the mode of the path at which the server with this name serves.
    Mode(Token),
    /// Write down how many connections the kernel holds for the server with this name.
    Backlog(Token),
    /// Write a line of text.
    Write(Token),
    /// End the connection.
    End,
    /// Reset the connection.
    Reset,
}

impl Scenario {
    /// Reads one scenario file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or has a [`ScenarioError`]: file, line and what was expected.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let text = read(path).map_err(|error| ScenarioError::unreadable(path, &error))?;
        Scenario::parse(path, &text)
    }

    /// Reads a scenario from the text of the file at `path`.
    ///
    /// # Errors
    ///
    /// The first [`ScenarioError`] in the text.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ScenarioError> {
        let mut scenario: Scenario =
            serde_json::from_str(text).map_err(|error| ScenarioError::syntax(path, &error))?;
        path.clone_into(&mut scenario.path);
        validate::check(&scenario).map_err(|error| error.in_file(path, text))?;
        Ok(scenario)
    }

    /// Reads all scenarios of a directory, in the order of their names.
    ///
    /// # Errors
    ///
    /// The directory or a file cannot be read, or the first [`ScenarioError`] in one of them.
    pub fn all(directory: &Path) -> Result<Vec<Self>, ScenarioError> {
        let entries =
            fs::read_dir(directory).map_err(|error| ScenarioError::unreadable(directory, &error))?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
        let mut paths = paths.map_err(|error| ScenarioError::unreadable(directory, &error))?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        paths.sort();
        paths.iter().map(|path| Scenario::load(path)).collect()
    }

    /// The file it was read from, wherever one looks from.
    pub fn absolute(&self) -> PathBuf {
        std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone())
    }

    /// What the worker with this id does.
    pub fn worker_rules(&self, id: u64) -> &[Rule<WorkerAction>] {
        self.workers.get(&id).unwrap_or(&self.worker)
    }

    fn primary_actions(&self) -> impl Iterator<Item = &PrimaryAction> {
        self.primary.iter().flat_map(|rule| &rule.actions)
    }

    /// Every program of a worker in the file: the common one and those of single workers.
    pub fn worker_programs(&self) -> impl Iterator<Item = &[Rule<WorkerAction>]> {
        std::iter::once(self.worker.as_slice()).chain(self.workers.values().map(Vec::as_slice))
    }

    /// Whether the primary tells of what is set up: only where that is what the scenario is about.
    pub fn tells_of_setup(&self) -> bool {
        let sets =
            |action: &PrimaryAction| matches!(action, PrimaryAction::Setup(_) | PrimaryAction::Settings);
        self.primary_actions().any(sets)
    }

    /// The servers that the cluster does not know: exclusive ones, and those that came with a message, which have its text
    /// for a name.
    pub fn exclusive_servers(&self) -> BTreeSet<&str> {
        let by_workers = self.worker_programs().flatten().flat_map(|rule| &rule.actions);
        let passed = self.primary_actions().filter_map(|action| {
            if let PrimaryAction::SendHandle { text, .. } = action { Some(text.as_str()) } else { None }
        });
        by_workers.filter_map(exclusive_server).chain(passed).collect()
    }

    /// The servers that receive datagrams.
    pub fn datagram_servers(&self) -> BTreeSet<String> {
        let by_workers = self.worker_programs().flatten().flat_map(|rule| &rule.actions);
        let opened = self.primary_actions().filter_map(opened_for_datagrams);
        opened.chain(by_workers.filter_map(bound_server)).map(str::to_owned).collect()
    }

    /// Whether this version of Node, `node v20.20.2`, can run it. Every other runtime can.
    pub fn runs_on(&self, runtime: &str) -> bool {
        let version = runtime.strip_prefix("node v").and_then(|version| version.split('.').next());
        let major = version.and_then(|major| major.parse::<u32>().ok());
        major.is_none_or(|major| self.min_node.is_none_or(|least| least <= major))
    }

    /// Whether a process is to run out of descriptors.
    pub fn exhausts_fds(&self) -> bool {
        self.primary_actions().any(|action| *action == PrimaryAction::ExhaustFds)
    }

    /// Whether the primary may end before its workers do.
    pub fn primary_may_die(&self) -> bool {
        let dies = |action: &PrimaryAction| {
            matches!(action, PrimaryAction::Exit(_) | PrimaryAction::Raise(_) | PrimaryAction::Crash)
        };
        self.primary_actions().any(dies)
    }
}

fn exclusive_server(action: &WorkerAction) -> Option<&str> {
    let (WorkerAction::Listen(Listen { server, exclusive, reuse_port, .. })
    | WorkerAction::Bind(Bind { server, exclusive, reuse_port, .. })) = action
    else {
        return None;
    };
    (*exclusive || *reuse_port).then_some(server.as_str())
}

fn opened_for_datagrams(action: &PrimaryAction) -> Option<&str> {
    let PrimaryAction::Open(open) = action else { return None };
    open.udp.then_some(open.server.as_str())
}

fn bound_server(action: &WorkerAction) -> Option<&str> {
    let WorkerAction::Bind(bind) = action else { return None };
    Some(bind.server.as_str())
}

/// Reading something else than a file, as a pipe, can take for ever.
fn read(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.is_file() {
        fs::read_to_string(path)
    } else {
        Err(io::Error::other("it is no regular file"))
    }
}
