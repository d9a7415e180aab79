//! The events of a supervisor. Values only.

use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::reload::{ReloadId, ReloadScope};
use super::restart::GiveUpReason;
use super::slot_info::SlotId;
use crate::event::{Event, WorkerError};
use crate::os::{Errno, ExitStatus, TimerId, WorkerId};
use crate::primary::ForkError;

/// The events of a [`Supervisor`](super::Supervisor).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each variant documents its fields")]
#[non_exhaustive]
pub enum SupervisorEvent {
    /// An event of the primary, in Node's order. The supervisor's own events about the same change follow it.
    Primary(Event),
    /// The worker of a slot is ready.
    SlotReady { slot: SlotId, worker: WorkerId },
    /// A worker did not become ready.
    StartFailed {
        slot: SlotId,
        /// The worker. `None`: no worker was forked.
        worker: Option<WorkerId>,
        failure: StartFailure,
    },
    /// A worker has exited or failed to start, and the slot gets another worker.
    Restarting {
        slot: SlotId,
        /// The worker that is replaced. `None`: no worker was forked.
        worker: Option<WorkerId>,
        reason: RestartReason,
        /// The pause before the start.
        after: Duration,
    },
    /// The slot gets no further worker by itself, because the restart policy forbids a restart or the
    /// supervisor has given up. A reload fills suspended slots. Not emitted during a shutdown.
    SlotSuspended { slot: SlotId },
    /// A limit of the settings is reached, and the supervisor restarts nothing further.
    GaveUp {
        reason: GiveUpReason,
        /// The slot of the worker that was not restarted.
        slot: SlotId,
        /// The reason why that worker would have been restarted.
        last: RestartReason,
    },
    /// A reload or a recycle begins.
    ReloadStarted { id: ReloadId, scope: ReloadScope },
    /// Every slot of the reload has a new worker, and the old workers have exited.
    ReloadFinished { id: ReloadId, scope: ReloadScope },
    /// A reload has ended early. Slots that were not replaced keep their old workers.
    ReloadAbandoned { id: ReloadId, scope: ReloadScope, reason: AbandonReason },
    /// The workers of removed slots have exited, and every slot has a ready worker or is suspended.
    Scaled {
        /// The number of slots.
        workers: u32,
    },
    /// A worker has not answered a ping in time. SIGKILL was sent, and a restart follows the exit.
    Hung { slot: SlotId, worker: WorkerId },
    /// A worker asked to exit has answered every request, and has exited by itself: before the first signal,
    /// with code 0 or with an unknown status.
    Drained { slot: SlotId, worker: WorkerId },
    /// A worker that was asked to exit has exited with open connections, or was ended by a signal.
    Cut {
        slot: SlotId,
        worker: WorkerId,
        /// The number of open connections in the worker's last report. `None`: the worker makes no reports,
        /// like a Node worker without preload.
        connections: Option<u64>,
    },
    /// A worker was asked to exit before it was ready, and has exited. It had no server, so no connection is
    /// lost.
    Withdrawn { slot: SlotId, worker: WorkerId },
    /// The process has not exited although SIGKILL was sent: the kernel holds the process, or has not
    /// permitted the signal. The supervisor no longer waits for it.
    Stuck { slot: SlotId, worker: WorkerId },
    /// The time of [`Supervisor::set_timer`](super::Supervisor::set_timer) has passed.
    Timer { timer: TimerId },
    /// The shutdown begins: no connection is accepted from now on.
    ShutdownStarted,
    /// The last event: every worker has exited, or is [stuck](SupervisorEvent::Stuck).
    Finished {
        /// 0, or the code of [`GiveUp::Exit`](super::GiveUp::Exit).
        code: i32,
    },
}

/// The reason why a worker did not become ready.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StartFailure {
    /// The spawn options are impossible.
    Fork(ForkError),
    /// The process was not started.
    Spawn(WorkerError),
    /// The process has exited before the worker was ready.
    Exited(ExitStatus),
    /// The worker was not ready within
    /// [`SupervisorSettings::ready_timeout`](super::SupervisorSettings::ready_timeout).
    Timeout(Duration),
}

/// The errors after which another start fails as well, until something on the machine is changed.
const LASTING: [Errno; 11] = [
    Errno::ENOENT,
    Errno::EACCES,
    Errno::EPERM,
    Errno::ENOEXEC,
    Errno::ENOTDIR,
    Errno::EISDIR,
    Errno::ELOOP,
    Errno::ENAMETOOLONG,
    Errno::E2BIG,
    Errno::EINVAL,
    Errno::EBADF,
];

impl StartFailure {
    /// Whether another start would fail in the same way.
    pub(super) fn is_lasting(&self) -> bool {
        match self {
            StartFailure::Fork(_) => true,
            StartFailure::Spawn(WorkerError::Spawn { errno, .. }) => LASTING.contains(errno),
            StartFailure::Spawn(_) | StartFailure::Exited(_) | StartFailure::Timeout(_) => false,
        }
    }
}

/// A predicate, for a sentence with the worker as its subject.
impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartFailure::Fork(error) => write!(f, "was not started: {error}"),
            StartFailure::Spawn(error) => write!(f, "was not started: {error}"),
            StartFailure::Exited(status) => write!(f, "exited before it was ready: {status}"),
            StartFailure::Timeout(timeout) => write!(f, "was not ready after {timeout:?}"),
        }
    }
}

/// The reason why a slot needs another worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RestartReason {
    /// The worker did not become ready.
    StartFailed(StartFailure),
    /// The worker was ready, and its process has exited.
    Exited(ExitStatus),
    /// The worker was ready, and the channel has closed, but its process has not exited.
    Disconnected,
    /// The worker was ready, and its process has not exited although SIGKILL was sent.
    Stuck,
}

/// The reason why a reload was abandoned.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each variant documents its fields")]
#[non_exhaustive]
pub enum AbandonReason {
    /// The new worker of a slot did not become ready.
    StartFailed { slot: SlotId, failure: StartFailure },
    /// A slot of the reload is suspended: [`SupervisorEvent::SlotSuspended`].
    Suspended { slot: SlotId },
    /// The supervisor shuts down.
    Shutdown,
    /// [`Supervisor::abandon_reload`](super::Supervisor::abandon_reload).
    Requested,
}

impl fmt::Display for AbandonReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AbandonReason::StartFailed { slot, failure } => {
                write!(f, "the new worker of slot {slot} {failure}")
            }
            AbandonReason::Suspended { slot } => {
                write!(
                    f,
                    "slot {slot} is suspended: its restart policy forbids a restart, or there were too many"
                )
            }
            AbandonReason::Shutdown => f.write_str("the supervisor shuts down"),
            AbandonReason::Requested => f.write_str("a command has requested the end"),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    /// The reasons are sentences for logs.
    #[test]
    fn abandon_reason_is_readable() {
        let failure = StartFailure::Exited(ExitStatus::Code(3));
        let reason = AbandonReason::StartFailed { slot: SlotId(1), failure };
        assert_eq!(reason.to_string(), "the new worker of slot 1 exited before it was ready: exit status: 3");
        assert_eq!(StartFailure::Timeout(Duration::from_secs(9)).to_string(), "was not ready after 9s");
    }
}
