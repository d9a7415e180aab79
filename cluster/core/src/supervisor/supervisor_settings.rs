//! The settings of a supervisor, each number with its unit and default, and the combinations that are
//! impossible.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::os::ExitStatus;
use crate::primary::ForkError;
use crate::settings::Settings;

/// The most slots: more than any machine can run processes.
const MAX_WORKERS: u32 = 65_536;

/// When a worker counts as ready.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Readiness {
    /// The worker listens on every key that the last ready worker of the slot has served. In a new slot, or
    /// after a failed start, one key is enough.
    #[default]
    Listening,
    /// The process runs and has sent its first message. For workers without a server.
    Online,
    /// The worker has sent this text as a message. Node: `process.send('ready')`.
    Message(String),
}

/// The exits of a worker after which it is restarted. An exit requested by the supervisor is never followed
/// by a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Every exit. The replacement of a ready worker starts when the channel closes, before the process has
    /// exited.
    #[default]
    Always,
    /// A code other than 0, a signal, or an exit before the worker was ready.
    OnFailure,
    /// No exit: the slot is suspended.
    Never,
}

impl RestartPolicy {
    /// Whether a worker is restarted after the exit, or after the end of the channel. In the second case
    /// `status` is `None`.
    pub(super) fn restarts(self, was_ready: bool, status: Option<ExitStatus>) -> bool {
        match self {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => !was_ready || status != Some(ExitStatus::Code(0)),
            RestartPolicy::Never => false,
        }
    }
}

/// What happens when a limit is exceeded: [`SupervisorSettings::intensity`] or
/// [`SupervisorSettings::failed_starts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum GiveUp {
    /// Restart nothing further. Workers that run continue.
    #[default]
    Suspend,
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
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SupervisorSettings {
    pub(super) primary: Settings,
    pub(super) workers: u32,
    pub(super) readiness: Readiness,
    /// See [`ready_timeout`](SupervisorSettings::ready_timeout()).
    pub ready_timeout: Duration,
    pub(super) restart: RestartPolicy,
    pub(super) backoff: [Duration; 2],
    pub(super) min_uptime: Duration,
    /// See [`intensity`](SupervisorSettings::intensity).
    pub restarts: u32,
    /// See [`intensity`](SupervisorSettings::intensity).
    pub within: Duration,
    /// See [`failed_starts`](SupervisorSettings::failed_starts()).
    pub failed_starts: u32,
    pub(super) give_up: GiveUp,
    pub(super) surge: u32,
    /// See [`max_unavailable`](SupervisorSettings::max_unavailable()).
    pub max_unavailable: u32,
    /// See [`lame_duck`](SupervisorSettings::lame_duck()).
    pub lame_duck: Duration,
    /// See [`drain`](SupervisorSettings::drain()).
    pub drain: Duration,
    /// See [`term`](SupervisorSettings::term()).
    pub term: Duration,
    /// See [`shutdown`](SupervisorSettings::shutdown()).
    pub shutdown: Duration,
    pub(super) hurry_after: Duration,
    pub(super) retained_channel_timeout: Duration,
    pub(super) max_age: Option<Duration>,
    pub(super) age_spread: u32,
    pub(super) max_memory: Option<u64>,
    pub(super) max_connections: Option<u64>,
    /// The interval and the timeout.
    pub(super) heartbeat: Option<[Duration; 2]>,
}

/// The times in the life of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Timeouts {
    pub(super) ready: Duration,
    pub(super) lame_duck: Duration,
    pub(super) drain: Duration,
    pub(super) term: Duration,
    /// The age, and the spread in percent.
    pub(super) max_age: Option<(Duration, u32)>,
    /// The interval and the timeout.
    pub(super) heartbeat: Option<[Duration; 2]>,
}

impl SupervisorSettings {
    /// The default of [`lame_duck`](SupervisorSettings::lame_duck), also of a worker without a supervisor.
    pub const LAME_DUCK: Duration = Duration::from_millis(500);

    /// The default of [`drain`](SupervisorSettings::drain), also of a worker without a supervisor.
    pub const DRAIN: Duration = Duration::from_secs(30);

