//! The interpreter of scenarios for every Rust arm: observations in, commands out. Values only.
//!
//! A [`Primary`] and a [`Worker`] receive their own observations, the [`clients::ClientScript`] those of all.
//! `recorder/recorder.cjs` is the same in JavaScript. An arm translates its events to observations (see
//! [`crate::vocabulary`]), writes them, and performs the commands.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::families::Families;
use crate::observation::Observation;
use crate::scenario::{
    Bind, Listen, Open, Policy, PrimaryAction, Rule, Scenario, Setup, Signal, Target, Token, WorkerAction,
};

pub mod clients;
pub mod lines;

/// A command of a primary. Workers are named by id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PrimaryCommand {
    /// Fork one worker, with variables laid over the environment.
    Fork {
        /// Names and values.
        env: Vec<(String, String)>,
    },
    /// Node: `cluster.setupPrimary()`.
    Setup(Setup),
    /// Write a `settings` line, on which no rule acts.
    Settings,
    /// Node: an assignment to `cluster.schedulingPolicy`.
    Policy(Policy),
    /// Open a server of the primary's own.
    Open(Open),
    /// Close a server of the primary's own.
    Close {
        /// The server's name.
        server: String,
    },
    /// Send a message, if the worker is connected.
    Send {
        /// The receiver.
        worker: u64,
        /// The text; a JSON string on the wire.
        text: String,
    },
    /// Send a message, and write a `tried` line, on which no rule acts.
    TrySend {
        /// The receiver.
        worker: u64,
        /// The text; a JSON string on the wire.
        text: String,
    },
    /// Block this process until a worker's process has exited.
    BlockUntilExit {
        /// The worker.
        worker: u64,
    },
    /// Send a message with a socket.
    SendHandle {
        /// The receiver.
        worker: u64,
        /// The message and the handle.
        pass: SendHandle,
    },
    /// Write a line to the connection of the observation.
    Reply {
        /// The text, without the end of the line.
        text: String,
    },
    /// End our side of the connection of the observation.
    End,
    /// Node: `worker.disconnect()`.
    Disconnect {
        /// The worker.
        worker: u64,
    },
    /// Node: `cluster.disconnect()`.
    DisconnectAll,
    /// Node: `worker.kill(signal)`.
    Kill {
        /// The worker.
        worker: u64,
        /// The signal.
        signal: Signal,
    },
    /// Write a `look` line about a worker, on which no rule acts.
    Inspect {
        /// The worker.
        worker: u64,
    },
    /// Open files until no descriptor is left.
    ExhaustFds,
    /// Close these files.
    FreeFds,
    /// End this process.
    Exit {
        /// The exit code.
        code: i32,
    },
    /// Fail with an uncaught error: code 1.
    Crash,
    /// End this process.
    Raise {
        /// The signal.
        signal: Signal,
    },
}

impl PrimaryCommand {
    /// Whether no command follows.
    pub fn ends(&self) -> bool {
        matches!(self, PrimaryCommand::Exit { .. } | PrimaryCommand::Crash | PrimaryCommand::Raise { .. })
    }
}

/// A message with a socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SendHandle {
    /// The text; a JSON string on the wire.
    pub text: String,
    /// The server to send; `None`: the connection of the observation.
    pub what: Option<String>,
    /// Whether the sender keeps its copy.
    pub keep_open: bool,
}

