//! Planted bugs of a re-exec: the saved state lacks a part, and the check for this part finds the loss.

use std::time::Duration;

use cluster_core::{Settings, SupervisorSettings, WorkerId};
use serde_json::{Value, json};

use crate::explore::exhaustive;
use crate::program::Program;
use crate::scenarios::{DisconnectBy, Flood, ReplyServer, Scenario, SupervisedServer, SupervisorMove};
use crate::world::World;
use crate::{Check, Fault, Faults};

type Loss = fn(&mut Value);

/// The check that fails in some run with re-execs, if every saved state has this loss.
fn failed_check<P: Program>(start: &World<P>, loss: Option<fn(String) -> String>) -> Option<Check> {
    failed_check_with(Faults::only(&[Fault::Reexec]), start, loss)
}

fn failed_check_with<P: Program>(
    faults: Faults,
    start: &World<P>,
    loss: Option<fn(String) -> String>,
) -> Option<Check> {
    let mut world = start.clone().with_faults(faults);
    world.state.planted_loss = loss;
    exhaustive(&world, 200_000).err().map(|failure| {
        println!("{}", failure.summary());
        failure.check
    })
}

fn edited(state: &str, loss: Loss) -> String {
    let mut state = serde_json::from_str(state).expect("JSON");
    loss(&mut state);
    state.to_string()
}

/// Asserts that the check finds the loss, and that no check fails without the loss.
fn finds<P: Program>(check: Check, start: &World<P>, loss: fn(String) -> String) {
    assert_eq!(failed_check(start, None), None);
    assert_eq!(failed_check(start, Some(loss)), Some(check));
}

fn each_channel(primary: &mut Value, act: fn(&mut Value)) {
    let workers = primary["peers"]["workers"].as_object_mut().expect("the workers");
    workers.values_mut().for_each(|worker| act(&mut worker["channel"]));
}

/// The state lacks the messages behind a message that waits for room.
#[test]
fn messages_detects_lost_frames() {
    let flood = Flood { messages: 5, disconnect_by: DisconnectBy::Never };
    let start = World::new(flood, Settings::default()).with_channel_bytes(24);
    finds(Check::Messages, &start, |state| {
        edited(&state, |primary| {
            each_channel(primary, |channel| channel["sending"]["outbox"]["frames"] = json!([]));
        })
    });
}

/// The state lacks half of a line.
#[test]
fn false_blame_detects_lost_bytes() {
    let flood = Flood { messages: 3, disconnect_by: DisconnectBy::Never };
    let start = World::new(flood, Settings::default()).with_channel_bytes(24);
    finds(Check::FalseBlame, &start, |state| {
        edited(&state, |primary| {
            each_channel(primary, |channel| channel["reading"]["partial"] = json!({ "Text": "" }));
        })
    });
}

/// The state lacks the connections without an acknowledgement, in the ledger and among the offers.
#[test]
fn ledger_detects_lost_offers() {
    let start = Scenario::new(ReplyServer::new(1, 1)).world();
    finds(Check::Ledger, &start, |state| {
        edited(&state, |primary| {
            primary["peers"]["offers"]["awaited"] = json!({});
            let ledger = &mut primary["distribution"]["ledger"];
            let open = std::mem::replace(&mut ledger["open"], json!({}));
            let lost = open.as_object().map_or(0, serde_json::Map::len) as u64;
            ledger["accepted"] = json!(ledger["accepted"].as_u64().unwrap_or(0) - lost);
        })
    });
}

/// The state lacks the deadlines of a reload, so the old worker is never asked to disconnect.
#[test]
fn deadlines_detects_lost_timers() {
    let start = SupervisedServer::new(1, 0, SupervisorMove::Reload).world().with_patient_timers();
    finds(Check::Deadlines, &start, |state| {
        edited(&state, |state| state["machine"]["lifecycle"]["timers"]["deadlines"] = json!({}))
    });
}

/// The state lacks that a worker was ready: a program that is missing for a moment then ends the service.
/// Without the fault of the `exec` no check fails.
#[test]
fn intensity_detects_lost_readiness() {
    let settings = SupervisorSettings::new(2).intensity(2, Duration::from_hours(24));
    let server = SupervisedServer::new(2, 0, SupervisorMove::Serve).broken_from(WorkerId(2));
    let start = server.world_with(settings).with_patient_timers();
    let loss = |state: String| {
        edited(&state, |state| {
            let was_ready = &mut state["machine"]["intensity"]["was_ready"];
            assert!(was_ready.is_boolean());
            *was_ready = json!(false);
        })
    };
    assert_eq!(failed_check(&start, Some(loss)), None);
    let exec = Faults::only(&[Fault::Reexec, Fault::ExecFailure]).limit(1);
    assert_eq!(failed_check_with(exec, &start, None), None);
    assert_eq!(failed_check_with(exec, &start, Some(loss)), Some(Check::Intensity));
}

/// A contradictory state is rejected: here the connection of an offer is missing.
#[test]
fn assertion_detects_a_contradiction() {
    let start = SupervisedServer::new(1, 1, SupervisorMove::Serve).world().with_patient_timers();
    finds(Check::Assertion, &start, |state| {
        edited(&state, |state| {
            state["machine"]["lifecycle"]["primary"]["peers"]["offers"]["awaited"] = json!({});
        })
    });
}
