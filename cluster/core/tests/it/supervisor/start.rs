//! From the start of a process until its worker is ready, and impossible settings.

use std::time::Duration;

use super::story::{Story, serving, settings};
use cluster_core::testing::Answer;
use cluster_core::{
    Errno, GiveUp, Readiness, Settings, SettingsError, SpawnOptions, Stdio, Supervisor, SupervisorSettings,
    WorkerId,
};

/// The slots are numbered from 0, and the first server makes a worker ready.
#[test]
fn first_server_makes_ready() {
    let mut story = Story::new(settings(2));
    assert_eq!(story.lines(), ["spawn 1 in slot 0", "spawn 2 in slot 1"]);
    assert_eq!(story.online(2), [""; 0]);
    assert_eq!(story.listens(2, 80), ["1: worker 2 ready"]);
    assert_eq!(story.listens(2, 81), [""; 0]);
    assert_eq!(story.slots(), "0:Starting 1, 1:Ready 2");
    assert_eq!(story.supervisor.slot_of(WorkerId(2)).map(|slot| slot.0), Some(1));
    assert_eq!(story.supervisor.slot_of(WorkerId(3)), None);
}

/// A worker without a server is ready when online, by setting.
#[test]
fn online_makes_ready() {
    let mut story = Story::new(settings(1).readiness(Readiness::Online));
    story.lines();
    assert_eq!(story.online(1), ["0: worker 1 ready"]);
}

/// Only the named message makes a worker ready, by setting.
#[test]
fn message_makes_ready() {
    let mut story = Story::new(settings(1).readiness(Readiness::Message("ready".into())));
    story.lines();
    story.online(1);
    assert_eq!(story.listens(1, 80), [""; 0]);
    assert_eq!(story.says(1, r#""steady""#), [""; 0]);
    assert_eq!(story.says(1, r#""ready""#), ["0: worker 1 ready"]);
    assert_eq!(story.says(1, r#""ready""#), [""; 0]);
}

/// A replacement is ready when it listens on every key of its predecessor.
#[test]
fn replacement_needs_every_key() {
    let mut story = serving(settings(1), 1);
    story.listens(1, 81);
    story.dies(1);
    story.online(2);
    assert_eq!(story.listens(2, 80), [""; 0]);
    assert_eq!(story.listens(2, 82), [""; 0]);
    assert_eq!(story.listens(2, 81), ["0: worker 2 ready"]);
}

/// After a failed start any key is enough: the program may have changed.
#[test]
fn failed_start_forgets_keys() {
    let mut story = serving(settings(1), 1);
    story.dies(1);
    story.dies(2);
    story.wait(100);
    story.online(3);
    assert_eq!(story.listens(3, 99), ["0: worker 3 ready"]);
}

/// A worker that is not ready in time is terminated, and its slot restarts.
#[test]
fn late_worker_is_terminated() {
    let mut story = Story::new(settings(1));
    story.lines();
    assert_eq!(story.wait(9_999), [""; 0]);
    assert_eq!(story.wait(1), ["lame duck -> 1", "SIGTERM -> 1", "0: worker 1 failed: Timeout(10s)"]);
    assert_eq!(story.wait(1_000), ["SIGKILL -> 1"]);
    assert_eq!(story.dies(1), ["spawn 2 in slot 0", "0: restart after 0 ms"]);
}

/// A process that survives SIGKILL no longer occupies its slot.
#[test]
fn stuck_process_is_left_behind() {
    let mut story = Story::new(settings(1));
    story.wait(11_000);
    assert_eq!(story.wait(1_000), ["spawn 2 in slot 0", "0: worker 1 stuck", "0: restart after 0 ms"]);
    assert_eq!(story.dies(1), [""; 0]);
}

/// A program that cannot be started is a failed start.
#[test]
fn failed_spawn_is_failed_start() {
    let mut story = serving(settings(1), 1);
    story.os.spawns = Answer::Failures(1, Errno::EAGAIN);
    let lines = story.dies(1);
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[2].starts_with("0: worker 2 failed: Spawn("), "{lines:?}");
    assert_eq!(lines[3], "0: restart after 100 ms");
    assert_eq!(story.slots(), "0:BackingOff");
    assert_eq!(story.wait(100), ["spawn 3 in slot 0"]);
}

/// The events of the primary pass unchanged. Each precedes the events that the supervisor adds.
#[test]
fn events_of_primary_precede() {
    let mut story = Story::new(settings(1));
    story.with_primary = true;
    story.online(1);
    assert_eq!(story.listens(1, 80), ["Listening", "0: worker 1 ready"]);
    assert_eq!(
        story.dies(1),
        ["Disconnect", "spawn 2 in slot 0", "0: restart after 0 ms", "Setup", "Fork", "Exit"]
    );
}

/// An error names the impossible setting, or both settings that contradict each other.
#[test]
fn impossible_settings_are_named() {
    let second = Duration::from_secs(1);
    let cases: [(SupervisorSettings, [&str; 2]); 10] = [
        (settings(0), ["`workers`", "at least one"]),
        (settings(1).backoff(second, Duration::ZERO), ["`backoff`", "first pause"]),
        (settings(1).lame_duck(5 * second), ["`lame_duck`", "`shutdown`"]),
        (settings(1).intensity(1, Duration::ZERO), ["`intensity`", "above 0"]),
        (settings(1).failed_starts(0), ["`failed_starts`", "above 0"]),
        (settings(1).ready_timeout(Duration::ZERO), ["`ready_timeout`", "above 0"]),
        (settings(1).surge(0), ["`surge`", "`max_unavailable`"]),
        (settings(1).max_unavailable(2), ["`max_unavailable`", "`workers`"]),
        (settings(1).max_age(second, 10), ["`max_age`", "`min_uptime`"]),
        (settings(1).heartbeat(Duration::ZERO, second), ["`heartbeat`", "above 0"]),
    ];
    for (settings, names) in cases {
        let error = Supervisor::new(settings).expect_err("impossible").to_string();
        assert!(names.iter().all(|name| error.contains(name)), "{error}");
    }
    let spawn = SpawnOptions::new().stdio([Stdio::Inherit]);
    let options =
        settings(1).primary(Settings { spawn, ..Settings::default() }).give_up(GiveUp::Exit { code: 1 });
    let error = Supervisor::new(options).expect_err("no channel");
    assert!(matches!(error, SettingsError::Fork(_)), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}
