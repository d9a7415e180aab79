//! The ports of a trace: which `listening` lines of a worker and of the primary concern the same port.
//!
//! Symbols of ports are numbered separately for each observer, so the lines alone do not decide whether two
//! workers share a port. What decides is the order: a worker reports servers in the order of its lines, and
//! the channel keeps the order.

use std::collections::BTreeSet;

use cluster_sim::explore::Names;

use super::actor;
use crate::observation::{Observation, Observer};
use crate::scenario::{Scenario, WorkerAction};
use crate::trace::Trace;

/// The names of the ports in the `listening` lines. A line without a known counterpart has no name.
pub(super) fn names(scenario: &Scenario, trace: &Trace) -> Names {
    let reports = trace.seen_by(Observer::Primary);
    let mut names = Names::new();
    names.insert(actor(Observer::Primary), reports.iter().map(name).collect());
    for (&observer, lines) in &trace.observers {
        if let Observer::Worker(worker) = observer {
            let reports = reports.iter().filter(|report| report.worker() == Some(worker));
            names.insert(actor(observer), names_of_worker(scenario, worker, lines, &reports));
        }
    }
    names
}

/// The names in a worker's lines are the names of the worker's reports to the primary.
fn names_of_worker<'a>(
    scenario: &Scenario,
    worker: u64,
    lines: &[Observation],
    reports: &(impl Iterator<Item = &'a Observation> + Clone),
) -> Vec<Option<u32>> {
    let mut names = vec![None; lines.len()];
    let datagrams = scenario.datagram_servers();
    for of_datagrams in [false, true] {
        let is_own = |line: &Observation| {
            line.detail("server").is_some_and(|server| datagrams.contains(server)) == of_datagrams
        };
        let own = lines.iter().enumerate().filter(|(_, line)| name(line).is_some() && is_own(line));
        let is_of_kind = |report: &&Observation| {
            report.detail("type").is_some_and(|kind| kind.starts_with("udp")) == of_datagrams
        };
        let reports = reports.clone().filter(is_of_kind).filter_map(name);
        let is_complete = own.clone().count() == reports.clone().count();
        if is_complete || reports_every_server(scenario, worker) {
            own.zip(reports).for_each(|((at, _), report)| names[at] = Some(report));
        }
    }
    names
}

/// Whether the worker reports every server to the primary. A server outside the cluster and a closed server
/// are not reported, nor is any server after the channel has closed.
fn reports_every_server(scenario: &Scenario, worker: u64) -> bool {
    let mut actions = scenario.worker_rules(worker).iter().flat_map(|rule| &rule.actions);
    !actions.any(|action| {
        let (is_exclusive, shares_port) = if let WorkerAction::Listen(listen) = action {
            (listen.exclusive, listen.reuse_port)
        } else if let WorkerAction::Bind(bind) = action {
            (bind.exclusive, bind.reuse_port)
        } else {
            (false, false)
        };
        is_exclusive || shares_port || matches!(action, WorkerAction::Close(_) | WorkerAction::Disconnect)
    })
}

/// Whether two `listening` lines of one observer have the same port.
pub(super) fn repeats_one(trace: &Trace) -> bool {
    trace.observers.values().any(|lines| {
        let mut seen = BTreeSet::new();
        lines.iter().filter_map(name).any(|port| !seen.insert(port))
    })
}

/// The number in the symbol of a `listening` line's port.
fn name(line: &Observation) -> Option<u32> {
    let port = if line.what == "listening" { line.detail("port") } else { None };
    port?.strip_prefix('p')?.parse().ok()
}
