//! The processes and clients that never end: no step is enabled in the simulator, where real processes would
//! wait forever.
//!
//! Only the lines decide. Other hangs need no rule here: a worker that remains after a disconnect fails a
//! check of the simulator, and no line shows a worker that outlives its primary.

use std::collections::BTreeSet;

use crate::observation::{Observation, Observer};
use crate::program::Primary;
use crate::scenario::{Open, PrimaryAction, Property, Scenario, ScenarioVerb as _, Step};
use crate::trace::Trace;

/// `hangs: ...` with the names, if a process or a client hangs.
pub(super) fn words(scenario: &Scenario, trace: &Trace) -> Option<String> {
    let mut hanging = Vec::new();
    if !scenario.primary_may_die() {
        hanging.extend(workers(trace).into_iter().map(|id| format!("worker {id} never ends")));
    }
    let open = own_servers(scenario, trace);
    hanging.extend(open.iter().map(|server| format!("the primary never closes its server `{server}`")));
    hanging.extend(
        clients(scenario, trace).map(|number| format!("client {number} waits for an end that never arrives")),
    );
    (!hanging.is_empty()).then(|| format!("hangs: {}", hanging.join(", ")))
}

fn workers(trace: &Trace) -> BTreeSet<u64> {
    let primary = trace.seen_by(Observer::Primary);
    let exits = primary.iter().filter(|line| line.what == "exit");
    let exited: BTreeSet<_> = exits.filter_map(Observation::worker).collect();
    // After a failed fork, a worker is dead from the beginning and does not exit.
    let began = primary.iter().filter(|line| line.what == "fork" && line.detail("dead") != Some("true"));
    began.filter_map(Observation::worker).filter(|id| !exited.contains(id)).collect()
}

/// The servers of the primary itself that are still open. No line reports the close of such a server, so this
/// function applies the rules again.
fn own_servers(scenario: &Scenario, trace: &Trace) -> BTreeSet<String> {
    let (mut script, mut open) = (Primary::new(scenario), BTreeSet::new());
    for seen in trace.seen_by(Observer::Primary) {
        open.extend(received_server(seen));
        for action in script.react(seen) {
            if let PrimaryAction::Open(Open { server, bound: false, .. }) = action {
                open.insert(server.to_string());
            } else if let PrimaryAction::Close(server) = action {
                open.remove(server.as_str());
            } else if action.has(Property::Ends) {
                return BTreeSet::new();
            }
        }
    }
    open
}

/// The name of a server that was received with a message: the text of the message.
fn received_server(seen: &Observation) -> Option<String> {
    let is_server = matches!(seen.detail("with"), Some("server" | "datagrams"));
    seen.detail("text").filter(|_| is_server).map(str::to_owned)
}

fn clients(scenario: &Scenario, trace: &Trace) -> impl Iterator<Item = u32> {
    let resets = |steps: &[Step]| steps.contains(&Step::Reset);
    let all = scenario.clients.iter().flat_map(|group| (0..group.count).map(|_| group.steps.as_slice()));
    // A client that has reset its connection observes nothing further.
    let waiting = (1..).zip(all).filter(move |(number, steps)| {
        let has = |what: &str| trace.seen_by(Observer::Client(*number)).iter().any(|line| line.what == what);
        has("connected") && !has("end") && !has("reset") && !resets(steps)
    });
    waiting.map(|(number, _)| number)
}
