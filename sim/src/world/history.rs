//! The history of a run: the hash and, if recorded, the trace. The history is no part of the state.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

use cluster_core::{Call, ExitStatus, OsEvent, Signal};

use crate::cow::CowArc;
use crate::event::{Actor, ClientId};
use crate::observations::ObservationLog;
use crate::schedule::Schedule;
use crate::schedule::script::Owner;
use crate::step::{Pid, Step};
use crate::trace::{Crossing, Trace};
use crate::trace_hash::TraceHasher;

/// The history of a run. Methods called in each step are inlined, because most runs record no trace.
#[derive(Debug, Clone)]
pub(super) struct History {
    hasher: TraceHasher,
    trace: Option<Trace>,
    /// By client, the process that has received the connection.
    holders: CowArc<BTreeMap<ClientId, Pid>>,
    /// The processes that SIGKILL has ended.
    killed: CowArc<BTreeSet<Pid>>,
}

/// The lengths of trace, faults and log before a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lengths {
    rows: usize,
    struck: usize,
    written: usize,
}

impl History {
    pub(super) fn new() -> Self {
        let (holders, killed) = (CowArc::default(), CowArc::default());
        History { hasher: TraceHasher::new(), trace: None, holders, killed }
    }

    /// Copies the history of another world of the same search, without its trace.
    pub(super) fn copy_from(&mut self, other: &History) {
        self.hasher.clone_from(&other.hasher);
        self.holders.clone_from(&other.holders);
        self.killed.clone_from(&other.killed);
    }

    /// From now on every step is recorded.
    pub(super) fn record(&mut self) {
        self.trace = Some(Trace::default());
    }

    /// From now on nothing is recorded or hashed.
    pub(super) fn stop(&mut self) {
        self.hasher.stop();
        self.trace = None;
    }

    pub(super) fn hasher(&self) -> &TraceHasher {
        &self.hasher
    }

    #[inline]
    pub(super) fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// The process that has received the connection of a client, otherwise the primary.
    pub(super) fn holder(&self, client: ClientId) -> Pid {
        self.holders.get(&client).copied().unwrap_or(Pid::PRIMARY)
    }

    pub(super) fn killed(&self) -> impl Iterator<Item = Pid> {
        self.killed.iter().copied()
    }

    pub(super) fn past(&self) -> impl Hash {
        (&self.holders, &self.killed)
    }

    // ---- a step

    #[inline]
    pub(super) fn begin(&mut self, step: Step) {
        self.hasher.begin(step);
    }

    #[inline]
    pub(super) fn end(&mut self) {
        self.hasher.end();
    }

    /// Records a crossing, if a trace is recorded.
    pub(super) fn note(&mut self, actor: Actor, what: impl FnOnce() -> Crossing) {
        if let Some(trace) = &mut self.trace {
            trace.push(self.hasher.steps() + 1, actor, what());
        }
    }

    /// A program has received the connection of a client.
    pub(super) fn received(&mut self, pid: Pid, client: Option<ClientId>) {
        if let Some(client) = client {
            self.holders.insert(client, pid);
        }
    }

    /// A process has ended.
    pub(super) fn ended(&mut self, pid: Pid, status: ExitStatus) {
        self.note(pid.into(), || Crossing::Ended(status));
        if status == ExitStatus::Signal(Signal::SIGKILL) {
            self.killed.insert(pid);
        }
    }

    #[inline]
    pub(super) fn call(&mut self, pid: Pid, call: &Call) {
        self.note(pid.into(), || Crossing::Call { call: call.clone(), answer: None });
        self.hasher.call(call);
    }

    /// Records the answer to the last call.
    #[inline]
    pub(super) fn answer(&mut self, answer: &OsEvent) {
        self.hasher.input(answer);
        if let Some(trace) = &mut self.trace {
            trace.answer(answer);
        }
    }

    #[inline]
    pub(super) fn input(&mut self, pid: Pid, event: &OsEvent, client: Option<ClientId>) {
        self.note(pid.into(), || Crossing::Input { event: event.clone(), client });
        self.hasher.input(event);
    }

    #[inline]
    pub(super) fn observations(&mut self, log: &ObservationLog) {
        self.hasher.observations(log);
    }

    /// Records the faults that struck in a step. At the end of a run, a strike may have no other effect.
    #[inline]
    pub(super) fn strikes(&mut self, before: Lengths, schedule: &Schedule) {
        for fault in schedule.struck().iter().skip(before.struck) {
            self.hasher.strike(*fault);
        }
    }

    #[inline]
    pub(super) fn lengths(&self, log: &ObservationLog, schedule: &Schedule) -> Lengths {
        Lengths {
            rows: self.trace.as_ref().map_or(0, |trace| trace.rows().len()),
            struck: schedule.struck().len(),
            written: log.len(),
        }
    }

    /// Adds the faults that struck in a step, and the observations, to the trace.
    #[inline]
    pub(super) fn annotate(
        &mut self,
        step: Step,
        before: Lengths,
        log: &ObservationLog,
        schedule: &Schedule,
    ) {
        let Some(trace) = &mut self.trace else { return };
        let (step, at) = (self.hasher.steps() + 1, Actor::from(Owner::from(step)));
        for fault in schedule.struck().iter().skip(before.struck) {
            trace.strike(before.rows, step, at, *fault);
        }
        for line in log.since(before.written) {
            trace.push(step, line.observer, Crossing::Observation(line.text.clone()));
        }
    }
}

impl Lengths {
    /// Whether an observation was added or a fault has struck.
    #[inline]
    pub(super) fn has_grown(&self, written: usize, struck: usize) -> bool {
        written != self.written || struck != self.struck
    }
}