    /// The defaults for this number of workers, from 1 to 65,536.
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
            failed_starts: 5,
            give_up: GiveUp::default(),
            surge: 1,
            max_unavailable: 0,
            lame_duck: SupervisorSettings::LAME_DUCK,
            drain: SupervisorSettings::DRAIN,
            term: Duration::from_secs(5),
            shutdown: Duration::from_secs(30),
            hurry_after: Duration::from_secs(1),
            retained_channel_timeout: Duration::from_secs(10),
            max_age: None,
            age_spread: 10,
            max_memory: None,
            max_connections: None,
            heartbeat: None,
        }
    }

    /// The settings of the primary. [`Settings::keep_listening`] is always on under a supervisor.
    #[must_use]
    pub fn primary(mut self, primary: Settings) -> Self {
        self.primary = primary;
        self
    }

    /// Changes the settings of the primary.
    #[must_use]
    pub fn map_primary(mut self, change: impl FnOnce(Settings) -> Settings) -> Self {
        self.primary = change(self.primary);
        self
    }

    /// Sets when a worker counts as ready. Default: [`Readiness::Listening`].
    #[must_use]
    pub fn readiness(mut self, readiness: Readiness) -> Self {
        self.readiness = readiness;
        self
    }

    /// Sets the longest time from the start of a process until the worker is ready. If a worker is later, it
    /// is terminated, and counts as a failed start. Default: 60 s.
    #[must_use]
    pub fn ready_timeout(mut self, timeout: Duration) -> Self {
        self.ready_timeout = timeout;
        self
    }

    /// Sets the exits after which a worker is restarted. Default: [`RestartPolicy::Always`].
    #[must_use]
    pub fn restart(mut self, policy: RestartPolicy) -> Self {
        self.restart = policy;
        self
    }

    /// Sets the first and the longest pause before a restart. The first restart of a slot is immediate; then
    /// each pause is twice the last, until a worker has been ready for
    /// [`min_uptime`](SupervisorSettings::min_uptime). The pauses between failed recycles of a worker begin
    /// with the first pause. Defaults: 100 ms and 30 s.
    #[must_use]
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.backoff = [first, longest];
        self
    }

    /// Sets how long a worker must be ready before the slot counts as stable again. Default: 5 s.
    #[must_use]
    pub fn min_uptime(mut self, uptime: Duration) -> Self {
        self.min_uptime = uptime;
        self
    }

    /// Sets how many restarts of the whole cluster are allowed within a time. At the next restart, the
    /// supervisor gives up instead. Default: 10 in 60 s.
    #[must_use]
    pub fn intensity(mut self, restarts: u32, within: Duration) -> Self {
        self.restarts = restarts;
        self.within = within;
        self
    }

    /// Sets after how many failed starts in a row in one slot the supervisor gives up, if no worker of the
    /// cluster was ever ready: then the program cannot start. [`intensity`](SupervisorSettings::intensity)
    /// alone would try a program that fails slowly again and again. Once a worker was ready, only the
    /// intensity is a limit: a slot without a ready worker is retried with growing pauses, and the other
    /// slots continue to serve. A program that is missing or not executable is tried again only if a worker
    /// was ready before: see [`CannotStart`](super::GiveUpReason::CannotStart). Default: 5, reached in less
    /// than 6 minutes with the default [`ready_timeout`](SupervisorSettings::ready_timeout).
    #[must_use]
    pub fn failed_starts(mut self, starts: u32) -> Self {
        self.failed_starts = starts;
        self
    }

    /// Sets what happens after too many restarts or failed starts. Default: [`GiveUp::Suspend`].
    #[must_use]
    pub fn give_up(mut self, give_up: GiveUp) -> Self {
        self.give_up = give_up;
        self
    }

    /// Sets how many processes may exist beyond the number of slots during a reload, including old workers
    /// that have not exited. Default: 1.
    #[must_use]
    pub fn surge(mut self, processes: u32) -> Self {
        self.surge = processes;
        self
    }

    /// Sets how many slots a reload may leave without a ready worker, when
    /// [`surge`](SupervisorSettings::surge) permits no further successor: then the old worker exits before
    /// the new worker starts. Default: 0.
    #[must_use]
    pub fn max_unavailable(mut self, slots: u32) -> Self {
        self.max_unavailable = slots;
        self
    }

    /// Sets the time between the announcement to a lame duck and the request to disconnect; during this time
    /// the worker gets no new connections. Also the longest time for which a shutdown waits for the
    /// acknowledgement of connections that were handed off. Default: 500 ms.
    #[must_use]
    pub fn lame_duck(mut self, lame_duck: Duration) -> Self {
        self.lame_duck = lame_duck;
        self
    }

    /// Sets the time between the request to disconnect and SIGTERM. Default: 30 s.
    #[must_use]
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Sets the time between SIGTERM and SIGKILL. After SIGKILL, the exit is awaited for the same time, but
    /// at least 1 s. Default: 5 s.
    #[must_use]
    pub fn term(mut self, term: Duration) -> Self {
        self.term = term;
        self
    }

    /// Sets the time between the request to shut down and SIGTERM for the remaining workers. Default: 30 s.
    #[must_use]
    pub fn shutdown(mut self, shutdown: Duration) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Sets how long after a request to shut down further requests count as the same request. A later request
    /// hurries the workers. `timeout(1)`, for example, sends SIGTERM to its child, and then once more to the
    /// whole process group. Zero: every request counts. Default: 1 s.
    #[must_use]
    pub fn hurry_after(mut self, time: Duration) -> Self {
        self.hurry_after = time;
        self
    }

    /// Sets how long another process may hold the channel of an exited worker open. Replaces
    /// [`retained_channel_timeout`](Settings::retained_channel_timeout) of the primary. A shutdown waits at
    /// most for [`term`](SupervisorSettings::term). Default: 10 s.
    #[must_use]
    pub fn retained_channel_timeout(mut self, timeout: Duration) -> Self {
        self.retained_channel_timeout = timeout;
        self
    }

    /// Sets how long a worker is ready before it is replaced, and a spread in percent: the time of each
    /// worker is longer by up to this share, so workers of the same age are not replaced together. Default:
    /// no limit, 10 percent.
    #[must_use]
    pub fn max_age(mut self, age: Duration, spread_percent: u32) -> Self {
        self.max_age = Some(age);
        self.age_spread = spread_percent;
        self
    }

    /// Sets the resident memory in bytes above which a worker is replaced. The program reports the memory by
    /// [`Supervisor::report_memory`](super::Supervisor::report_memory). Default: no limit.
    #[must_use]
    pub fn max_memory(mut self, bytes: u64) -> Self {
        self.max_memory = Some(bytes);
        self
    }

    /// Sets after how many connections a worker is replaced. Has no effect under the shared policy, where the
    /// primary counts no connections. Default: no limit.
    #[must_use]
    pub fn max_connections(mut self, connections: u64) -> Self {
        self.max_connections = Some(connections);
        self
    }

    /// Sets the time between two pings of a ready worker, and the time for each answer. A worker that does
    /// not answer in time is killed, unless it has never answered (a Node program without preload). The first
    /// ping is sent when the process runs. Default: no pings.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration, timeout: Duration) -> Self {
        self.heartbeat = Some([interval, timeout]);
        self
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        Timeouts {
            ready: self.ready_timeout,
            lame_duck: self.lame_duck,
            drain: self.drain,
            term: self.term,
            max_age: self.max_age.map(|age| (age, self.age_spread)),
            heartbeat: self.heartbeat,
        }
    }

    /// The longest time for which a shutdown waits for acknowledgements: the time of a lame duck, but at most
    /// half of the time between the end of the lame ducks and the end of the shutdown.
    pub(super) fn emptying(&self) -> Duration {
        let rest = self.shutdown.saturating_sub(self.lame_duck);
        self.lame_duck.min(rest / 2)
    }

    /// Checks the number of workers.
    pub(super) fn check_workers(&self, workers: u32) -> Result<(), SettingsError> {
        if workers == 0 {
            return Err(SettingsError::NoWorkers);
        }
        if workers > MAX_WORKERS {
            return Err(SettingsError::Invalid { setting: "workers", needs: "a number from 1 to 65536" });
        }
        if self.max_unavailable > workers {
            let settings = ["max_unavailable", "workers"];
            return Err(SettingsError::Contradiction {
                settings,
                advice: "there are fewer workers than that",
            });
        }
        Ok(())
    }

    /// Checks that no setting contradicts another.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let contradiction = |settings, advice| Err(SettingsError::Contradiction { settings, advice });
        let invalid = |setting, needs| Err(SettingsError::Invalid { setting, needs });
        let [first, longest] = self.backoff;
        self.check_workers(self.workers)?;
        if self.surge == 0 && self.max_unavailable == 0 {
            return contradiction(["surge", "max_unavailable"], "both are 0, so no worker could be replaced");
        }
        if self.max_age.is_some_and(|age| age <= self.min_uptime) {
            return contradiction(
                ["max_age", "min_uptime"],
                "no worker would be stable before its replacement",
            );
        }
        if self.heartbeat.is_some_and(|times| times.contains(&Duration::ZERO)) {
            return invalid("heartbeat", "two times above 0");
        }
        if first > longest {
            return invalid("backoff", "a first pause of at most the longest pause");
        }
        if self.lame_duck > self.shutdown {
            return contradiction(
                ["lame_duck", "shutdown"],
                "no worker would be asked to disconnect in time",
            );
        }
        if self.restarts > 0 && self.within.is_zero() {
            return invalid("intensity", "a time above 0");
        }
        if self.ready_timeout.is_zero() {
            return invalid("ready_timeout", "a time above 0");
        }
        if self.failed_starts == 0 {
            return invalid("failed_starts", "a number above 0");
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
    /// Two settings contradict each other.
    Contradiction {
        /// The names of the two settings.
        settings: [&'static str; 2],
        /// What would happen.
        advice: &'static str,
    },
    /// The value of one setting is impossible.
    Invalid {
        /// The name of the setting.
        setting: &'static str,
        /// The possible values.
        needs: &'static str,
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
            SettingsError::Invalid { setting, needs } => write!(f, "`{setting}` needs {needs}"),
            SettingsError::Fork(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SettingsError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            SettingsError::NoWorkers
            | SettingsError::Contradiction { .. }
            | SettingsError::Invalid { .. } => None,
            SettingsError::Fork(error) => Some(error),
        }
    }
}
