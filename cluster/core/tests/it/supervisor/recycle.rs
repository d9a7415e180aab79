//! The replacement of single workers.

use std::time::Duration;

use super::story::{Story, serving, settings};
use cluster_core::{RecycleReason, SlotId, WorkerId};

const HOUR: u64 = 3_600_000;

/// A command replaces the worker of one slot.
#[test]
fn command_replaces_one_slot() {
    let mut story = serving(settings(2), 2);
    let lines = story.command(|supervisor| {
        assert!(supervisor.restart_slot(SlotId(7)).is_none());
        assert!(supervisor.restart_slot(SlotId(1)).is_some());
    });
    let started = "reload 1 started: Slot { slot: SlotId(1), reason: Command }";
    assert_eq!(lines, [started, "spawn 3 in slot 1"]);
    assert_eq!(story.serves(3), ["lame duck -> 2", "1: worker 3 ready"]);
}

/// Recycles run one at a time, and an obsolete recycle replaces nothing.
#[test]
fn recycles_run_one_at_a_time() {
    let mut story = serving(settings(2), 2);
    let lines = story.command(|supervisor| {
        supervisor.restart_slot(SlotId(0));
        supervisor.restart_slot(SlotId(1));
        supervisor.restart_slot(SlotId(1));
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    story.command(|supervisor| {
        let waiting: Vec<_> = supervisor.slots().map(|slot| slot.recycle).collect();
        assert_eq!(waiting, [None, Some(RecycleReason::Command)]);
    });
    // The worker of slot 1 dies and is replaced before its recycle.
    story.dies(2);
    story.serves(4);
    story.serves(3);
    story.wait(500);
    let lines = story.exits(1, 0);
    let second = "reload 2 started: Slot { slot: SlotId(1), reason: Command }";
    assert_eq!(lines, ["0: worker 1 drained", "reload 1 finished", second, "reload 2 finished"]);
}

/// Workers that started together are replaced at different ages.
#[test]
fn age_replaces_with_spread() {
    let mut story = serving(settings(2).max_age(Duration::from_hours(1), 10), 2);
    assert_eq!(story.wait(HOUR - 1), [""; 0]);
    let lines = (0..360).map(|_| story.wait(1_000)).find(|lines| !lines.is_empty());
    let lines = lines.expect("within the spread");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].ends_with("reason: Age }"), "{lines:?}");
}

/// A recycle for age that was abandoned is tried again.
#[test]
fn abandoned_age_is_retried() {
    let mut story = serving(settings(1).max_age(Duration::from_hours(1), 0), 1);
    story.wait(HOUR);
    let lines = story.exits(2, 1);
    assert!(lines[1].starts_with("reload 1 abandoned"), "{lines:?}");
    let lines = story.wait(10_000);
    assert_eq!(lines[1], "spawn 3 in slot 0");
}

/// Memory beyond the limit replaces a worker once.
#[test]
fn memory_replaces_worker() {
    let mut story = serving(settings(1).max_memory(1_000), 1);
    let mut report = |bytes| story.command(|supervisor| supervisor.report_memory(WorkerId(1), bytes));
    assert_eq!(report(1_000), [""; 0]);
    assert!(report(1_001)[0].ends_with("reason: Memory { bytes: 1001 } }"));
    assert_eq!(report(1_002), [""; 0]);
}

/// The last permitted connection replaces a worker.
#[test]
fn connections_replace_worker() {
    let mut story = serving(settings(1).max_connections(2), 1);
    for seq in [1, 2] {
        story.connect();
        story.says(1, r#"{"cmd":"NODE_HANDLE_ACK"}"#);
        let lines =
            story.says(1, &format!(r#"{{"cmd":"NODE_CLUSTER","ack":{seq},"accepted":true,"seq":9}}"#));
        assert_eq!(lines.len(), if seq == 1 { 1 } else { 3 }, "{lines:?}");
    }
    assert_eq!(story.says(1, r#""more""#), [""; 0]);
}

/// If successors fail, the pauses before the next attempts grow; a ready successor resets the pause.
#[test]
fn failing_recycle_backs_off() {
    let mut story = serving(settings(1).max_memory(1), 1);
    let report = |story: &mut Story, worker| {
        let lines = story.command(|supervisor| supervisor.report_memory(WorkerId(worker), 2));
        lines.len() > 1
    };
    let mut forks = 0;
    for _ in 0..50 {
        if report(&mut story, 1) {
            forks += 1;
            story.exits(forks + 1, 1);
        }
    }
    assert_eq!(forks, 1);
    story.wait(100);
    assert!(report(&mut story, 1));
    story.exits(3, 1);
    story.wait(199);
    assert!(!report(&mut story, 1));
    story.wait(1);
    assert!(report(&mut story, 1));
    story.serves(4);
    story.wait(500);
    story.exits(1, 0);
    assert!(report(&mut story, 4), "the successor is not delayed");
}

/// A request during a recycle also replaces a successor that was forked before the request.
#[test]
fn later_request_replaces_successor() {
    let mut story = serving(settings(1), 1);
    let restart = |story: &mut Story| {
        story.command(|supervisor| {
            supervisor.restart_slot(SlotId(0));
        })
    };
    restart(&mut story);
    assert_eq!(restart(&mut story), [""; 0]);
    story.serves(2);
    story.wait(500);
    let second = "reload 2 started: Slot { slot: SlotId(0), reason: Command }";
    let lines = story.exits(1, 0);
    assert_eq!(lines, ["0: worker 1 drained", "reload 1 finished", second, "spawn 3 in slot 0"]);
}

/// If a request joins an earlier request, a worker that has started between the two is replaced.
#[test]
fn joined_request_replaces_later_worker() {
    let mut story = serving(settings(2), 2);
    let restart = |story: &mut Story, slot| {
        story.command(|supervisor| {
            supervisor.restart_slot(SlotId(slot));
        })
    };
    restart(&mut story, 0);
    restart(&mut story, 1);
    story.dies(2);
    story.serves(4);
    restart(&mut story, 1);
    story.serves(3);
    story.wait(500);
    assert_eq!(story.exits(1, 0).last().map(String::as_str), Some("spawn 5 in slot 1"));
}
