//! The interpreter of scenarios for every Rust arm: what was observed goes in, what to do comes out. Values only.
//!
//! A [`Primary`] and a [`Worker`] are given their own observations, the [`clients::Cast`] everybody's.
//! `recorder/recorder.cjs` is the same for JavaScript. Nothing here runs anything or knows what a cluster is: an arm
//! translates its events to observations (see [`crate::words`]), writes them down, and carries out the commands.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use crate::observation::Observation;
use crate::scenario::{Listen, PrimaryAction, Rule, Scenario, Signal, Target, WorkerAction};

pub mod clients;
pub mod lines;

/// What a primary has to do. Workers are named by id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PrimaryCommand {
    /// Fork one worker, with this laid over the environment.
    Fork {
        /// Names and values.
        env: Vec<(String, String)>,
    },
    /// Send a message, if the worker is connected.
    Send {
        /// To whom.
        worker: u32,
        /// What; a JSON string on the wire.
        text: String,
    },
    /// Node: `worker.disconnect()`.
    Disconnect {
        /// Whom.
        worker: u32,
    },
    /// Node: `cluster.disconnect()`.
    DisconnectAll,
    /// Node: `worker.kill(signal)`.
    Kill {
        /// Whom.
        worker: u32,
        /// With what.
        signal: Signal,
    },
    /// Write a `look` line about a worker. No rule acts on it.
    Look {
        /// Which.
        worker: u32,
    },
    /// End this process.
    Exit {
        /// With this code.
        code: i32,
    },
    /// End this process.
    Die {
        /// By this signal.
        signal: Signal,
    },
}

/// What a worker has to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum WorkerCommand {
    /// Open a server.
    Listen {
        /// Its name.
        server: String,
        /// Where; `None` for every address.
        host: Option<IpAddr>,
        /// Which port; 0 for one of the kernel's choice.
        port: u16,
    },
    /// Close a server.
    Close {
        /// Its name.
        server: String,
    },
    /// Send the primary a message, if the channel is open.
    Send {
        /// What; a JSON string on the wire.
        text: String,
    },
    /// Node: `cluster.worker.disconnect()`.
    Disconnect,
    /// Node: `cluster.worker.kill()`.
    Kill,
    /// End this process.
    Exit {
        /// With this code.
        code: i32,
    },
    /// Fail with nobody to catch it: code 1.
    Crash,
    /// End this process.
    Die {
        /// By this signal.
        signal: Signal,
    },
    /// Write a line to the connection that the observation is about.
    Reply {
        /// What, without the end of the line.
        text: String,
    },
    /// End our side of the connection that the observation is about. It is over when the client has ended, too.
    End,
    /// End our side of every open connection.
    EndAll,
    /// Write an `env` line about a variable. No rule acts on it.
    Env {
        /// Which.
        name: String,
    },
}

/// The program of a primary.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Primary {
    rules: Rules<PrimaryAction>,
}

impl Primary {
    /// The primary of this scenario, before its `start` line.
    pub fn new(scenario: &Scenario) -> Self {
        Primary { rules: Rules::new(&scenario.primary) }
    }

    /// What to do now that this was observed and written down. After `Exit` and `Die` comes nothing.
    pub fn react(&mut self, seen: &Observation) -> Vec<PrimaryCommand> {
        let it = seen.worker();
        let due = self.rules.due(seen);
        let mut commands = due.flat_map(|action| primary_commands(action, it)).collect();
        cut_behind(&mut commands, |command| {
            matches!(command, PrimaryCommand::Exit { .. } | PrimaryCommand::Die { .. })
        });
        commands
    }
}

fn primary_commands(action: &PrimaryAction, it: Option<u32>) -> Vec<PrimaryCommand> {
    let with = |target: Target, command: &dyn Fn(u32) -> PrimaryCommand| {
        let worker = if let Target::Id(id) = target { Some(id) } else { it };
        worker.map(command).into_iter().collect()
    };
    match action {
        PrimaryAction::Fork(count) => (0..*count).map(|_| PrimaryCommand::Fork { env: Vec::new() }).collect(),
        PrimaryAction::ForkWith(env) => {
            let env = env.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
            vec![PrimaryCommand::Fork { env }]
        }
        PrimaryAction::Send { to, text } => {
            with(*to, &|worker| PrimaryCommand::Send { worker, text: text.to_string() })
        }
        PrimaryAction::Disconnect(target) => with(*target, &|worker| PrimaryCommand::Disconnect { worker }),
        PrimaryAction::DisconnectAll => vec![PrimaryCommand::DisconnectAll],
        PrimaryAction::Kill { worker, signal } => {
            with(*worker, &|worker| PrimaryCommand::Kill { worker, signal: *signal })
        }
        PrimaryAction::Look(target) => with(*target, &|worker| PrimaryCommand::Look { worker }),
        PrimaryAction::Exit(code) => vec![PrimaryCommand::Exit { code: *code }],
        PrimaryAction::Die(signal) => vec![PrimaryCommand::Die { signal: *signal }],
    }
}

