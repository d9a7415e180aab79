//! Reloads: the order of successors and predecessors, abandoned runs, and requests during a run.

use std::time::Duration;

use super::story::{Story, serving, settings};
use cluster_core::testing::Answer;
use cluster_core::{Errno, ExitStatus, Readiness, Supervisor, SupervisorSettings};

fn reload(story: &mut Story) -> Vec<String> {
    story.command(|supervisor| {
        let _ = supervisor.reload();
    })
}

/// The lame duck and the disconnect of a worker that exits in time.
#[track_caller]
fn leaves(story: &mut Story, worker: u64) -> Vec<String> {
    assert_eq!(story.wait(500), [format!("ping -> {worker}"), format!("disconnect -> {worker}")]);
    story.exits(worker, 0)
}

/// A reload of two slots, from begin to end: never fewer than two ready workers, never more than three
/// processes.
#[test]
fn reload_replaces_slot_by_slot() {
    let mut story = serving(settings(2), 2);
    assert_eq!(reload(&mut story), ["reload 1 started: All", "spawn 3 in slot 0"]);
    assert_eq!(story.slots(), "0:Ready 1, 1:Ready 2");
    assert_eq!(story.serves(3), ["lame duck -> 1", "0: worker 3 ready"]);
    assert_eq!(story.slots(), "0:Ready 3, 1:Ready 2");
    assert_eq!(leaves(&mut story, 1), ["0: worker 1 drained", "spawn 4 in slot 1"]);
    assert_eq!(story.serves(4), ["lame duck -> 2", "1: worker 4 ready"]);
    assert_eq!(leaves(&mut story, 2), ["1: worker 2 drained", "reload 1 finished"]);
    assert_eq!(story.slots(), "0:Ready 3, 1:Ready 4");
}

/// A second reload begins as soon as the first reload, which hangs, is abandoned on request.
#[test]
fn abandoned_reload_lets_next_begin() {
    let mut story = serving(settings(1), 1);
    reload(&mut story);
    assert!(reload(&mut story).is_empty());
    let lines = story.command(|supervisor| assert!(supervisor.abandon_reload().is_some()));
    let lines = lines.join("\n");
    assert!(lines.ends_with("reload 1 abandoned: Requested\nreload 2 started: All"), "{lines}");
    assert_eq!(story.slots(), "0:Ready 1");
}

/// Without a reload in progress, nothing is abandoned.
#[test]
fn nothing_to_abandon() {
    let mut story = serving(settings(1), 1);
    assert!(story.command(|supervisor| assert_eq!(supervisor.abandon_reload(), None)).is_empty());
}

/// A lame duck gets no connection; the successor gets the next.
#[test]
fn lame_duck_gets_no_connection() {
    let mut story = serving(settings(1), 1);
    reload(&mut story);
    story.serves(2);
    assert_eq!(story.connect(), ["connection -> 2"]);
}

/// An exit with an unknown status counts as drained if no signal was sent.
#[test]
fn unknown_status_counts_as_drained() {
    let mut story = serving(settings(1), 1);
    reload(&mut story);
    story.serves(2);
    story.wait(500);
    story.closes(1);
    let lines = story.is_reaped(1, ExitStatus::ReapedElsewhere);
    assert_eq!(lines, ["0: worker 1 drained", "reload 1 finished"]);
}

