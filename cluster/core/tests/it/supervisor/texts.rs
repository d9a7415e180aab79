//! The texts of events and reasons, as a terminal shows them.

use std::time::Duration;

use cluster_core::{
    AbandonReason, Errno, Event, ExitStatus, ForkError, GiveUpReason, RecycleReason, ReloadId, ReloadScope,
    RestartReason, Signal, SlotId, StartFailure, SupervisorEvent, WorkerError, WorkerId,
};

const SLOT: SlotId = SlotId(1);
const WORKER: WorkerId = WorkerId(4);
const MINUTE: Duration = Duration::from_mins(1);

/// Every event and every reason.
fn events() -> Vec<SupervisorEvent> {
    use SupervisorEvent as E;
    let exited = StartFailure::Exited(ExitStatus::Code(3));
    let program = WorkerError::Spawn { program: Some("serve".into()), directory: None, errno: Errno::ENOENT };
    let recycle = |reason| ReloadScope::Slot { slot: SLOT, reason };
    let restart = |reason, after| E::Restarting {
        slot: SLOT,
        worker: Some(WORKER),
        reason,
        after: Duration::from_millis(after),
    };
    let gave_up = |reason| E::GaveUp { reason, slot: SLOT, last: RestartReason::Stuck };
    let abandoned = |reason| E::ReloadAbandoned { id: ReloadId(2), scope: ReloadScope::All, reason };
    vec![
        E::Primary(Event::Exit {
            worker: WORKER,
            status: ExitStatus::Code(0),
            exited_after_disconnect: true,
        }),
        E::SlotReady { slot: SLOT, worker: WORKER },
        E::StartFailed { slot: SLOT, worker: Some(WORKER), failure: exited.clone() },
        E::StartFailed { slot: SLOT, worker: None, failure: StartFailure::Fork(ForkError::NoChannel) },
        restart(RestartReason::StartFailed(StartFailure::Spawn(program)), 0),
        restart(RestartReason::StartFailed(StartFailure::Timeout(MINUTE)), 100),
        restart(RestartReason::Exited(ExitStatus::Signal(Signal::SIGKILL)), 1500),
        restart(RestartReason::Disconnected, 0),
        E::SlotSuspended { slot: SLOT },
        gave_up(GiveUpReason::Restarts { restarts: 0, within: MINUTE }),
        gave_up(GiveUpReason::Restarts { restarts: 1, within: MINUTE }),
        gave_up(GiveUpReason::Restarts { restarts: 2, within: MINUTE }),
        gave_up(GiveUpReason::FailedStarts { starts: 1 }),
        gave_up(GiveUpReason::FailedStarts { starts: 5 }),
        gave_up(GiveUpReason::CannotStart),
        E::ReloadStarted { id: ReloadId(1), scope: ReloadScope::All },
        E::ReloadStarted { id: ReloadId(1), scope: recycle(RecycleReason::Command) },
        E::ReloadFinished { id: ReloadId(1), scope: recycle(RecycleReason::Age) },
        E::ReloadFinished { id: ReloadId(1), scope: recycle(RecycleReason::Memory { bytes: 7 }) },
        E::ReloadFinished { id: ReloadId(1), scope: recycle(RecycleReason::Connections { count: 8 }) },
        abandoned(AbandonReason::StartFailed { slot: SLOT, failure: exited }),
        abandoned(AbandonReason::Suspended { slot: SLOT }),
        abandoned(AbandonReason::Shutdown),
        abandoned(AbandonReason::Requested),
        E::Scaled { workers: 1 },
        E::Scaled { workers: 2 },
        E::Hung { slot: SLOT, worker: WORKER },
        E::Drained { slot: SLOT, worker: WORKER },
        E::Cut { slot: SLOT, worker: WORKER, connections: None },
        E::Cut { slot: SLOT, worker: WORKER, connections: Some(1) },
        E::Cut { slot: SLOT, worker: WORKER, connections: Some(2) },
        E::Withdrawn { slot: SLOT, worker: WORKER },
        E::Stuck { slot: SLOT, worker: WORKER },
        E::ShutdownStarted,
        E::Finished { code: 0 },
        E::Finished { code: 3 },
    ]
}

#[test]
fn events_have_texts() {
    let texts: Vec<String> = events().iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(texts.join("\n"));
}
