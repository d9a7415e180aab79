//! Unexpected exits: restarts, pauses, policies, giving up.

use std::time::Duration;

use super::story::{Story, serving, settings};
use cluster_core::testing::{Answer, TestOs};
use cluster_core::{
    Errno, ExitStatus, GiveUp, Machine as _, OsEvent, RestartPolicy, SupervisorEvent, WorkerId, pump,
};

/// The first restart is immediate; the next pauses double until a worker is stable.
#[test]
fn restart_backs_off() {
    let mut story = serving(settings(1).min_uptime(Duration::from_secs(2)), 1);
    assert_eq!(story.dies(1), ["spawn 2 in slot 0", "0: restart after 0 ms"]);
    let exited = "failed: Exited(Code(1))";
    assert_eq!(story.exits(2, 1), [format!("0: worker 2 {exited}"), "0: restart after 100 ms".into()]);
    assert_eq!(story.wait(99), [""; 0]);
    assert_eq!(story.wait(1), ["spawn 3 in slot 0"]);
    assert_eq!(story.exits(3, 1), [format!("0: worker 3 {exited}"), "0: restart after 200 ms".into()]);
    assert_eq!(story.wait(200), ["spawn 4 in slot 0"]);
    story.online(4);
    story.listens(4, 80);
    story.wait(1_999);
    assert_eq!(story.dies(4), ["0: restart after 400 ms"]);
    story.wait(400);
    story.online(5);
    story.listens(5, 80);
    story.wait(2_000);
    assert_eq!(story.dies(5), ["spawn 6 in slot 0", "0: restart after 0 ms"]);
}

/// A clean exit of a ready worker is no failure; any other exit is.
#[test]
fn on_failure_restarts_failures() {
    let mut story = serving(settings(3).restart(RestartPolicy::OnFailure), 2);
    assert_eq!(story.exits(1, 0), ["0: suspended"]);
    assert_eq!(story.exits(2, 3), ["spawn 4 in slot 1", "1: restart after 0 ms"]);
    let lines = story.exits(3, 0);
    assert_eq!(lines, ["spawn 5 in slot 2", "2: worker 3 failed: Exited(Code(0))", "2: restart after 0 ms"]);
    assert_eq!(story.slots(), "0:Suspended, 1:Starting 4, 2:Starting 5");
}

/// Without restarts a slot is suspended.
#[test]
fn never_restarts_nothing() {
    let mut story = serving(settings(1).restart(RestartPolicy::Never), 1);
    assert_eq!(story.dies(1), ["0: suspended"]);
    assert_eq!(story.wait(100_000), [""; 0]);
}

/// The first restart beyond the intensity does not happen, and the other workers continue to serve.
#[test]
fn too_many_restarts_hold() {
    let mut story = serving(settings(2).intensity(2, Duration::from_mins(1)), 2);
    story.dies(1);
    story.dies(3);
    story.wait(100);
    let lines = story.dies(4);
    let given_up = ["0: worker 4 failed: Exited(Signal(SIGKILL))", "gave up: 2 within 60 s", "0: suspended"];
    assert_eq!(lines, given_up);
    assert_eq!(story.dies(2), ["1: suspended"]);
    assert_eq!(story.wait(100_000), [""; 0]);
    assert_eq!(story.slots(), "0:Suspended, 1:Suspended");
}

/// A restart older than the period of `intensity` does not count.
#[test]
fn old_restarts_do_not_count() {
    let mut story = serving(settings(1).intensity(1, Duration::from_mins(1)), 1);
    assert_eq!(story.dies(1), ["spawn 2 in slot 0", "0: restart after 0 ms"]);
    story.online(2);
    story.listens(2, 80);
    story.wait(60_000);
    assert_eq!(story.dies(2), ["spawn 3 in slot 0", "0: restart after 0 ms"]);
    let lines = story.dies(3);
    assert_eq!(lines[1], "gave up: 1 within 60 s");
}

/// Giving up can end the supervisor with a code; the other workers drain.
#[test]
fn giving_up_can_exit() {
    let options = settings(2).intensity(0, Duration::from_mins(1)).give_up(GiveUp::Exit { code: 7 });
    let mut story = serving(options, 2);
    let lines = story.dies(1);
    let expected =
        ["stop accepting at 1", "lame duck -> 2", "gave up: 0 within 60 s", "ShutdownStarted", "close 1"];
    let mut sorted: Vec<_> = lines.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let mut wanted = expected;
    wanted.sort_unstable();
    assert_eq!(sorted, wanted);
    story.wait(500);
    assert_eq!(story.exits(2, 0), ["1: worker 2 drained", "finished 7"]);
}

/// A ready worker is replaced as soon as the channel closes; the old process has the time of a drain to exit.
#[test]
fn closed_channel_replaces_worker() {
    let mut story = serving(settings(1), 1);
    assert_eq!(story.closes(1), ["spawn 2 in slot 0", "0: restart after 0 ms"]);
    story.online(2);
    story.listens(2, 80);
    assert_eq!(story.wait(3_000), ["SIGTERM -> 1"]);
    assert_eq!(story.wait(1_000), ["SIGKILL -> 1"]);
    assert_eq!(story.dies(1), [""; 0]);
    assert_eq!(story.slots(), "0:Ready 2");
}

/// With another policy, the exit status decides about the restart, so the supervisor waits for it.
#[test]
fn policy_waits_for_status() {
    let mut story = serving(settings(1).restart(RestartPolicy::OnFailure), 1);
    assert_eq!(story.closes(1), [""; 0]);
    assert_eq!(story.wait(3_000), ["SIGTERM -> 1"]);
    assert_eq!(story.is_reaped(1, ExitStatus::Code(0)), ["0: suspended"]);
}

