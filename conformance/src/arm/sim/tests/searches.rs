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
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/arm/sim/tests/traces");
    for name in TRACES {
        let scenario = Scenario::load(&directory.join(format!("{name}.json")));
        let scenario = scenario.expect("no error");
        let text =
            fs::read_to_string(directory.join(format!("{name}.trace.json"))).expect("the trace exists");
        let trace: Trace = serde_json::from_str(&text).expect("the file is a trace");
        let reach = Sim::new(&scenario).reaches(&trace, WORLDS);
        assert!(matches!(reach, Reach::Yes(_)), "{name}: {reach:?}");
    }
}