/// A predecessor that does not exit in time gets SIGTERM, then SIGKILL; only then the next slot begins.
#[test]
fn slow_predecessor_is_cut() {
    let mut story = serving(settings(2), 2);
    reload(&mut story);
    story.serves(3);
    story.wait(500);
    assert_eq!(story.wait(2_000), ["ping -> 1"]);
    story.says(1, r#"{"cmd":"NODE_CLUSTER_PONG","seq":9,"count":2}"#);
    assert_eq!(story.wait(1_000), ["SIGTERM -> 1"]);
    assert_eq!(story.wait(1_000), ["SIGKILL -> 1"]);
    assert_eq!(story.dies(1), ["0: worker 1 cut Some(2)", "spawn 4 in slot 1"]);
}

/// A successor that exits ends the reload; the old workers continue to serve.
#[test]
fn failed_successor_abandons_reload() {
    let mut story = serving(settings(2), 2);
    reload(&mut story);
    let failure = "Exited(Code(1))";
    let lines = story.exits(3, 1);
    let abandoned = format!("reload 1 abandoned: StartFailed {{ slot: SlotId(0), failure: {failure} }}");
    assert_eq!(lines, [format!("0: worker 3 failed: {failure}"), abandoned]);
    assert_eq!(story.slots(), "0:Ready 1, 1:Ready 2");
    assert_eq!(story.wait(100_000), [""; 0]);
}

/// A late successor is terminated and ends the reload.
#[test]
fn late_successor_abandons_reload() {
    let mut story = serving(settings(1), 1);
    reload(&mut story);
    let lines = story.wait(10_000);
    assert_eq!(lines[..2], ["lame duck -> 2", "SIGTERM -> 2"]);
    assert!(lines[3].starts_with("reload 1 abandoned"), "{lines:?}");
    assert_eq!(story.dies(2), [""; 0]);
    assert_eq!(story.slots(), "0:Ready 1");
}

/// A successor that listens on fewer keys than the predecessor is late.
#[test]
fn successor_needs_every_key() {
    let mut story = serving(settings(1), 1);
    story.listens(1, 81);
    reload(&mut story);
    assert_eq!(story.serves(2), [""; 0]);
    assert_eq!(story.listens(2, 81), ["lame duck -> 1", "0: worker 2 ready"]);
}

/// A successor that cannot be started ends the reload.
#[test]
fn failed_spawn_abandons_reload() {
    let mut story = serving(settings(1), 1);
    story.os.spawns = Answer::Failures(1, Errno::EAGAIN);
    let lines = reload(&mut story);
    assert!(lines[3].starts_with("reload 1 abandoned"), "{lines:?}");
    assert_eq!(story.slots(), "0:Ready 1");
}

/// Several reloads during a reload become one further reload.
#[test]
fn second_reload_follows() {
    let mut story = serving(settings(1), 1);
    reload(&mut story);
    assert_eq!(reload(&mut story), [""; 0]);
    assert_eq!(reload(&mut story), [""; 0]);
    story.serves(2);
    let lines = leaves(&mut story, 1);
    assert_eq!(
        lines,
        ["0: worker 1 drained", "reload 1 finished", "reload 2 started: All", "spawn 3 in slot 0"]
    );
    story.serves(3);
    assert_eq!(leaves(&mut story, 2), ["0: worker 2 drained", "reload 2 finished"]);
}

/// A requested reload follows an abandoned reload: the program may have been mended.
#[test]
fn second_reload_follows_abandoned() {
    let mut story = serving(settings(1), 1);
    reload(&mut story);
    reload(&mut story);
    let lines = story.exits(2, 1);
    assert_eq!(lines[2..], ["reload 2 started: All", "spawn 3 in slot 0"]);
}

/// A shutdown ends the current reload and the requested reload.
#[test]
fn shutdown_wins_over_reload() {
    let mut story = serving(settings(2), 2);
    reload(&mut story);
    reload(&mut story);
    let lines = story.command(Supervisor::shutdown);
    assert!(lines.contains(&"SIGTERM -> 3".to_owned()), "{lines:?}");
    let abandoned: Vec<_> = lines.iter().filter(|line| line.ends_with("abandoned: Shutdown")).collect();
    assert_eq!(abandoned, ["reload 1 abandoned: Shutdown", "reload 2 abandoned: Shutdown"]);
    story.wait(500);
    story.dies(3);
    story.exits(1, 0);
    assert_eq!(story.exits(2, 0), ["1: worker 2 drained", "finished 0"]);
}

/// The successor takes the slot of a predecessor that dies.
#[test]
fn successor_inherits_slot() {
    let mut story = serving(settings(1), 1);
    reload(&mut story);
    assert_eq!(story.dies(1), [""; 0]);
    assert_eq!(story.slots(), "0:Starting 2");
    assert_eq!(story.serves(2), ["0: worker 2 ready", "reload 1 finished"]);
}

/// A death in a waiting slot causes a restart, and the slot needs no further replacement.
#[test]
fn death_replaces_waiting_slot() {
    let mut story = serving(settings(2), 2);
    reload(&mut story);
    assert_eq!(story.dies(2), ["spawn 4 in slot 1", "1: restart after 0 ms"]);
    story.serves(4);
    story.serves(3);
    assert_eq!(leaves(&mut story, 1), ["0: worker 1 drained", "reload 1 finished"]);
}

/// A worker that was never ready and has no server loses no connection when it is no longer needed.
#[test]
fn unready_successor_is_withdrawn() {
    let mut story = serving(settings(2).surge(2), 2);
    reload(&mut story);
    story.exits(3, 1);
    assert_eq!(story.dies(4), ["1: worker 4 withdrawn"]);
    // With a server there may be connections.
    let mut story = Story::new(settings(1).readiness(Readiness::Message("ready".into())));
    story.serves(1);
    story.command(Supervisor::shutdown);
    assert_eq!(story.dies(1)[0], "0: worker 1 cut None");
}

/// Several successors at a time, by setting.
#[test]
fn surge_replaces_several_slots() {
    let mut story = serving(settings(3).surge(2), 3);
    let lines = reload(&mut story);
    assert_eq!(lines[1..], ["spawn 4 in slot 0", "spawn 5 in slot 1"]);
    story.serves(5);
    assert_eq!(story.slots(), "0:Ready 1, 1:Ready 5, 2:Ready 3");
    let lines = story.exits(4, 1);
    assert!(lines[1].starts_with("reload 1 abandoned"), "{lines:?}");
    assert_eq!(leaves(&mut story, 2), ["1: worker 2 drained"]);
    assert_eq!(story.slots(), "0:Ready 1, 1:Ready 5, 2:Ready 3");
}

fn without_surge(workers: u32) -> SupervisorSettings {
    settings(workers).surge(0).max_unavailable(1)
}

/// Without surge the old worker exits before the new worker starts.
#[test]
fn unavailable_slot_stops_first() {
    let mut story = serving(without_surge(2), 2);
    assert_eq!(reload(&mut story), ["reload 1 started: All", "lame duck -> 1"]);
    assert_eq!(story.slots(), "0:Lame 1, 1:Ready 2");
    assert_eq!(leaves(&mut story, 1), ["spawn 3 in slot 0", "0: worker 1 drained"]);
    assert_eq!(story.serves(3), ["0: worker 3 ready", "lame duck -> 2"]);
    assert_eq!(leaves(&mut story, 2), ["spawn 4 in slot 1", "1: worker 2 drained"]);
    assert_eq!(story.serves(4), ["1: worker 4 ready", "reload 1 finished"]);
}

/// A slot without a ready worker counts against `max_unavailable`, even if its worker has died.
#[test]
fn death_uses_up_unavailability() {
    let mut story = serving(without_surge(2), 2);
    story.dies(2);
    assert_eq!(reload(&mut story), ["reload 1 started: All"]);
    assert_eq!(story.serves(3), ["1: worker 3 ready", "lame duck -> 1"]);
}

/// A suspended slot starts with a reload, and restarts count again.
#[test]
fn reload_starts_suspended_slot() {
    let mut story = serving(settings(1).intensity(0, Duration::from_mins(1)), 1);
    assert_eq!(story.dies(1), ["gave up: 0 within 60 s", "0: suspended"]);
    assert_eq!(reload(&mut story), ["reload 1 started: All", "spawn 2 in slot 0"]);
    assert_eq!(story.serves(2), ["0: worker 2 ready", "reload 1 finished"]);
}

/// A slot that is suspended during its replacement ends the reload.
#[test]
fn suspended_slot_abandons_reload() {
    let mut story = serving(without_surge(1).intensity(0, Duration::from_mins(1)), 1);
    reload(&mut story);
    assert_eq!(leaves(&mut story, 1), ["spawn 2 in slot 0", "0: worker 1 drained"]);
    story.serves(2);
    reload(&mut story);
    leaves(&mut story, 2);
    let lines = story.exits(3, 1);
    assert!(lines[1].starts_with("reload 2 abandoned: StartFailed"), "{lines:?}");
    assert_eq!(lines[2..], ["gave up: 0 within 60 s", "0: suspended"]);
}
