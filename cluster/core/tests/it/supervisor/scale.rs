//! The number of slots.

use super::story::{Story, serving, settings};
use cluster_core::{RestartPolicy, SettingsError, Supervisor};

fn scale(story: &mut Story, workers: u32) -> Vec<String> {
    story.command(|supervisor| supervisor.scale(workers).expect("a possible number"))
}

/// New slots have the next numbers.
#[test]
fn scale_up_starts_workers() {
    let mut story = serving(settings(1), 1);
    assert_eq!(scale(&mut story, 3), ["spawn 2 in slot 1", "spawn 3 in slot 2"]);
    story.serves(2);
    assert_eq!(story.serves(3), ["2: worker 3 ready", "scaled to 3"]);
}

/// The slots with the highest numbers are removed, and their workers drain.
#[test]
fn scale_down_removes_newest_slots() {
    let mut story = serving(settings(3), 3);
    assert_eq!(scale(&mut story, 1), ["lame duck -> 3", "lame duck -> 2"]);
    assert_eq!(story.slots(), "0:Ready 1");
    assert_eq!(story.wait(500).len(), 4);
    assert_eq!(story.exits(3, 0), ["2: worker 3 drained"]);
    assert_eq!(story.exits(2, 0), ["1: worker 2 drained", "scaled to 1"]);
    assert_eq!(story.wait(100_000), [""; 0]);
}

/// A worker of a removed slot that dies is not restarted.
#[test]
fn death_after_scale_down_restarts_nothing() {
    let mut story = serving(settings(2), 2);
    scale(&mut story, 1);
    assert_eq!(story.dies(2), ["1: worker 2 cut None", "scaled to 1"]);
    assert_eq!(story.wait(100_000), [""; 0]);
}

/// A slot that returns gets a new worker at once, while the old worker drains.
#[test]
fn scale_up_again_starts_worker() {
    let mut story = serving(settings(2), 2);
    scale(&mut story, 1);
    assert_eq!(scale(&mut story, 2), ["spawn 3 in slot 1"]);
    story.serves(3);
    assert_eq!(story.slots(), "0:Ready 1, 1:Ready 3");
    story.wait(500);
    assert_eq!(story.exits(2, 0), ["1: worker 2 drained", "scaled to 2"]);
}

/// A removed slot leaves the reload, together with its successor.
#[test]
fn scale_down_ends_replacement() {
    let mut story = serving(settings(2), 2);
    story.command(|supervisor| {
        let _ = supervisor.reload();
    });
    story.serves(3);
    story.wait(500);
    story.exits(1, 0);
    let lines = scale(&mut story, 1);
    assert_eq!(
        lines,
        ["lame duck -> 4", "ping -> 4", "disconnect -> 4", "lame duck -> 2", "reload 1 finished"]
    );
}

/// A slot that waits for its restart is removed without a start.
#[test]
fn scale_down_ends_pause() {
    let mut story = serving(settings(2), 1);
    story.exits(2, 1);
    story.exits(3, 1);
    story.lines();
    assert_eq!(scale(&mut story, 1), ["scaled to 1"]);
    assert_eq!(story.wait(100_000), [""; 0]);
}

/// Impossible numbers are errors, and a shutdown ignores the command.
#[test]
fn impossible_scale_is_error() {
    let mut story = serving(settings(2).max_unavailable(2), 2);
    assert!(story.supervisor.scale(0).is_err());
    let error = story.supervisor.scale(1).expect_err("fewer than max_unavailable").to_string();
    assert!(error.contains("`max_unavailable`") && error.contains("`workers`"), "{error}");
    story.supervisor.shutdown();
    story.command(|_| {});
    assert_eq!(scale(&mut story, 5), [""; 0]);
}

/// Numbers beyond the limit are errors before any memory is allocated.
#[test]
fn too_many_slots_are_error() {
    let needs = SettingsError::Invalid { setting: "workers", needs: "a number from 1 to 65536" };
    let mut story = serving(settings(1), 1);
    for workers in [65_537, u32::MAX] {
        assert_eq!(Supervisor::new(settings(workers)).expect_err("too many"), needs);
        assert_eq!(story.supervisor.scale(workers), Err(needs));
    }
    assert_eq!(story.command(|_| {}), [""; 0]);
}

/// The change is not complete when a new worker ends before it is ready; it is complete when the replacement
/// is ready.
#[test]
fn scale_waits_for_ready_worker() {
    let mut story = serving(settings(1), 1);
    scale(&mut story, 2);
    assert_eq!(story.closes(2), [""; 0]);
    let failed = "1: worker 2 failed: Exited(Code(1))";
    assert_eq!(story.exits(2, 1), ["spawn 3 in slot 1", failed, "1: restart after 0 ms"]);
    assert_eq!(story.wait(10_000).last().map(String::as_str), Some("1: worker 3 failed: Timeout(10s)"));
    story.dies(3);
    story.wait(100);
    assert_eq!(story.serves(4), ["1: worker 4 ready", "scaled to 2"]);
}

/// A suspended slot completes the change.
#[test]
fn suspended_slot_completes_scale() {
    let mut story = serving(settings(1).restart(RestartPolicy::Never), 1);
    scale(&mut story, 2);
    assert_eq!(story.closes(2), [""; 0]);
    assert_eq!(story.exits(2, 1)[1..], ["1: suspended", "scaled to 2"]);
}
