//! The end of all workers: the order of its steps, its deadline, and the ways to hurry.

use std::time::Duration;

use super::story::{Story, serving, settings};
use cluster_core::{ExitStatus, Supervisor};

/// Workers get no connection, answer for the time of a lame duck, and are asked to disconnect.
#[test]
fn shutdown_drains_every_worker() {
    let mut story = serving(settings(2), 2);
    let lines = story.command(Supervisor::shutdown);
    let begin = ["stop accepting at 1", "ShutdownStarted", "lame duck -> 1", "lame duck -> 2", "close 1"];
    assert_eq!(lines, begin);
    assert_eq!(story.slots(), "0:Lame 1, 1:Lame 2");
    assert_eq!(story.wait(500), ["ping -> 1", "disconnect -> 1", "ping -> 2", "disconnect -> 2"]);
    assert_eq!(story.exits(2, 0), ["1: worker 2 drained"]);
    assert_eq!(story.exits(1, 0), ["0: worker 1 drained", "finished 0"]);
    assert!(story.supervisor.is_finished());
    assert_eq!(story.wait(100_000), [""; 0]);
}

/// Accepted connections are handed off before any worker is asked to exit.
#[test]
fn shutdown_empties_queue_first() {
    let mut story = serving(settings(1), 1);
    assert_eq!(story.connect(), ["connection -> 1"]);
    assert_eq!(story.connect(), [""; 0]);
    assert_eq!(story.command(Supervisor::shutdown), ["stop accepting at 1", "ShutdownStarted"]);
    let ack = |seq: u64| format!(r#"{{"cmd":"NODE_CLUSTER","ack":{seq},"accepted":true,"seq":9}}"#);
    story.says(1, r#"{"cmd":"NODE_HANDLE_ACK"}"#);
    assert_eq!(story.says(1, &ack(1)), ["close 101", "connection -> 1"]);
    story.says(1, r#"{"cmd":"NODE_HANDLE_ACK"}"#);
    assert_eq!(story.says(1, &ack(2)), ["close 102", "lame duck -> 1", "close 1"]);
}

/// All workers have the same deadline, and then `term` until SIGKILL; the event has the last reported number
/// of connections.
#[test]
fn shutdown_ends_by_deadline() {
    let mut story = serving(settings(2), 2);
    story.command(Supervisor::shutdown);
    story.wait(500);
    assert_eq!(story.wait(2_500), ["ping -> 1", "ping -> 2"]);
    story.says(1, r#"{"cmd":"NODE_CLUSTER_PONG","seq":9,"count":3}"#);
    assert_eq!(story.wait(1_000), ["SIGTERM -> 1", "SIGTERM -> 2"]);
    assert_eq!(story.dies(2), ["1: worker 2 cut None"]);
    assert_eq!(story.wait(1_000), ["SIGKILL -> 1"]);
    assert_eq!(story.dies(1), ["0: worker 1 cut Some(3)", "finished 0"]);
}

/// A process that survives SIGKILL does not delay the shutdown.
#[test]
fn stuck_process_ends_shutdown() {
    let mut story = serving(settings(1), 1);
    story.command(Supervisor::shutdown);
    story.wait(5_000);
    assert_eq!(story.wait(1_000), ["0: worker 1 stuck"]);
    assert_eq!(story.wait(1_000), ["finished 0"]);
}

/// A loaded kernel needs time to end a killed process, also if SIGKILL follows SIGTERM at once.
#[test]
fn killed_process_has_time_to_exit() {
    let mut story = serving(settings(1).term(Duration::ZERO), 1);
    story.command(Supervisor::shutdown);
    assert_eq!(story.wait(4_000).last().map(String::as_str), Some("SIGKILL -> 1"));
    assert_eq!(story.wait(999), [""; 0]);
    assert_eq!(story.dies(1), ["0: worker 1 cut None", "finished 0"]);
}

/// The second request sends SIGTERM, and the third sends SIGKILL. Further requests have no effect.
#[test]
fn repeated_shutdown_hurries() {
    let mut story = serving(settings(1), 1);
    story.command(Supervisor::shutdown);
    assert_eq!(story.command(Supervisor::shutdown), ["SIGTERM -> 1"]);
    assert_eq!(story.command(Supervisor::shutdown), ["SIGKILL -> 1"]);
    assert_eq!(story.command(Supervisor::shutdown), [""; 0]);
    assert_eq!(story.dies(1), ["0: worker 1 cut None", "finished 0"]);
}

/// A request that is repeated at once is one request; the time begins with the request that counts.
#[test]
fn repeated_request_is_one_request() {
    let options = settings(1).shutdown(Duration::from_mins(1)).term(Duration::from_mins(1));
    let mut story = serving(options.hurry_after(Duration::from_secs(1)), 1);
    story.command(Supervisor::shutdown);
    assert_eq!(story.command(Supervisor::shutdown), [""; 0]);
    story.wait(999);
    assert_eq!(story.command(Supervisor::shutdown), [""; 0]);
    story.wait(1);
    assert_eq!(story.command(Supervisor::shutdown), ["SIGTERM -> 1"]);
    story.wait(999);
    assert_eq!(story.command(Supervisor::shutdown), [""; 0]);
    story.wait(1);
    assert_eq!(story.command(Supervisor::shutdown), ["SIGKILL -> 1"]);
    assert_eq!(story.dies(1), ["0: worker 1 cut None", "finished 0"]);
}

/// A shutdown also asks starting workers to exit, and starts no worker.
#[test]
fn shutdown_asks_starting_workers() {
    let mut story = Story::new(settings(2));
    story.lines();
    story.exits(1, 1);
    story.exits(3, 1);
    assert_eq!(story.slots(), "0:BackingOff, 1:Starting 2");
    let lines = story.command(Supervisor::shutdown);
    assert_eq!(lines, ["ShutdownStarted", "lame duck -> 2", "ping -> 2", "disconnect -> 2"]);
    assert_eq!(story.exits(2, 0), ["1: worker 2 withdrawn", "finished 0"]);
    assert_eq!(story.wait(100_000), [""; 0]);
}

/// Without workers a shutdown finishes at once.
#[test]
fn shutdown_without_workers_finishes() {
    let mut story = Story::new(settings(1));
    story.exits(1, 1);
    story.exits(2, 1);
    story.lines();
    assert_eq!(story.command(Supervisor::shutdown), ["ShutdownStarted", "finished 0"]);
    assert_eq!(story.command(Supervisor::shutdown), [""; 0]);
}

/// A connection without an acknowledgement delays the drain by the time of a lame duck, and stays open until
/// the end of its worker.
#[test]
fn unacknowledged_connection_delays_drain() {
    let mut story = serving(settings(2), 2);
    assert_eq!(story.connect(), ["connection -> 1"]);
    story.says(1, r#"{"cmd":"NODE_HANDLE_ACK"}"#);
    assert_eq!(story.command(Supervisor::shutdown), ["stop accepting at 1", "ShutdownStarted"]);
    assert_eq!(story.wait(499), [""; 0]);
    assert_eq!(story.wait(1), ["lame duck -> 1", "lame duck -> 2"]);
    assert_eq!(story.wait(500), ["ping -> 1", "disconnect -> 1", "ping -> 2", "disconnect -> 2"]);
    assert_eq!(story.exits(2, 0), ["1: worker 2 drained"]);
    assert_eq!(story.dies(1), ["0: worker 1 cut None", "close 101", "close 1", "finished 0"]);
}

/// A late acknowledgement closes the listening socket.
#[test]
fn late_acknowledgement_closes_listener() {
    let mut story = serving(settings(1), 1);
    story.connect();
    story.says(1, r#"{"cmd":"NODE_HANDLE_ACK"}"#);
    story.command(Supervisor::shutdown);
    assert_eq!(story.wait(500), ["lame duck -> 1"]);
    let lines = story.says(1, r#"{"cmd":"NODE_CLUSTER","ack":1,"accepted":true,"seq":9}"#);
    assert_eq!(lines, ["close 101", "close 1"]);
}

/// A connection at a socket without a worker does not delay the drain.
#[test]
fn connection_without_worker_delays_nothing() {
    let mut story = serving(settings(2), 1);
    story.connect();
    story.dies(1);
    let lines = story.command(Supervisor::shutdown);
    assert!(lines.contains(&"lame duck -> 2".to_owned()), "{lines:?}");
}

/// Long lame ducks leave time for the requests to disconnect.
#[test]
fn long_lame_duck_shortens_wait() {
    let mut story = serving(settings(1).lame_duck(Duration::from_secs(3)), 1);
    story.connect();
    story.says(1, r#"{"cmd":"NODE_HANDLE_ACK"}"#);
    story.command(Supervisor::shutdown);
    assert_eq!(story.wait(500), ["lame duck -> 1"]);
    assert!(story.wait(3_000).contains(&"disconnect -> 1".to_owned()));
}

/// A process that holds the channel of an exited worker delays the end of the shutdown by the time of SIGTERM
/// only.
#[test]
fn retained_channel_delays_shutdown() {
    let mut story = serving(settings(1), 1);
    story.is_reaped(1, ExitStatus::Code(0));
    story.serves(2);
    story.command(Supervisor::shutdown);
    story.wait(500);
    assert_eq!(story.exits(2, 0), ["0: worker 2 drained", "disconnect -> 1"]);
    assert_eq!(story.wait(999), [""; 0]);
    story.with_primary = true;
    assert_eq!(story.wait(1), ["Error", "Disconnect", "AllDisconnected", "finished 0"]);
}