/// A command of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum WorkerCommand {
    /// Open a server.
    Listen {
        /// The server and its options.
        listen: Listen,
        /// The port; 0 lets the kernel choose.
        port: u16,
        /// A descriptor of the primary in place of an address.
        fd: Option<u32>,
    },
    /// Open a server for datagrams.
    Bind {
        /// The server and its options.
        bind: Bind,
        /// The port; 0 lets the kernel choose.
        port: u16,
        /// A descriptor of the primary in place of an address.
        fd: Option<u32>,
    },
    /// Send a datagram to a port of 127.0.0.1.
    SendDatagram {
        /// The port.
        port: u16,
        /// The text.
        text: String,
        /// The sending server; `None`: a new socket.
        from: Option<String>,
    },
    /// Send the primary a message with a socket.
    SendHandle(SendHandle),
    /// Close a server.
    Close {
        /// The server's name.
        server: String,
    },
    /// Send the primary a message, if the channel is open.
    Send {
        /// The text; a JSON string on the wire.
        text: String,
    },
    /// Send the primary a message of any type, if the channel is open.
    SendJson {
        /// The JSON text of the message.
        json: String,
    },
    /// Send the primary a message, and write a `tried` line, on which no rule acts.
    TrySend {
        /// The text; a JSON string on the wire.
        text: String,
    },
    /// Send the primary [`crate::vocabulary::reserved`], if the channel is open.
    SendReserved,
    /// Node: `cluster.worker.disconnect()`.
    Disconnect,
    /// Node: `cluster.worker.kill()`.
    Kill,
    /// Node: `process.disconnect()`.
    DisconnectChannel,
    /// Block this process until a signal kills it.
    BlockForever,
    /// Start a child with the channel and the connection of the observation, which ends with the connection.
    LeaveChildWithChannel,
    /// Block this process until a path exists.
    BlockUntilPath {
        /// The path's name in the directory of the run.
        path: String,
    },
    /// Write a `look` line, on which no rule acts.
    Inspect,
    /// End this process.
    Exit {
        /// The exit code.
        code: i32,
    },
    /// Fail with an uncaught error: code 1.
    Crash,
    /// End this process.
    Raise {
        /// The signal.
        signal: Signal,
    },
    /// Write a line to the connection of the observation.
    Reply {
        /// The text, without the end of the line.
        text: String,
    },
    /// End our side of the connection of the observation. The connection is over when the client has ended, too.
    End,
    /// End our side of every open connection.
    EndAll,
    /// Write an `env` line about a variable, on which no rule acts.
    Env {
        /// The variable.
        name: String,
    },
    /// Write an `args` line, on which no rule acts.
    Args,
    /// Write an `exec_args` line, on which no rule acts.
    ExecArgs,
    /// Write a `cwd` line, on which no rule acts.
    Cwd,
    /// Write a line to a descriptor.
    Write {
        /// The descriptor.
        fd: u32,
        /// The text, without the end of the line.
        text: String,
    },
}

/// The program of a primary.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Primary {
    rules: Rules<PrimaryAction>,
}

impl Primary {
    /// The primary of a scenario, before its `start` line.
    pub fn new(scenario: &Scenario) -> Self {
        Primary { rules: Rules::new(&scenario.primary) }
    }

    /// The commands after an observation. `Exit`, `Crash` and `Raise` are last.
    pub fn react(&mut self, seen: &Observation) -> Vec<PrimaryCommand> {
        let it = seen.worker();
        let due = self.rules.due(seen);
        let mut commands = due.flat_map(|action| primary_commands(action, it, seen)).collect();
        cut_behind(&mut commands, PrimaryCommand::ends);
        commands
    }
}

