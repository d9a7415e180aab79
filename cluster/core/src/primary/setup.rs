//! The beginning of workers: settings that add up, and forks. What a forked worker lives through is not told here.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use super::{Primary, Step, WorkerEntry, WorkerInfo};
use crate::channel::Channel;
use crate::event::Event;
use crate::os::{Call, WorkerId};
use crate::settings::{Command, SchedulingPolicy, Setup, Stdio};

/// Why nothing was forked: the settings ask for what cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum ForkError {
    /// `stdio` has no channel in it. Node: `ERR_CHILD_PROCESS_IPC_REQUIRED`.
    NoChannel,
    /// `stdio` has more than one channel in it. Node: `ERR_IPC_ONE_PIPE`.
    TwoChannels,
    /// The command is `node -e`, or `-p`, without an argument behind the text. Node.js makes no `cluster.worker` in such a
    /// process, and its servers would wait for an answer forever.
    NoScript,
}

impl fmt::Display for ForkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ForkError::NoChannel => "`stdio` has no `Stdio::Channel` in it: add one, or leave it empty",
            ForkError::TwoChannels => "`stdio` has more than one `Stdio::Channel` in it: leave one",
            ForkError::NoScript => {
                "`node -e` without an argument behind its text is no worker, as Node.js makes no `cluster.worker` in it: add an \
                 argument, or name a script"
            }
        })
    }
}

impl core::error::Error for ForkError {}

/// Whether a command is Node.js with a text to evaluate and nothing behind it. What could be the value of another option
/// passes for an argument: a command that may be a worker is never refused.
fn lacks_a_script(command: &Command) -> bool {
    let name = command.exec.as_deref().and_then(|exec| exec.rsplit('/').next());
    let mut evaluates = false;
    let mut args = command.exec_argv.iter().chain(&command.args).map(String::as_str);
    while let Some(arg) = args.next() {
        match arg {
            "-e" | "--eval" | "-p" | "--print" | "-pe" => {
                evaluates = true;
                args.next();
            }
            option if option.starts_with('-') && option != "-" && option != "--" => {}
            _ => return false,
        }
    }
    evaluates && matches!(name, Some("node" | "nodejs"))
}

/// The scheduling policy is decided: something was set up or forked before. Node: a later policy has no effect.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PolicyFrozen;

impl fmt::Display for PolicyFrozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the scheduling policy is decided: change it before the first `setup` or `fork`")
    }
}

impl core::error::Error for PolicyFrozen {}

impl Primary {
    /// Changes what later workers execute; what is `None` stays as it is. [`Event::Setup`] follows, one tick later.
    /// Node: `cluster.setupPrimary(settings)`.
    pub fn setup(&mut self, setup: Setup) {
        setup.add_to(Arc::make_mut(&mut self.settings.command));
        let entry = self.steps.enter_command();
        self.decided();
        self.steps.leave(entry);
    }

    /// Changes how connections find their worker. Node: an assignment to `cluster.schedulingPolicy`.
    ///
    /// # Errors
    ///
    /// [`PolicyFrozen`] after the first [`setup`](Primary::setup) or [`fork`](Primary::fork).
    pub fn set_policy(&mut self, policy: SchedulingPolicy) -> Result<(), PolicyFrozen> {
        if self.frozen {
            return Err(PolicyFrozen);
        }
        self.settings.policy = policy;
        Ok(())
    }

    /// Starts a worker. Node: `cluster.fork()`.
    ///
    /// [`Event::Setup`] and [`Event::Fork`] follow, each in a tick of its own. If its program cannot be started,
    /// [`Event::Error`] comes before the second and [`Event::Disconnect`] after it, and no [`Event::Exit`]: there was no
    /// process. So it is in Node.
    ///
    /// # Errors
    ///
    /// [`ForkError`] if the settings ask for what cannot be: nothing is started, and a number is used up, as in Node.
    pub fn fork(&mut self) -> Result<WorkerId, ForkError> {
        self.fork_with_env(Vec::new())
    }

    /// Starts a worker with more variables in its environment, laid over the primary's own. Node: `cluster.fork(env)`.
    ///
    /// A `NODE_OPTIONS` that starts an inspector gets a port of the worker's own, unless it names one. Node does that for
    /// the options that the worker inherits, and not for those in `env`.
    ///
    /// # Errors
    ///
    /// As [`fork`](Primary::fork).
    pub fn fork_with_env(&mut self, mut env: Vec<(String, String)>) -> Result<WorkerId, ForkError> {
        let worker = self.counters.next_worker();
        let entry = self.steps.enter_command();
        self.decided();
        let mut command = self.command();
        if let Ok(command) = &mut command {
            self.assign_inspector(command, &mut env);
            env.retain(|(name, _)| name != "NODE_UNIQUE_ID");
            env.push((String::from("NODE_UNIQUE_ID"), worker.to_string()));
            let channel = Channel::new(worker.into(), command.serialization, self.settings.limits.clone());
            let starting = Some(command.clone());
            self.workers.insert(worker, Box::new(WorkerEntry { info: WorkerInfo::new(), channel, starting }));
            self.steps.push(Step::Call(Call::Spawn { worker, command: command.clone(), env }));
        }
        self.steps.leave(entry);
        command.map(|_| worker)
    }

    /// The settings are used from here on, and the user hears of them.
    fn decided(&mut self) {
        self.frozen = true;
        self.steps.push(Step::Later(Event::Setup { command: self.settings.command.clone() }));
    }

    /// What the next worker executes.
    fn command(&self) -> Result<Arc<Command>, ForkError> {
        let command = &self.settings.command;
        let channels = command.stdio.iter().filter(|stdio| **stdio == Stdio::Channel).count();
        if lacks_a_script(command) {
            return Err(ForkError::NoScript);
        }
        match channels {
            0 if !command.stdio.is_empty() => return Err(ForkError::NoChannel),
            0 | 1 => {}
            _ => return Err(ForkError::TwoChannels),
        }
        Ok(command.clone())
    }
}

impl Setup {
    fn add_to(self, command: &mut Command) {
        fn change<T>(field: &mut T, to: Option<T>) {
            if let Some(value) = to {
                *field = value;
            }
        }
        let Setup { exec, exec_argv, args, cwd, silent, stdio, uid, gid, groups, .. } = self;
        let Setup { ignore_terminal_signals, serialization, inspect_port, .. } = self;
        command.exec = exec.or(command.exec.take());
        change(&mut command.exec_argv, exec_argv);
        change(&mut command.args, args);
        command.cwd = cwd.or(command.cwd.take());
        change(&mut command.silent, silent);
        change(&mut command.stdio, stdio);
        command.uid = uid.or(command.uid);
        command.gid = gid.or(command.gid);
        command.groups = groups.or(command.groups.take());
        change(&mut command.ignore_terminal_signals, ignore_terminal_signals);
        change(&mut command.serialization, serialization);
        command.inspect_port = inspect_port.or(command.inspect_port);
    }
}