/// The program of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Worker {
    id: u32,
    rules: Rules<WorkerAction>,
    ports: BTreeMap<String, u16>,
}

impl Worker {
    /// The worker with this id, before its `start` line.
    pub fn new(scenario: &Scenario, id: u32) -> Self {
        Worker { id, rules: Rules::new(scenario.worker_rules(id)), ports: BTreeMap::new() }
    }

    /// What to do now that this was observed and written down. After `Exit`, `Crash` and `Die` comes nothing.
    pub fn react(&mut self, seen: &Observation) -> Vec<WorkerCommand> {
        if let ("listening", Some(server), Some(port)) =
            (seen.what.as_str(), seen.detail("server"), seen.port())
        {
            self.ports.insert(server.to_owned(), port);
        }
        let (id, ports) = (self.id, &self.ports);
        let mut commands = self.rules.due(seen).map(|action| worker_command(action, id, ports)).collect();
        cut_behind(&mut commands, |command| {
            matches!(command, WorkerCommand::Exit { .. } | WorkerCommand::Crash | WorkerCommand::Die { .. })
        });
        commands
    }
}

fn worker_command(action: &WorkerAction, id: u32, ports: &BTreeMap<String, u16>) -> WorkerCommand {
    let filled = |text: &str| text.replace("$worker", &id.to_string());
    match action {
        WorkerAction::Listen(Listen { server, host, port_of }) => {
            let port = port_of.as_ref().and_then(|server| ports.get(server.as_str()));
            WorkerCommand::Listen {
                server: server.to_string(),
                host: *host,
                port: port.copied().unwrap_or(0),
            }
        }
        WorkerAction::Close(server) => WorkerCommand::Close { server: server.to_string() },
        WorkerAction::Send(text) => WorkerCommand::Send { text: filled(text.as_str()) },
        WorkerAction::Disconnect => WorkerCommand::Disconnect,
        WorkerAction::Kill => WorkerCommand::Kill,
        WorkerAction::Exit(code) => WorkerCommand::Exit { code: *code },
        WorkerAction::Crash => WorkerCommand::Crash,
        WorkerAction::Die(signal) => WorkerCommand::Die { signal: *signal },
        WorkerAction::Reply(text) => WorkerCommand::Reply { text: filled(text.as_str()) },
        WorkerAction::End => WorkerCommand::End,
        WorkerAction::EndAll => WorkerCommand::EndAll,
        WorkerAction::Env(name) => WorkerCommand::Env { name: name.clone() },
    }
}

fn cut_behind<T>(commands: &mut Vec<T>, ends: impl Fn(&T) -> bool) {
    if let Some(last) = commands.iter().position(ends) {
        commands.truncate(last + 1);
    }
}

/// Rules, and how often each has been met.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rules<Action> {
    rules: Arc<[Rule<Action>]>,
    met: Vec<u32>,
}

/// The rules of a program never change, so they need not be hashed; a simulator hashes often.
impl<Action> Hash for Rules<Action> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.met.hash(state);
    }
}

impl<Action: Clone> Rules<Action> {
    fn new(rules: &[Rule<Action>]) -> Self {
        Rules { rules: rules.into(), met: vec![0; rules.len()] }
    }

    /// Counts the rules that fit and returns the actions of those whose turn it is.
    fn due(&mut self, seen: &Observation) -> impl Iterator<Item = &Action> {
        let counted = self.rules.iter().zip(&mut self.met).filter(|(rule, _)| rule.on.fits(seen));
        let due = counted.filter_map(|(rule, met)| {
            *met += 1;
            rule.on.nth.is_none_or(|nth| nth == *met).then_some(rule)
        });
        due.flat_map(|rule| &rule.actions)
    }
}

#[cfg(test)]
mod tests;
