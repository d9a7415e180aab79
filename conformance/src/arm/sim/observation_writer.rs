//! Writes the lines of a simulated process. A line is canonical where lines are compared, and unchanged for
//! the driver, which needs real ports.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use cluster_sim::{Actor, Process};

use crate::observation::{Line, Observation, Observer};
use crate::pattern::LinePattern;
use crate::scenario::Scenario;
use crate::trace::Canon;

/// The scenario, the runtime of the workers, the lines to hide or to report as another event, and the late
/// closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScenarioContext {
    pub(super) scenario: Arc<Scenario>,
    /// Computed once, because a search writes many lines.
    pub(super) datagram_servers: Arc<BTreeSet<String>>,
    pub(super) hidden: Arc<[LinePattern]>,
    pub(super) workers_on_node: bool,
    pub(super) misreadings: Arc<[Misreading]>,
    /// The lines after which the connection closes late, by observer, numbered from 0.
    pub(super) late_closes: Arc<[(Observer, usize)]>,
}

/// A line in which a runtime reports one event as another: `end` for `reset`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misreading {
    /// The observer.
    pub observer: Observer,
    /// The number of the line in the observer's sequence, from 0.
    pub line: usize,
    /// The event.
    pub meant: String,
    /// The reported event.
    pub written: String,
}

/// The context never changes, so the hash leaves it out. This saves time, because a search hashes often.
impl Hash for ScenarioContext {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl ScenarioContext {
    /// Whether this line is left out of comparisons.
    pub(super) fn hides(&self, line: &Line) -> bool {
        self.hidden.iter().any(|pattern| pattern.fits(line, None))
    }
}

/// The writer of one process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ObservationWriter {
    context: ScenarioContext,
    canon: Canon,
    /// The number of lines so far. Counted only if a line is reported as another event, or is followed by a
    /// late close.
    lines: usize,
}

impl ObservationWriter {
    pub(super) fn new(context: ScenarioContext) -> Self {
        ObservationWriter { context, canon: Canon::default(), lines: 0 }
    }

    /// The observation as the runtime of this process reports it.
    pub(super) fn reported<'a>(&self, process: &Process<'_>, seen: &'a Observation) -> Cow<'a, Observation> {
        let here = (observer(process.actor()), self.lines);
        let mut misreadings = self.context.misreadings.iter();
        let misread = misreadings.find(|misread| (misread.observer, misread.line) == here);
        match misread.filter(|misread| misread.meant == seen.what) {
            Some(misread) => Cow::Owned(Observation { what: misread.written.clone(), ..seen.clone() }),
            None => Cow::Borrowed(seen),
        }
    }

    /// Whether the next line is the end of a connection that closes late.
    pub(super) fn closes_late(&self, process: &Process<'_>) -> bool {
        self.context.late_closes.contains(&(observer(process.actor()), self.lines))
    }

    /// Writes a line, unless hidden. The driver receives the line in any case.
    pub(super) fn write(&mut self, process: &mut Process<'_>, seen: &Observation) {
        let line = Line { observer: observer(process.actor()), observation: seen.clone() };
        let hidden = self.context.hides(&line);
        if hidden || has_port(seen) {
            process.notify_driver(seen.to_string());
        }
        let canonical = self.canon.make(line.observer, line.observation, &self.context.datagram_servers);
        if hidden {
            return;
        }
        if !self.context.misreadings.is_empty() || !self.context.late_closes.is_empty() {
            self.lines += 1;
        }
        match object_of(seen, &self.context.datagram_servers) {
            Some(object) => process.observe_object(canonical.to_string(), object),
            None => process.observe(canonical.to_string()),
        }
    }
}

/// The number that stands for the port of a `listening` line. Ports for datagrams have other numbers than
/// ports for connections.
fn object_of(seen: &Observation, datagram_servers: &BTreeSet<String>) -> Option<u64> {
    let port = if seen.what == "listening" { seen.port()? } else { return None };
    let of_datagrams = crate::trace::is_of_datagrams(seen, datagram_servers);
    Some(u64::from(port) | u64::from(of_datagrams) << 16)
}

/// Whether the driver receives this line as a notice with the real port, instead of as an observation.
pub(super) fn has_port(seen: &Observation) -> bool {
    seen.detail("port").is_some()
}

/// The observer of an actor.
pub(super) fn observer(actor: Actor) -> Observer {
    match actor {
        Actor::Primary => Observer::Primary,
        Actor::Worker(worker) => Observer::Worker(worker.0),
        Actor::Client(client) => Observer::Client(client.0),
    }
}
