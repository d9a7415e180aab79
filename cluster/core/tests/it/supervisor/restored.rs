//! The state of a supervisor as a value: its format, and values that are no state.

use cluster_core::{Supervisor, SupervisorState};
use serde_json::{Value, json};

use super::story::{Story, serving, settings};

/// A state of format 2. A change of the machines that cannot restore the text needs another format.
const RECORDED: &str = include_str!("../../recorded/supervisor-state-2.json");

/// A reload with a successor that is online; a connection without acknowledgement and a queued one; a message
/// that waits for the acknowledgement of a descriptor; half a line.
fn story() -> Story {
    let mut story = serving(settings(2), 2);
    for _ in 0..3 {
        story.connect();
    }
    story.command(|supervisor| {
        let primary = supervisor.primary_mut();
        primary.send(cluster_core::WorkerId(1), "to worker 1").expect("an open channel");
        supervisor.reload();
    });
    story.online(3);
    story.begins_line(2, r#"{"cmd":"NODE_CLUST"#);
    story
}

fn value(supervisor: &Supervisor) -> Value {
    serde_json::to_value(SupervisorState::of(supervisor)).expect("a state has JSON")
}

/// The restored supervisor, or the text of the error.
fn restored(state: Value) -> Result<Supervisor, String> {
    let state: SupervisorState = serde_json::from_value(state).map_err(|error| error.to_string())?;
    state.restore().map_err(|error| error.to_string())
}

#[test]
fn restored_supervisor_is_equal() {
    let supervisor = story().supervisor;
    assert_eq!(restored(value(&supervisor)), Ok(supervisor));
}

/// The restored supervisor continues as the original does.
#[test]
fn restored_supervisor_continues() {
    let mut stories = [story(), story()];
    stories[1].supervisor = restored(value(&stories[1].supervisor)).expect("a state");
    let [original, restored] = stories.map(|mut story| {
        let mut lines = story.lines();
        lines.extend(story.listens(3, 80));
        lines.extend(story.wait(10_000));
        lines.extend(story.dies(2));
        lines.extend(story.slots().split(", ").map(String::from));
        lines
    });
    assert_eq!(original, restored);
    assert!(original.contains(&String::from("0: worker 3 ready")), "{original:?}");
}

/// The snapshot changes with the format. If a change only adds to the format, the number stays the same; for
/// any other change, increment the number.
#[test]
fn format_is_pinned() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&value(&story().supervisor)).expect("JSON"));
}

#[test]
fn recorded_state_is_restored() {
    let state = serde_json::from_str(RECORDED).expect("JSON");
    assert_eq!(restored(state).as_ref(), Ok(&story().supervisor));
}

/// Another format is an error with both numbers, for any form of the machine.
#[test]
fn another_version_is_refused() {
    for machine in [json!(null), json!({ "new": [1, "form"] })] {
        let error = restored(json!({ "format": 3, "machine": machine }));
        let text = "the state has format 3, and this program reads format 2; restart instead of handing over";
        assert_eq!(error, Err(text.into()));
    }
}

/// A text that is no state is an error of its reader.
#[test]
fn malformed_state_is_refused() {
    let whole = value(&story().supervisor);
    let without = |field| {
        let mut state = whole.clone();
        state["machine"].as_object_mut().expect("an object").remove(field);
        state
    };
    let states = [json!([1]), json!({}), json!({ "format": 2 }), without("slots"), without("lifecycle")];
    for state in states {
        assert!(restored(state.clone()).is_err(), "{state}");
    }
    let cut = &RECORDED[..RECORDED.len() / 2];
    assert!(serde_json::from_str::<SupervisorState>(cut).is_err());
}

/// Each edit contradicts the field that the error names.
#[test]
fn contradiction_names_its_field() {
    let primary = "/machine/lifecycle/primary";
    let edits = [
        ("peers/workers/1/channel/id", json!(2), "channel.id"),
        ("peers/workers/1/channel/sending/unsent/bytes", json!(0), "channel.sending.unsent"),
        ("peers/offers/next", json!(0), "offers.next"),
        ("peers/offers/awaited", json!({}), "offers"),
        ("peers/steps/paused", json!(1), "steps.paused"),
        ("distribution/ledger/accepted", json!(9), "ledger.accepted"),
        ("distribution/handles/keys", json!({}), "handles.keys"),
        ("distribution/handles/last", json!(0), "handles.last"),
        ("distribution/handles/rows/1/sharing/Assigned/Central/queue", json!([]), "ledger.open"),
        ("distribution/timer_actions/last", json!(1), "timer_actions.last"),
        ("setup/workers", json!(2), "setup.workers"),
    ];
    let edits = edits.map(|(place, edit, field)| (format!("{primary}/{place}"), edit, field));
    let own = ("/machine/slots/0/holder".to_owned(), json!({ "Ok": 2 }), "slots");
    let whole = value(&story().supervisor);
    for (place, edit, field) in edits.into_iter().chain([own]) {
        let mut state = whole.clone();
        assert!(state.pointer(&place).is_some(), "{place} is no place in {whole}");
        *state.pointer_mut(&place).expect("a place") = edit;
        let error = restored(state).expect_err("a contradiction");
        assert!(error.contains(&format!("`{field}`")), "{place}: {error}");
    }
}
