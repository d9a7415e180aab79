//! A scenario: the actions of a primary, of its workers and of some clients, and a contract about their
//! observations. A scenario is data, read from JSON.
//!
//! `scenarios/README.md` is the manual. [`crate::program`] interprets a scenario for the Rust arms,
//! `recorder/recorder.cjs` for JavaScript.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::pattern::Pattern;

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
mod verb;

pub use action::{
    KillWorker, MessageForm, PrimaryAction, SendDatagram, SendDatagramFrom, SendHandle, SendHandleTo, SendTo,
    Step, WorkerAction, WriteLine,
};
pub use clause::{Clause, ClauseKind};
pub use error::ScenarioError;
pub use listen::{Bind, Listen, Open};
pub use settings::{Policy, PolicyFrom, Serialization, Settings, Setup, Stdio, User};
pub use token::{ServerName, Signal, Target, Text, Token};
pub(crate) use verb::{Part, Property, ScenarioVerb};

/// The scenarios of this repository.
pub const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");

/// The largest number of clients, and of forks: a typing error must not exhaust the machine.
pub const MOST: u32 = 1000;

/// One scenario. The fields have these names in files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The name of the file without `.json`.
    pub name: String,
    /// A summary, in a sentence or two.
    pub description: String,
    /// The tests of Node's own suite that the scenario covers, and the topics.
    #[serde(default)]
    pub covers: Vec<String>,
    /// The first major version of Node that can run the scenario. Without it, every version can.
    #[serde(default)]
    pub min_node: Option<u32>,
    /// The settings of the primary.
    #[serde(default)]
    pub settings: Settings,
    /// The rules of the primary.
    pub primary: Vec<Rule<PrimaryAction>>,
    /// The rules of every worker.
    pub worker: Vec<Rule<WorkerAction>>,
    /// The rules of single workers by id. These rules replace `worker`.
    #[serde(default)]
    pub workers: BTreeMap<u64, Vec<Rule<WorkerAction>>>,
    /// The clients.
    #[serde(default)]
    pub clients: Vec<Clients>,
    /// The clauses about every run, beyond [`crate::order`].
    pub contract: Vec<Clause>,
    /// The file.
    #[serde(skip)]
    pub path: PathBuf,
}

/// Actions that follow an observation of the process itself, in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule<Action> {
    /// The observations.
    pub on: Pattern,
    /// The actions.
    #[serde(rename = "do")]
    pub actions: Vec<Action>,
}

/// A group of equal clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clients {
    /// The number of clients.
    #[serde(default = "one", deserialize_with = "deserialize::few")]
    pub count: u32,
    /// Whether the clients start all at once, or one after the other.
    #[serde(default)]
    pub order: ClientOrder,
    /// The steps of each client.
    pub steps: Vec<Step>,
}

fn one() -> u32 {
    1
}

/// How the clients of a group start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientOrder {
    /// A client starts when the client before it has ended: refused, ended or reset.
    #[default]
    InTurn,
    /// All at once.
    Together,
}

impl Scenario {
    /// Reads one scenario file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is invalid: a [`ScenarioError`] has the file, the line and the
    /// expectation.
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

    /// Reads all scenarios of a directory, sorted by name.
    ///
    /// # Errors
    ///
    /// The directory or a file cannot be read, or the first [`ScenarioError`].
    pub fn all(directory: &Path) -> Result<Vec<Self>, ScenarioError> {
        let entries =
            fs::read_dir(directory).map_err(|error| ScenarioError::unreadable(directory, &error))?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
        let mut paths = paths.map_err(|error| ScenarioError::unreadable(directory, &error))?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        paths.sort();
        paths.iter().map(|path| Scenario::load(path)).collect()
    }

    /// The absolute path of the file.
    pub fn absolute(&self) -> PathBuf {
        std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone())
    }

    /// The rules of the worker with an id.
    pub(crate) fn worker_rules(&self, id: u64) -> &[Rule<WorkerAction>] {
        self.workers.get(&id).unwrap_or(&self.worker)
    }

    fn primary_actions(&self) -> impl Iterator<Item = &PrimaryAction> {
        self.primary.iter().flat_map(|rule| &rule.actions)
    }

    /// The programs of workers in the file: the common program, and the programs of single workers.
    pub(crate) fn worker_programs(&self) -> impl Iterator<Item = &[Rule<WorkerAction>]> {
        std::iter::once(self.worker.as_slice()).chain(self.workers.values().map(Vec::as_slice))
    }

    /// Whether `setup` events are observed: only in a scenario about settings.
    pub(crate) fn writes_setup(&self) -> bool {
        let sets =
            |action: &PrimaryAction| matches!(action, PrimaryAction::Setup(_) | PrimaryAction::Settings);
        self.primary_actions().any(sets)
    }

    /// The servers outside the cluster: exclusive servers, and servers received with a message. The text of
    /// the message is the name of a received server.
    pub(crate) fn exclusive_servers(&self) -> BTreeSet<&str> {
        let by_workers = self.worker_programs().flatten().flat_map(|rule| &rule.actions);
        let passed = self.primary_actions().filter_map(|action| {
            if let PrimaryAction::SendHandle(send) = action { Some(send.text.as_str()) } else { None }
        });
        by_workers.filter_map(exclusive_server).chain(passed).collect()
    }

    /// The servers for datagrams.
    pub(crate) fn datagram_servers(&self) -> BTreeSet<String> {
        let by_workers = self.worker_programs().flatten().flat_map(|rule| &rule.actions);
        let opened = self.primary_actions().filter_map(opened_for_datagrams);
        opened.chain(by_workers.filter_map(bound_server)).map(str::to_owned).collect()
    }

    /// Whether a version of Node, such as `node v20.20.2`, can run the scenario. Other runtimes always can.
    pub fn runs_on(&self, runtime: &str) -> bool {
        let version = runtime.strip_prefix("node v").and_then(|version| version.split('.').next());
        let major = version.and_then(|major| major.parse::<u32>().ok());
        major.is_none_or(|major| self.min_node.is_none_or(|least| least <= major))
    }

    /// Whether a process of the scenario exhausts its descriptors.
    pub(crate) fn exhausts_fds(&self) -> bool {
        self.primary_actions().any(|action| *action == PrimaryAction::ExhaustFds)
    }

    /// Whether the primary may exit before its workers.
    pub fn primary_may_die(&self) -> bool {
        self.primary_actions().any(|action| action.has(Property::Ends))
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

/// Reads a file. Refuses a pipe, which could block forever.
fn read(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.is_file() {
        fs::read_to_string(path)
    } else {
        Err(io::Error::other("not a regular file"))
    }
}