fn primary_commands(action: &PrimaryAction, it: Option<u64>, seen: &Observation) -> Vec<PrimaryCommand> {
    let with = |target: Target, command: &dyn Fn(u64) -> PrimaryCommand| {
        let worker = if let Target::Id(id) = target { Some(id) } else { it };
        worker.map(command).into_iter().collect()
    };
    match action {
        PrimaryAction::Fork(count) => (0..*count).map(|_| PrimaryCommand::Fork { env: Vec::new() }).collect(),
        PrimaryAction::ForkWith(env) => {
            let port = seen.detail("port").unwrap_or_default();
            let value = |value: &Token| value.as_str().replace("$port", port);
            let env = env.iter().map(|(name, text)| (name.clone(), value(text))).collect();
            vec![PrimaryCommand::Fork { env }]
        }
        PrimaryAction::Setup(setup) => vec![PrimaryCommand::Setup(setup.clone())],
        PrimaryAction::Settings => vec![PrimaryCommand::Settings],
        PrimaryAction::Policy(policy) => vec![PrimaryCommand::Policy(*policy)],
        PrimaryAction::Open(open) => vec![PrimaryCommand::Open(open.clone())],
        PrimaryAction::Close(server) => vec![PrimaryCommand::Close { server: server.to_string() }],
        PrimaryAction::SendHandle { to, text, what, keep_open } => {
            let pass = pass(text.to_string(), what.as_ref(), *keep_open);
            vec![PrimaryCommand::SendHandle { worker: *to, pass }]
        }
        PrimaryAction::Reply(text) => vec![PrimaryCommand::Reply { text: text.to_string() }],
        PrimaryAction::End => vec![PrimaryCommand::End],
        PrimaryAction::Send { to, text } => {
            with(*to, &|worker| PrimaryCommand::Send { worker, text: text.to_string() })
        }
        PrimaryAction::TrySend { to, text } => {
            with(*to, &|worker| PrimaryCommand::TrySend { worker, text: text.to_string() })
        }
        PrimaryAction::BlockUntilExit(target) => {
            with(*target, &|worker| PrimaryCommand::BlockUntilExit { worker })
        }
        PrimaryAction::Disconnect(target) => with(*target, &|worker| PrimaryCommand::Disconnect { worker }),
        PrimaryAction::DisconnectAll => vec![PrimaryCommand::DisconnectAll],
        PrimaryAction::Kill { worker, signal } => {
            with(*worker, &|worker| PrimaryCommand::Kill { worker, signal: *signal })
        }
        PrimaryAction::Inspect(target) => with(*target, &|worker| PrimaryCommand::Inspect { worker }),
        PrimaryAction::ExhaustFds => vec![PrimaryCommand::ExhaustFds],
        PrimaryAction::FreeFds => vec![PrimaryCommand::FreeFds],
        PrimaryAction::Exit(code) => vec![PrimaryCommand::Exit { code: *code }],
        PrimaryAction::Crash => vec![PrimaryCommand::Crash],
        PrimaryAction::Raise(signal) => vec![PrimaryCommand::Raise { signal: *signal }],
    }
}

fn pass(text: String, what: Option<&Token>, keep_open: bool) -> SendHandle {
    SendHandle { text, what: what.map(ToString::to_string), keep_open }
}

/// The program of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Worker {
    id: u64,
    rules: Rules<WorkerAction>,
    known: Known,
}

/// The ports and descriptors of servers, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Known {
    ports: BTreeMap<String, u16>,
    fds: BTreeMap<String, u32>,
}

impl Known {
    fn port(&self, server: Option<&Token>) -> u16 {
        server.and_then(|server| self.ports.get(server.as_str())).copied().unwrap_or(0)
    }

    fn fd(&self, server: Option<&Token>) -> Option<u32> {
        self.fds.get(server?.as_str()).copied()
    }
}

impl Worker {
    /// The worker with an id, before its `start` line.
    pub fn new(scenario: &Scenario, id: u64) -> Self {
        Worker { id, rules: Rules::new(scenario.worker_rules(id)), known: Known::default() }
    }

    /// The worker in an environment: `PORT_web` is the port of the server `web`, `FD_web` its descriptor in the
    /// primary.
    #[must_use]
    pub(crate) fn with_env(mut self, env: impl IntoIterator<Item = (String, String)>) -> Self {
        for (name, value) in env {
            if let (Some(server), Ok(port)) = (name.strip_prefix("PORT_"), value.parse()) {
                self.known.ports.insert(server.to_owned(), port);
            } else if let (Some(server), Ok(fd)) = (name.strip_prefix("FD_"), value.parse()) {
                self.known.fds.insert(server.to_owned(), fd);
            }
        }
        self
    }

