//! What must be true of every run, one property a file, and what a failure says. The checks only look.

pub(crate) mod acks;
pub(crate) mod descriptors;
pub(crate) mod fairness;
pub(crate) mod false_blame;
pub(crate) mod fifo;
pub(crate) mod ids;
pub(crate) mod ledger;
pub(crate) mod liveness;
pub(crate) mod messages;
pub(crate) mod order;
pub(crate) mod queues;

use std::fmt;

use cluster_core::{ConnectionState, Event, Primary, SocketId, WorkerEvent};

use crate::cow::CowArc;
use crate::kernel::Kernel;
use crate::kernel::process_table::Pid;
use acks::Acks;
use fairness::Fairness;
use fifo::Fifo;
use ids::Ids;
use liveness::Serving;
use messages::Messages;
use order::OrderCheck;

/// A property that is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// No machine finds one of its own invariants broken, and no program panics.
    Assertion,
    /// Every accepted connection is in exactly one place, and no two programs ever have it.
    Ledger,
    /// A worker answers for a connection only if it was offered that connection, and once for each offer; and its
    /// questions are answered.
    Acks,
    /// Ids of workers ascend, and none is given twice.
    Ids,
    /// What waits in the primary stays within its limits.
    Queues,
    /// Who keeps to the protocol is never told that it broke it.
    FalseBlame,
    /// The events of each worker come in an order and number that Node's documentation and recordings allow.
    Order,
    /// Messages come in order, each once, and none is lost that could be delivered.
    Messages,
    /// No worker gets a second connection before everybody who was free all the time has got one, and none is turned away.
    Fairness,
    /// Of the connections that wait in the primary, who has come earlier is handed out earlier.
    Fifo,
    /// At the end nobody holds a descriptor that is of no use to anybody.
    Descriptors,
    /// When faults stop, everything comes to its end: connections are served or closed, workers that are to go, go.
    Liveness,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Check::Assertion => "assertion",
            Check::Ledger => "ledger",
            Check::Acks => "acks",
            Check::Ids => "ids",
            Check::Queues => "queues",
            Check::FalseBlame => "false_blame",
            Check::Order => "order",
            Check::Messages => "messages",
            Check::Fairness => "fairness",
            Check::Fifo => "fifo",
            Check::Descriptors => "descriptors",
            Check::Liveness => "liveness",
        })
    }
}

/// A check that failed.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub check: Check,
    /// What is wrong.
    pub what: String,
    /// After how many steps.
    pub step: u64,
    /// The line that replays the run.
    pub replay: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.summary(), self.replay)
    }
}

impl Failure {
    /// What is wrong and where, without the line that replays it.
    pub fn summary(&self) -> String {
        let Failure { check, step, what, .. } = self;
        format!("the check `{check}` fails at step {step}: {what}")
    }
}

cluster_core::debug_as_display!(Failure);

impl std::error::Error for Failure {}

/// What the checks remember. All but the smallest is a part of its own, and is written to only where there is something to
/// remember: whatever is written to, a world no longer shares with its copies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Checks {
    pub(crate) serving: CowArc<Serving>,
    pub(crate) order: CowArc<OrderCheck>,
    pub(crate) acks: CowArc<Acks>,
    pub(crate) messages: CowArc<Messages>,
    pub(crate) fairness: CowArc<Fairness>,
    fifo: CowArc<Fifo>,
    ids: Ids,
    /// What the ledger said at the last look, in the order of its numbers, and how many connections workers have.
    ledger: CowArc<(Vec<(SocketId, ConnectionState)>, u64)>,
}

