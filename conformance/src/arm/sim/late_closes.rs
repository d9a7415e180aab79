//! Connections that close some time after their end. A program of several tasks observes the end in one task,
//! and other tasks run before the connection is dropped. A Node.js program closes a connection after the end
//! of its own side, which also takes time; a reset closes the connection at once.
//!
//! Each late close multiplies the runs, so a search includes only the late closes that a trace suggests.

use std::collections::BTreeMap;

use cluster_core::SocketId;
use cluster_sim::Process;

use super::sockets;
use crate::observation::{Observation, Observer};
use crate::scenario::{Bind, Listen, Scenario, WorkerAction};
use crate::trace::Trace;

/// The connections of a worker that have ended and are still open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct LateCloses {
    /// Each connection, by a socket that receives a datagram later: then the connection closes.
    waiting: BTreeMap<SocketId, SocketId>,
}

impl LateCloses {
    /// Lets a connection close later. Returns false if no descriptor is free.
    pub(super) fn start(&mut self, connection: SocketId, process: &mut Process<'_>) -> bool {
        let later = sockets::later(process);
        later.is_some_and(|later| self.waiting.insert(later, connection).is_none())
    }

    /// Takes the connection that closes when this socket receives its datagram.
    pub(super) fn take(&mut self, socket: SocketId, process: &mut Process<'_>) -> Option<SocketId> {
        let connection = self.waiting.remove(&socket)?;
        process.close(socket);
        Some(connection)
    }
}

/// The observer and the number, from 0, of each line after which a connection closes late: the end of the
/// last connection of a server, followed by the close of another server that would otherwise close later.
pub(super) fn of(scenario: &Scenario, on_node: bool, trace: &Trace) -> Vec<(Observer, usize)> {
    let mut late = Vec::new();
    for (&observer, lines) in &trace.observers {
        if let Observer::Worker(worker) = observer {
            let opened = opened(scenario, worker);
            let ends = (0..lines.len()).filter(|&at| closes_late(&opened, on_node, &lines[at..]));
            late.extend(ends.map(|at| (observer, at)));
        }
    }
    late
}

/// The servers in the order in which the worker opens and closes them.
fn opened(scenario: &Scenario, worker: u64) -> Vec<&str> {
    let actions = scenario.worker_rules(worker).iter().flat_map(|rule| &rule.actions);
    let opened = actions.filter_map(|action| {
        if let WorkerAction::Listen(Listen { server, .. }) | WorkerAction::Bind(Bind { server, .. }) = action
        {
            Some(server.as_str())
        } else {
            None
        }
    });
    opened.collect()
}

/// Whether the first of these lines ends a connection that closes late.
fn closes_late(opened: &[&str], on_node: bool, lines: &[Observation]) -> bool {
    let Some((end, after)) = lines.split_first() else { return false };
    if !(end.what == "end" || end.what == "reset" && !on_node) {
        return false;
    }
    let is_same = |line: &&Observation| line.detail("server") == end.detail("server");
    let place = |line: &Observation| opened.iter().position(|server| line.detail("server") == Some(server));
    let next = after.iter().find(|line| line.what == "closed" || is_end(line) && is_same(line));
    let Some(other) = next.filter(|line| line.what == "closed" && !is_same(line)) else { return false };
    place(end) < place(other)
}

fn is_end(line: &Observation) -> bool {
    line.what == "end" || line.what == "reset"
}
