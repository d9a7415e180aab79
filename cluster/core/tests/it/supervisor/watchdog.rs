//! Workers that hang.

use std::time::Duration;

use super::story::{Story, serving, settings};

fn watched() -> Story {
    let story = settings(1).heartbeat(Duration::from_secs(1), Duration::from_secs(3));
    serving(story, 1)
}

/// The answer to the last ping, the `n`-th message of the primary.
fn answer_ping(story: &mut Story, seq: u64) {
    story.says(1, &format!(r#"{{"cmd":"NODE_CLUSTER_PONG","seq":{seq},"count":0}}"#));
}

/// A worker that no longer answers is killed and replaced.
#[test]
fn silent_worker_is_killed() {
    let mut story = watched();
    answer_ping(&mut story, 2);
    assert_eq!(story.wait(2_999), ["ping -> 1", "ping -> 1"]);
    assert_eq!(story.wait(1), ["ping -> 1"]);
    assert_eq!(story.wait(1_000), ["lame duck -> 1", "SIGKILL -> 1", "0: worker 1 hung"]);
    assert_eq!(story.dies(1), ["spawn 2 in slot 0", "0: restart after 0 ms"]);
}

/// A worker that has answered only the first ping, before it listened, is killed as well.
#[test]
fn hang_after_ready_is_killed() {
    let mut story = watched();
    answer_ping(&mut story, 1);
    assert_eq!(story.wait(2_999), ["ping -> 1", "ping -> 1"]);
    assert_eq!(story.wait(1), ["lame duck -> 1", "SIGKILL -> 1", "0: worker 1 hung"]);
}

/// A worker is not killed if the answer is too late for one ping but in time for the next.
#[test]
fn any_later_answer_counts() {
    let mut story = watched();
    story.wait(2_500);
    answer_ping(&mut story, 4);
    assert_eq!(story.wait(1_000), ["ping -> 1"]);
}

/// A worker that never answers may be a Node program without preload, and is not watched.
#[test]
fn worker_without_answers_is_not_watched() {
    let mut story = watched();
    let lines = story.wait(60_000);
    assert_eq!(lines.len(), 60, "{lines:?}");
    assert!(lines.iter().all(|line| line == "ping -> 1"));
}