    /// The commands after an observation. `Exit`, `Crash`, `Raise`, `BlockForever` and `BlockUntilPath` are last.
    pub fn react(&mut self, seen: &Observation) -> Vec<WorkerCommand> {
        if let ("listening", Some(server), Some(port)) =
            (seen.what.as_str(), seen.detail("server"), seen.port())
        {
            self.known.ports.insert(server.to_owned(), port);
        }
        let (id, known) = (self.id, &self.known);
        let mut commands = self.rules.due(seen).map(|action| worker_command(action, id, known)).collect();
        cut_behind(&mut commands, |command| {
            matches!(
                command,
                WorkerCommand::Exit { .. }
                    | WorkerCommand::Crash
                    | WorkerCommand::Raise { .. }
                    | WorkerCommand::BlockForever
                    | WorkerCommand::BlockUntilPath { .. }
            )
        });
        commands
    }
}

fn worker_command(action: &WorkerAction, id: u64, known: &Known) -> WorkerCommand {
    let filled = |text: &str| text.replace("$worker", &id.to_string());
    match action {
        WorkerAction::Listen(listen) => {
            let port = listen.port.unwrap_or_else(|| known.port(listen.port_of.as_ref()));
            WorkerCommand::Listen { port, fd: known.fd(listen.fd_of.as_ref()), listen: listen.clone() }
        }
        WorkerAction::Bind(bind) => {
            let port = known.port(bind.port_of.as_ref());
            WorkerCommand::Bind { port, fd: known.fd(bind.fd_of.as_ref()), bind: bind.clone() }
        }
        WorkerAction::SendDatagram { to, text, from } => WorkerCommand::SendDatagram {
            port: known.port(Some(to)),
            text: filled(text.as_str()),
            from: from.as_ref().map(ToString::to_string),
        },
        WorkerAction::SendHandle { text, what, keep_open } => {
            WorkerCommand::SendHandle(pass(filled(text.as_str()), what.as_ref(), *keep_open))
        }
        WorkerAction::Args => WorkerCommand::Args,
        WorkerAction::ExecArgs => WorkerCommand::ExecArgs,
        WorkerAction::Cwd => WorkerCommand::Cwd,
        WorkerAction::Write { fd, text } => WorkerCommand::Write { fd: *fd, text: filled(text.as_str()) },
        WorkerAction::Close(server) => WorkerCommand::Close { server: server.to_string() },
        WorkerAction::Send(text) => WorkerCommand::Send { text: filled(text.as_str()) },
        WorkerAction::SendForm(form) => {
            let json = Families::ours().message(form).expect("a scenario with another form is refused");
            WorkerCommand::SendJson { json: json.to_owned() }
        }
        WorkerAction::TrySend(text) => WorkerCommand::TrySend { text: filled(text.as_str()) },
        WorkerAction::SendReserved => WorkerCommand::SendReserved,
        WorkerAction::Disconnect => WorkerCommand::Disconnect,
        WorkerAction::Kill => WorkerCommand::Kill,
        WorkerAction::DisconnectChannel => WorkerCommand::DisconnectChannel,
        WorkerAction::BlockForever => WorkerCommand::BlockForever,
        WorkerAction::LeaveChildWithChannel => WorkerCommand::LeaveChildWithChannel,
        WorkerAction::BlockUntilPath(path) => WorkerCommand::BlockUntilPath { path: path.to_string() },
        WorkerAction::Inspect => WorkerCommand::Inspect,
        WorkerAction::Exit(code) => WorkerCommand::Exit { code: *code },
        WorkerAction::Crash => WorkerCommand::Crash,
        WorkerAction::Raise(signal) => WorkerCommand::Raise { signal: *signal },
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
pub(crate) struct Rules<Action> {
    rules: Arc<[Rule<Action>]>,
    met: Vec<u32>,
}

/// Rules never change, so their hash is left out; a simulator hashes often.
impl<Action> Hash for Rules<Action> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.met.hash(state);
    }
}

impl<Action: Clone> Rules<Action> {
    pub(crate) fn new(rules: &[Rule<Action>]) -> Self {
        Rules { rules: rules.into(), met: vec![0; rules.len()] }
    }

    /// Counts the matching rules and returns the actions of those that are due.
    pub(crate) fn due(&mut self, seen: &Observation) -> impl Iterator<Item = &Action> {
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
