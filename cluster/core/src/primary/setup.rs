//! Spawn options, and the ids of workers. What happens to a worker after the fork is in `primary`.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::counters::Counter;
use crate::os::WorkerId;
use crate::send::SendError;
use crate::settings::{SchedulingPolicy, Settings};
use crate::spawn_options::{SpawnOptions, Stdio};

/// The reason why a fork was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ForkError {
    /// `stdio` contains no channel. Node: `ERR_CHILD_PROCESS_IPC_REQUIRED`.
    NoChannel,
    /// `stdio` contains more than one channel. Node: `ERR_IPC_ONE_PIPE`.
    TwoChannels,
    /// The command is `node -e` or `node -p` without an argument after the script text. Node.js creates no
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

/// Whether the command is Node.js with a script text, and without an argument after the text. In doubt, a
/// value of another option counts as such an argument: no command that could be a worker is rejected.
fn lacks_a_script(options: &SpawnOptions) -> bool {
    let name = options.exec.as_ref().and_then(|exec| exec.to_str()?.rsplit('/').next());
    let mut evaluates = false;
    let mut args = options
        .exec_argv
        .as_deref()
        .unwrap_or_default()
        .iter()
        .chain(options.args.as_deref().unwrap_or_default());
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

/// The error of a change of the scheduling policy after the first `setup` or `fork`. Node ignores such an
/// assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PolicyFrozen;

impl fmt::Display for PolicyFrozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the scheduling policy is decided: change it before the first `setup` or `fork`")
    }
}

impl core::error::Error for PolicyFrozen {}

/// The settings, and the counters of forks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) settings: Settings,
    /// Whether the scheduling policy is fixed.
    frozen: bool,
    workers: Counter,
    /// Counts the inspector ports assigned.
    pub(super) inspected: Counter,
}

impl Setup {
    pub(super) fn new(settings: Settings) -> Self {
        Setup { settings, frozen: false, workers: Counter::default(), inspected: Counter::default() }
    }

    /// Continues the numbers of workers after `last`.
    #[cfg(feature = "testing")]
    pub(super) fn count_workers_after(&mut self, last: WorkerId) {
        self.workers.count_after(last.0);
    }

    /// Whether later workers will have greater ids.
    pub(super) fn is_ahead_of(&self, worker: Option<WorkerId>) -> bool {
        worker.is_none_or(|worker| worker.0 <= self.workers.last())
    }

    pub(super) fn next_worker(&mut self) -> WorkerId {
        WorkerId(self.workers.next())
    }

    /// The error of a message to a worker that has no entry.
    pub(super) fn absent(&self, worker: WorkerId) -> SendError {
        let was_forked = (1..=self.workers.last()).contains(&worker.0);
        if was_forked { SendError::Closed } else { SendError::UnknownWorker }
    }

    pub(super) fn set_policy(&mut self, policy: SchedulingPolicy) -> Result<(), PolicyFrozen> {
        if self.frozen {
            return Err(PolicyFrozen);
        }
        self.settings.policy = policy;
        Ok(())
    }

    /// Fixes the policy. Returns the options to emit.
    pub(super) fn freeze(&mut self) -> SpawnOptions {
        self.frozen = true;
        self.settings.spawn.clone()
    }

    /// The options of the next worker.
    pub(super) fn checked_options(&self) -> Result<SpawnOptions, ForkError> {
        let options = &self.settings.spawn;
        let stdio = options.stdio.as_deref().unwrap_or_default();
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
