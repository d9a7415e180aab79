//! The settings of a supervisor, each number with its unit and default, and the combinations that are impossible.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use crate::primary::ForkError;
use crate::settings::Settings;

/// The condition for a ready worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Readiness {
    /// The worker listens on every key of the ready predecessor in the slot; without a ready predecessor, on any key.
    #[default]
    Listening,
    /// The process runs and has sent its first message. For workers without a server.
    Online,
    /// The worker has sent this text as a message. Node: `process.send('ready')`.
    Message(String),
}

/// The exits of a worker that cause a restart. An exit at the request of the supervisor never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RestartPolicy {
    /// Every exit. The channel of the worker is enough: its end starts the replacement.
    #[default]
    Always,
    /// A code other than 0, a signal, or an exit before the worker was ready.
    OnFailure,
    /// None: the slot is held.
    Never,
}

/// The reaction to more restarts than [`SupervisorSettings::intensity`] allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum GiveUp {
    /// Restart nothing further and keep the workers that run.
    #[default]
    Hold,
    /// Shut down, and finish with this code.
    Exit {
        /// The exit code, in [`SupervisorEvent::Finished`](super::SupervisorEvent::Finished).
        code: i32,
    },
}

/// The settings of a [`Supervisor`](super::Supervisor).
///
/// ```
/// use cluster_core::{Supervisor, SupervisorSettings};
/// use core::time::Duration;
///
/// let settings = SupervisorSettings::new(4).drain(Duration::from_secs(10));
/// assert!(Supervisor::new(settings).is_ok());
/// let error = Supervisor::new(SupervisorSettings::new(0)).unwrap_err();
/// assert!(error.to_string().contains("workers"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SupervisorSettings {
    pub(super) primary: Settings,
    pub(super) workers: u32,
    pub(super) readiness: Readiness,
    pub(super) ready_timeout: Duration,
    pub(super) restart: RestartPolicy,
    pub(super) backoff: [Duration; 2],
    pub(super) min_uptime: Duration,
    pub(super) restarts: u32,
    pub(super) within: Duration,
    pub(super) give_up: GiveUp,
    pub(super) lame_duck: Duration,
    pub(super) drain: Duration,
    pub(super) term: Duration,
    pub(super) shutdown: Duration,
}

impl SupervisorSettings {
    /// The defaults, with this number of workers.
    pub fn new(workers: u32) -> Self {
        SupervisorSettings {
            primary: Settings::default(),
            workers,
            readiness: Readiness::default(),
            ready_timeout: Duration::from_mins(1),
            restart: RestartPolicy::default(),
            backoff: [Duration::from_millis(100), Duration::from_secs(30)],
            min_uptime: Duration::from_secs(5),
            restarts: 10,
            within: Duration::from_mins(1),
            give_up: GiveUp::default(),
            lame_duck: Duration::from_millis(500),
            drain: Duration::from_secs(30),
            term: Duration::from_secs(5),
            shutdown: Duration::from_secs(30),
        }
    }

    /// The settings of the primary. [`Settings::keep_listening`] is always on under a supervisor.
    #[must_use]
    pub fn primary(mut self, primary: Settings) -> Self {
        self.primary = primary;
        self
    }

    /// The condition for a ready worker. Default: [`Readiness::Listening`].
    #[must_use]
    pub fn readiness(mut self, readiness: Readiness) -> Self {
        self.readiness = readiness;
        self
    }

    /// The longest time from the start of a process until the worker is ready. A later worker is terminated and counts
    /// as a failed start. Default: 60 s.
    #[must_use]
    pub fn ready_timeout(mut self, timeout: Duration) -> Self {
        self.ready_timeout = timeout;
        self
    }

    /// The exits that cause a restart. Default: [`RestartPolicy::Always`].
    #[must_use]
    pub fn restart(mut self, policy: RestartPolicy) -> Self {
        self.restart = policy;
        self
    }

    /// The first and the longest pause before a restart. The first restart of a slot is immediate; then each pause is
    /// twice the last, until a worker has been ready for [`min_uptime`](SupervisorSettings::min_uptime). Defaults:
    /// 100 ms and 30 s.
    #[must_use]
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.backoff = [first, longest];
        self
    }

    /// The time in readiness after which the slot of a worker counts as stable again. Default: 5 s.
    #[must_use]
    pub fn min_uptime(mut self, uptime: Duration) -> Self {
        self.min_uptime = uptime;
        self
    }

    /// The restarts of the whole cluster that are allowed within a time; one more, and the supervisor gives up. Default:
    /// 10 in 60 s.
    #[must_use]
    pub fn intensity(mut self, restarts: u32, within: Duration) -> Self {
        self.restarts = restarts;
        self.within = within;
        self
    }

    /// The reaction to too many restarts. Default: [`GiveUp::Hold`].
    #[must_use]
    pub fn give_up(mut self, give_up: GiveUp) -> Self {
        self.give_up = give_up;
        self
    }

    /// The time between the announcement to a lame duck and the request to disconnect, without new connections for the
    /// worker. Default: 500 ms.
    #[must_use]
    pub fn lame_duck(mut self, lame_duck: Duration) -> Self {
        self.lame_duck = lame_duck;
        self
    }

    /// The time between the request to disconnect and SIGTERM. Default: 30 s.
    #[must_use]
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// The time between SIGTERM and SIGKILL, and the longest wait for the exit after SIGKILL. Default: 5 s.
    #[must_use]
    pub fn term(mut self, term: Duration) -> Self {
        self.term = term;
        self
    }

    /// The time between the request to shut down and SIGTERM for the remaining workers. Default: 30 s.
    #[must_use]
    pub fn shutdown(mut self, shutdown: Duration) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Checks that no setting contradicts another.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let contradiction = |settings, advice| Err(SettingsError::Contradiction { settings, advice });
        let [first, longest] = self.backoff;
        if self.workers == 0 {
            return Err(SettingsError::NoWorkers);
        }
        if first > longest {
            return contradiction(
                ["backoff.first", "backoff.longest"],
                "the first pause exceeds the longest",
            );
        }
        if self.lame_duck > self.shutdown {
            return contradiction(
                ["lame_duck", "shutdown"],
                "no worker would be asked to disconnect in time",
            );
        }
        if self.restarts > 0 && self.within.is_zero() {
            return contradiction(["restarts", "within"], "no time is left in which restarts count");
        }
        Ok(())
    }
}

/// The reason why settings are rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SettingsError {
    /// `workers` is 0.
    NoWorkers,
    /// Two settings exclude each other.
    Contradiction {
        /// The names of both.
        settings: [&'static str; 2],
        /// The consequence.
        advice: &'static str,
    },
    /// No worker can be forked with these spawn options.
    Fork(ForkError),
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingsError::NoWorkers => f.write_str("`workers` is 0: a cluster needs at least one worker"),
            SettingsError::Contradiction { settings: [first, second], advice } => {
                write!(f, "`{first}` and `{second}` contradict each other: {advice}; change one of them")
            }
            SettingsError::Fork(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SettingsError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            SettingsError::NoWorkers | SettingsError::Contradiction { .. } => None,
            SettingsError::Fork(error) => Some(error),
        }
    }
}
