//! Traces of random scenarios on the real system. The search must find runs with these traces within its
//! budget.

use std::fs;

use super::*;

/// Traces that older searches did not decide within 100,000 worlds.
const TRACES: [&str; 4] =
    ["kill_while_clients_connect", "four_workers", "reply_before_disconnect", "disconnect_before_reply"];

/// The budget of the random scenarios in CI, in worlds.
const WORLDS: usize = 100_000;

#[test]
fn search_finds_recorded_runs() {
    for name in TRACES {
        let (scenario, trace) = recorded(name);
        let reach = Sim::new(&scenario).reaches(&trace, WORLDS);
        assert!(matches!(reach, Reach::Yes(_)), "{name}: {reach:?}");
    }
}

/// In the recorded run, a worker observes the reset of its last connection, then closes another server, and
/// then the server of the connection. A trace without the close of the other server is in no run.
#[test]
fn late_close_is_found() {
    let (scenario, mut trace) = recorded("late_close");
    let sim = Sim::new(&scenario);
    let late = |trace: &Trace| sim.closing_late(trace).expect("a late close");
    assert_eq!(found(late(&trace).reaches(&trace, WORLDS)).trace, trace);
    let searched = late(&trace);
    let lines = trace.observers.get_mut(&Observer::Worker(2)).expect("a worker");
    lines.retain(|line| line.what != "closed" || line.detail("server") == Some("web"));
    assert!(!matches!(searched.reaches(&trace, 5_000), Reach::Yes(_)));
    assert_eq!(sim.closing_late(&quiet(&sim).trace), None);
}

fn recorded(name: &str) -> (Scenario, Trace) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/arm/sim/tests/traces");
    let scenario = Scenario::load(&directory.join(format!("{name}.json")));
    let text = fs::read_to_string(directory.join(format!("{name}.trace.json"))).expect("the trace exists");
    (scenario.expect("no error"), serde_json::from_str(&text).expect("the file is a trace"))
}