impl Checks {
    /// The primary is about to hear an event.
    pub(crate) fn primary_event(
        &mut self,
        event: &Event,
        primary: &Primary,
        kernel: &Kernel,
    ) -> Result<(), (Check, String)> {
        self.ids.primary_event(event).map_err(|what| (Check::Ids, what))?;
        false_blame::primary_event(event, kernel).map_err(|what| (Check::FalseBlame, what))?;
        match event {
            Event::Listening { worker, address } => self.fairness.listening(*worker, address, kernel),
            Event::Message { worker, message, .. } => {
                let heard = self.messages.heard((*worker).into(), Pid::PRIMARY, message);
                heard.map_err(|what| (Check::Messages, what))?;
            }
            Event::Exit { worker, status, .. } => self.messages.exited(*worker, *status, primary),
            Event::Fork { .. }
            | Event::Online { .. }
            | Event::Disconnect { .. }
            | Event::AllDisconnected
            | Event::Setup { .. }
            | Event::AcceptFailed { .. }
            | Event::Error { .. } => {}
        }
        self.order.primary_event(event, primary).map_err(|what| (Check::Order, what))
    }

    /// A worker is about to hear an event.
    pub(crate) fn worker_event(
        checks: &mut CowArc<Checks>,
        pid: Pid,
        event: &WorkerEvent,
        kernel: &Kernel,
    ) -> Result<(), (Check, String)> {
        checks.order.may_hear(pid, event, kernel).map_err(|what| (Check::Order, what))?;
        match event {
            WorkerEvent::Listening { listener, address, .. } => {
                checks.serving.listening(pid, *listener, address.clone());
            }
            WorkerEvent::Closed { listener } => checks.serving.closed(pid, *listener),
            WorkerEvent::Disconnect => checks.order.disconnected(pid),
            WorkerEvent::Message { message, .. } => {
                let heard = checks.messages.heard(Pid::PRIMARY, pid, message);
                heard.map_err(|what| (Check::Messages, what))?;
            }
            WorkerEvent::Connection { .. } | WorkerEvent::ListenFailed { .. } | WorkerEvent::Error { .. } => {
            }
        }
        Ok(())
    }

    /// Whether the ledger says something else than at the last look.
    pub(crate) fn is_stale(&self, primary: &Primary) -> bool {
        let (open, owned) = &*self.ledger;
        primary.ledger().owned() != *owned || !primary.ledger().open().eq(open.iter().copied())
    }

    /// The ledger has changed, and the primary has nothing left to do.
    pub(crate) fn look_again(&mut self, kernel: &Kernel, primary: &Primary) -> Result<(), (Check, String)> {
        self.ledger = (primary.ledger().open().collect(), primary.ledger().owned()).into();
        self.fifo.at_rest(&self.ledger.0, primary.ledger().returned()).map_err(|what| (Check::Fifo, what))?;
        self.fairness.at_rest(&self.ledger.0, kernel, primary).map_err(|what| (Check::Fairness, what))
    }

    /// The primary has nothing left to do.
    pub(crate) fn at_rest(kernel: &Kernel, primary: &Primary) -> Result<(), (Check, String)> {
        queues::at_rest(primary, kernel.processes.len()).map_err(|what| (Check::Queues, what))?;
        descriptors::at_rest(kernel, primary).map_err(|what| (Check::Descriptors, what))?;
        ledger::at_rest(kernel, primary).map_err(|what| (Check::Ledger, what))
    }

    /// Nothing can happen any more.
    pub(crate) fn at_the_end(
        &self,
        kernel: &Kernel,
        primary: Option<&Primary>,
    ) -> Result<(), (Check, String)> {
        descriptors::at_the_end(kernel, primary).map_err(|what| (Check::Descriptors, what))?;
        if let Some(primary) = primary {
            ledger::at_rest(kernel, primary).map_err(|what| (Check::Ledger, what))?;
            ledger::at_the_end(kernel, primary, &self.serving).map_err(|what| (Check::Ledger, what))?;
            acks::at_the_end(&self.acks, kernel, primary).map_err(|what| (Check::Acks, what))?;
            self.order.at_the_end(kernel).map_err(|what| (Check::Order, what))?;
            self.messages.at_the_end(kernel).map_err(|what| (Check::Messages, what))?;
        }
        liveness::at_the_end(kernel, primary, &self.serving).map_err(|what| (Check::Liveness, what))
    }
}