/// A process that closes its channel before it is ready is terminated soon.
#[test]
fn closed_channel_fails_start() {
    let mut story = Story::new(settings(1));
    story.lines();
    assert_eq!(story.closes(1), [""; 0]);
    assert_eq!(story.wait(1_000), ["SIGTERM -> 1"]);
    let lines = story.exits(1, 0);
    assert_eq!(lines, ["spawn 2 in slot 0", "0: worker 1 failed: Exited(Code(0))", "0: restart after 0 ms"]);
}

/// A refused restart does not count: after a reload and the time of the setting all restarts are permitted
/// again.
#[test]
fn refused_restart_does_not_count() {
    let mut story = serving(settings(1).intensity(1, Duration::from_mins(1)), 1);
    story.dies(1);
    assert_eq!(story.dies(2)[1], "gave up: 1 within 60 s");
    story.wait(60_000);
    story.command(|supervisor| {
        let _ = supervisor.reload();
    });
    story.serves(3);
    story.wait(60_000);
    assert_eq!(story.dies(3), ["spawn 4 in slot 0", "0: restart after 0 ms"]);
}

/// A program that never listens: the supervisor gives up although the restarts are too rare for the
/// intensity.
#[test]
fn slow_failed_starts_give_up() {
    let mut story = Story::new(settings(2).ready_timeout(Duration::from_mins(1)).failed_starts(3));
    story.lines();
    for first in [1, 3] {
        story.wait(60_000);
        for worker in [first, first + 1] {
            assert!(story.dies(worker).last().is_some_and(|line| line.contains("restart after")));
        }
        story.wait(100);
    }
    story.wait(60_000);
    let late = "the worker was not ready after 60s";
    assert_eq!(
        story.dies(5),
        [format!("gave up: 3 starts in a row failed in one slot, {late}"), "0: suspended".into()]
    );
    assert_eq!(story.dies(6), ["1: suspended"]);
    assert_eq!(story.wait(1_000_000), [""; 0]);
    // After a reload, the same number of failed starts is permitted again.
    story.command(|supervisor| {
        let _ = supervisor.reload();
    });
    let lines = story.exits(7, 1);
    assert_eq!(lines.last().map(String::as_str), Some("0: restart after 0 ms"), "{lines:?}");
}

/// A program that cannot be started is not tried again, because another try would fail as well. The slots are
/// suspended, or the supervisor exits.
#[test]
fn permanent_error_gives_up_at_once() {
    let start = |options, errno| {
        let mut os = TestOs::default();
        os.spawns = Answer::Failures(100, errno);
        Story::on(os, options).lines()
    };
    let lines = start(settings(2), Errno::ENOENT);
    assert_eq!(lines.iter().filter(|line| line.starts_with("spawn")).count(), 2, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("gave up")).count(), 1, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.ends_with("suspended")).count(), 2, "{lines:?}");
    let lines = start(settings(2).give_up(GiveUp::Exit { code: 7 }), Errno::EACCES);
    assert_eq!(lines.last().map(String::as_str), Some("finished 7"));
    assert!(!lines.iter().any(|line| line.contains("restart") || line.contains("suspended")), "{lines:?}");
    let lines = start(settings(2).restart(RestartPolicy::Never), Errno::ENOENT);
    assert_eq!(lines.iter().filter(|line| line.starts_with("gave up")).count(), 1, "{lines:?}");
    let lines = start(settings(1), Errno::EAGAIN);
    assert!(lines.iter().any(|line| line.contains("restart after 100 ms")), "{lines:?}");
}

/// Once a worker was ready, a missing program may be a deployment in progress, and is retried.
#[test]
fn missing_program_is_retried_once_ready() {
    let mut story = serving(settings(2), 2);
    story.os.spawns = Answer::Failures(2, Errno::ENOENT);
    assert!(story.dies(1).contains(&"0: restart after 100 ms".into()));
    story.wait(100);
    assert_eq!(story.wait(200), ["spawn 5 in slot 0"]);
}

/// The report of a suspended slot is of no use when the supervisor shuts down, and the program has not
/// received the report.
#[test]
fn shutdown_drops_reports_of_suspended_slots() {
    let mut story = serving(settings(2).intensity(0, Duration::from_mins(1)), 2);
    story.supervisor.handle(OsEvent::Exited { worker: WorkerId(1), status: ExitStatus::Code(1) });
    let mut events = Vec::new();
    while let Some(event) = pump(&mut story.supervisor, &mut story.os) {
        if let SupervisorEvent::GaveUp { .. } = event {
            story.supervisor.shutdown();
        }
        events.push(event);
    }
    assert!(events.contains(&SupervisorEvent::ShutdownStarted), "{events:?}");
    assert!(!events.iter().any(|event| matches!(event, SupervisorEvent::SlotSuspended { .. })), "{events:?}");
}

/// A cluster that was ready keeps its other workers, and retries the slot within the intensity.
#[test]
fn served_cluster_retries_starts() {
    let mut story = serving(settings(2).failed_starts(2), 2);
    story.dies(1);
    for (worker, pause) in [(3, 100), (4, 200), (5, 400)] {
        let lines = story.exits(worker, 1);
        assert_eq!(lines[1], format!("0: restart after {pause} ms"));
        story.wait(pause);
    }
    assert_eq!(story.slots(), "0:Starting 6, 1:Ready 2");
}
