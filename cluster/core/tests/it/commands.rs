//! The order of the calls that commands of a primary cause.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test matches the variant under test alone")]

use cluster_core::testing::TestCluster;
use cluster_core::{Call, Errno, Machine, OsEvent, Settings, Signal, WorkerId};
use serde_json::json;

const ONE: WorkerId = WorkerId(1);
const TWO: WorkerId = WorkerId(2);

/// Commands take effect in order.
#[test]
fn commands_keep_order() {
    let mut cluster = TestCluster::new(Settings::default());
    cluster.primary.fork().expect("the settings are valid");
    cluster.primary.disconnect_worker(ONE);
    cluster.primary.kill(ONE, Signal::SIGTERM);
    cluster.primary.send(ONE, json!("too late")).expect("its channel is open");
    cluster.settle();
    let kinds: Vec<&str> = cluster.os.calls.iter().take(4).map(kind).collect();
    assert_eq!(kinds, ["spawn", "write", "kill", "write"]);
}

fn kind(call: &Call) -> &'static str {
    match call {
        Call::Spawn { .. } => "spawn",
        Call::Write { .. } => "write",
        Call::Kill { .. } => "kill",
        _ => "other",
    }
}

/// A failed start does not delay other commands.
#[test]
fn spawn_failure_does_not_delay_commands() {
    let mut cluster = TestCluster::new(Settings::default());
    cluster.primary.fork().expect("the settings are valid");
    cluster.primary.fork().expect("the settings are valid");
    assert!(matches!(cluster.primary.poll_call(), Some(Call::Spawn { worker: ONE, .. })));
    cluster.primary.handle(OsEvent::SpawnFailed {
        worker: ONE,
        program: None,
        directory: false,
        errno: Errno::EAGAIN,
    });
    assert!(matches!(cluster.primary.poll_call(), Some(Call::Spawn { worker: TWO, .. })));
}
