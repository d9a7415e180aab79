//! A scenario: what a primary, its workers and some clients do, and what may be seen of it. Data, read from JSON.
//!
//! `scenarios/README.md` is the manual. Nothing is run here: [`crate::program`] interprets a scenario for the Rust
//! arms, `recorder/recorder.cjs` for the JavaScript ones.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::pattern::{LinePattern, Pattern};

mod claim;
mod form;
mod mistake;
mod sense;
#[cfg(test)]
mod tests;
mod word;

pub use claim::{Claim, Claimed};
pub use mistake::Mistake;
pub use word::{Signal, Word};

/// Where the scenarios of this repository are.
pub const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");

/// One scenario. Fields appear in files under these names.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The name, which is also the name of the file without `.json`.
    pub name: String,
    /// What happens, in a sentence or two.
    pub story: String,
    /// How the primary is set up.
    #[serde(default)]
    pub settings: Settings,
    /// What the primary does.
    pub primary: Vec<Rule<PrimaryAction>>,
    /// What every worker does.
    pub worker: Vec<Rule<WorkerAction>>,
    /// What the worker with this id does instead.
    #[serde(default)]
    pub workers: BTreeMap<u32, Vec<Rule<WorkerAction>>>,
    /// What the clients do.
    #[serde(default)]
    pub clients: Vec<Clients>,
    /// What must hold of every run, beyond what [`crate::order`] asks of all scenarios.
    pub contract: Vec<Claim>,
    /// The file it was read from.
    #[serde(skip)]
    pub path: PathBuf,
}

/// How the primary is set up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How connections find their worker.
    #[serde(default)]
    pub policy: Policy,
}

/// How connections find their worker. Node: `cluster.schedulingPolicy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The primary gives them out in turn.
    #[default]
    RoundRobin,
    /// The workers share the listening socket.
    Shared,
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
    Fork(u32),
    /// Fork one worker with this environment.
    ForkWith(BTreeMap<String, Word>),
    /// Send a worker a message.
    Send {
        /// To whom.
        to: Target,
        /// What.
        text: Word,
    },
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
    Look(Target),
    /// End this process with a code.
    Exit(i32),
    /// End this process by a signal.
    Die(Signal),
}

/// Which worker an action of the primary means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// The one with this id.
    Id(u32),
    /// The one of the observation that the rule is on: `"it"`.
    It,
}

/// What a worker can do.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WorkerAction {
    /// Open a server.
    Listen(Listen),
    /// Close a server.
    Close(Word),
    /// Send the primary a message.
    Send(Word),
    /// Node: `cluster.worker.disconnect()`.
    Disconnect,
    /// Node: `cluster.worker.kill()`.
    Kill,
    /// End this process with a code.
    Exit(i32),
    /// Fail with nobody to catch it: code 1.
    Crash,
    /// End this process by a signal.
    Die(Signal),
    /// Write a line of text to the connection of the observation.
    Reply(Word),
    /// End the connection of the observation.
    End,
    /// End every connection that is open.
    EndAll,
    /// Write down a variable of the environment.
    Env(String),
}

/// Which server to open, and where.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Its name in the scenario.
    pub server: Word,
    /// The address; without, every address.
    #[serde(default)]
    pub host: Option<IpAddr>,
    /// Ask for the port that this server of the same worker has; without, the kernel chooses one.
    #[serde(default)]
    pub port_of: Option<Word>,
}

/// Some clients that do the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clients {
    /// How many.
    #[serde(default = "one")]
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
    /// Connect to the server with this name.
    Connect(Word),
    /// Write a line of text.
    Say(Word),
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
    /// The file cannot be read, or has a [`Mistake`]: file, line and what was expected.
    pub fn load(path: &Path) -> Result<Self, Mistake> {
        let text = read(path).map_err(|error| Mistake::unreadable(path, &error))?;
        Scenario::parse(path, &text)
    }

    /// Reads a scenario from the text of the file at `path`.
    ///
    /// # Errors
    ///
    /// The first [`Mistake`] in the text.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Mistake> {
        let mut scenario: Scenario =
            serde_json::from_str(text).map_err(|error| Mistake::syntax(path, &error))?;
        path.clone_into(&mut scenario.path);
        sense::check(&scenario).map_err(|nonsense| nonsense.in_file(path, text))?;
        Ok(scenario)
    }

    /// Reads all scenarios of a directory, in the order of their names.
    ///
    /// # Errors
    ///
    /// The directory or a file cannot be read, or the first [`Mistake`] in one of them.
    pub fn all(directory: &Path) -> Result<Vec<Self>, Mistake> {
        let entries = fs::read_dir(directory).map_err(|error| Mistake::unreadable(directory, &error))?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
        let mut paths = paths.map_err(|error| Mistake::unreadable(directory, &error))?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        paths.sort();
        paths.iter().map(|path| Scenario::load(path)).collect()
    }

    /// What the worker with this id does.
    pub fn worker_rules(&self, id: u32) -> &[Rule<WorkerAction>] {
        self.workers.get(&id).unwrap_or(&self.worker)
    }

    /// Every program of a worker in the file: the common one and those of single workers.
    pub fn worker_programs(&self) -> impl Iterator<Item = &[Rule<WorkerAction>]> {
        std::iter::once(self.worker.as_slice()).chain(self.workers.values().map(Vec::as_slice))
    }

    /// Whether the primary may end before its workers do.
    pub fn primary_may_die(&self) -> bool {
        let dies = |action: &PrimaryAction| matches!(action, PrimaryAction::Exit(_) | PrimaryAction::Die(_));
        self.primary.iter().flat_map(|rule| &rule.actions).any(dies)
    }
}

/// Reading something else than a file, as a pipe, can take for ever.
fn read(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.is_file() {
        fs::read_to_string(path)
    } else {
        Err(io::Error::other("it is no regular file"))
    }
}
