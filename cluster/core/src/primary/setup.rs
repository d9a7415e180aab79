//! Spawn options and forks. The later life of a worker is in `primary`.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;

use super::{Primary, Step, WorkerEntry};
use crate::channel::Channel;
use crate::event::Event;
use crate::os::{Call, WorkerId};
use crate::os_bytes::OsBytes;
use crate::settings::SchedulingPolicy;
use crate::spawn_options::{SpawnOptions, Stdio};

/// The reason why a fork was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ForkError {
    /// `stdio` contains no channel. Node: `ERR_CHILD_PROCESS_IPC_REQUIRED`.
    NoChannel,
    /// `stdio` contains more than one channel. Node: `ERR_IPC_ONE_PIPE`.
    TwoChannels,
    /// The command is `node -e` or `node -p` without an argument behind the script text. Node.js creates no
    /// `cluster.worker` in such a process, so its servers would wait for an answer forever.
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

/// The command is Node.js with a script text and no argument behind it. An argument that could be the value of
/// another option counts as an argument, so that no command that may be a worker is rejected.
fn lacks_a_script(options: &SpawnOptions) -> bool {
    let name = options.get_exec().and_then(|exec| exec.to_str()?.rsplit('/').next());
    let mut evaluates = false;
    let mut args = options.get_exec_argv().iter().chain(options.get_args());
    while let Some(arg) = args.next() {
        match arg.to_str().unwrap_or_default() {
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

/// The scheduling policy is fixed by the first `setup` or `fork`. Node: a later assignment has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PolicyFrozen;

impl fmt::Display for PolicyFrozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the scheduling policy is decided: change it before the first `setup` or `fork`")
    }
}

impl core::error::Error for PolicyFrozen {}

impl Primary {
    /// Changes the options of later forks; an unset option is unchanged. [`Event::Setup`] follows one tick later.
    /// Node: `cluster.setupPrimary(settings)`.
    pub fn setup(&mut self, changes: SpawnOptions) {
        self.settings.spawn.update(changes);
        let scope = self.steps.enter_command();
        self.decided();
        self.steps.leave(scope);
    }

    /// Changes the scheduling policy. Node: an assignment to `cluster.schedulingPolicy`.
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
    /// [`Event::Setup`] and [`Event::Fork`] follow, each in a tick of its own. If the program cannot be started, the
    /// events are [`Event::Setup`], [`Event::Error`], [`Event::Fork`] and [`Event::Disconnect`], without
    /// [`Event::Exit`], as in Node: there was no process.
    ///
    /// # Errors
    ///
    /// [`ForkError`] unless `stdio` contains exactly one channel and the command can be a worker; no process starts,
    /// but a worker id is consumed, as in Node.
    pub fn fork(&mut self) -> Result<WorkerId, ForkError> {
        self.spawn(Vec::new())
    }

    /// Starts a worker with variables that override the primary's environment. Node: `cluster.fork(env)`.
    ///
    /// A `NODE_OPTIONS` that starts an inspector without naming a port gets a port. Node assigns a port for inherited
    /// options only, not for those in `env`.
    ///
    /// # Errors
    ///
    /// As [`fork`](Primary::fork).
    pub fn fork_with_env<N: Into<OsBytes>, V: Into<OsBytes>>(
        &mut self,
        env: impl IntoIterator<Item = (N, V)>,
    ) -> Result<WorkerId, ForkError> {
        self.spawn(env.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    fn spawn(&mut self, mut env: Vec<(OsBytes, OsBytes)>) -> Result<WorkerId, ForkError> {
        let worker = self.counters.next_worker();
        let scope = self.steps.enter_command();
        self.decided();
        let mut options = self.checked_options();
        if let Ok(options) = &mut options {
            self.assign_inspector(options, &mut env);
            env.retain(|(name, _)| *name != "NODE_UNIQUE_ID");
            env.push(("NODE_UNIQUE_ID".into(), worker.to_string().into()));
            let channel =
                Channel::new(worker.into(), options.get_serialization(), self.settings.limits.clone());
            self.workers.insert(worker, Box::new(WorkerEntry::new(channel, options.clone())));
            self.steps.call(Call::Spawn { worker, options: options.clone(), env });
        }
        self.steps.leave(scope);
        options.map(|_| worker)
    }

    /// Fixes the policy and emits the options.
    fn decided(&mut self) {
        self.frozen = true;
        self.steps.own(Step::Later(Event::Setup { options: self.settings.spawn.clone() }));
    }

    /// The options of the next worker.
    pub(super) fn checked_options(&self) -> Result<SpawnOptions, ForkError> {
        let options = &self.settings.spawn;
        let stdio = options.get_stdio();
        let channels = stdio.iter().filter(|stdio| **stdio == Stdio::Channel).count();
        if lacks_a_script(options) {
            return Err(ForkError::NoScript);
        }
        match channels {
            0 if !stdio.is_empty() => return Err(ForkError::NoChannel),
            0 | 1 => {}
            _ => return Err(ForkError::TwoChannels),
        }
        Ok(options.clone())
    }
}
