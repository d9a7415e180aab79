//! The properties of every run, one in each file, and the failure of a check. A check only reads.

pub(crate) mod abandonment;
mod account;
pub(crate) mod acks;
pub(crate) mod capacity;
pub(crate) mod deadlines;
pub(crate) mod descriptors;
pub(crate) mod fairness;
pub(crate) mod false_blame;
pub(crate) mod fifo;
pub(crate) mod ids;
pub(crate) mod intensity;
pub(crate) mod ledger;
pub(crate) mod leftovers;
pub(crate) mod listening;
pub(crate) mod liveness;
pub(crate) mod loads;
pub(crate) mod messages;
pub(crate) mod order;
pub(crate) mod queues;
pub(crate) mod ready_slots;
pub(crate) mod requested;
pub(crate) mod slots;
pub(crate) mod stickiness;
pub(crate) mod supervision;
pub(crate) mod task_account;
pub(crate) mod task_cancels;
pub(crate) mod task_checks;
pub(crate) mod task_ends;
mod task_limits;
pub(crate) mod task_runs;
pub(crate) mod task_workers;
pub(crate) mod unowned;
pub(crate) mod weights;

use std::collections::BTreeSet;
use std::fmt;

use cluster_core::{
    Call, ConnectionState, Event, Primary, SchedulingPolicy, SocketId, Supervisor, SupervisorEvent,
    WorkerEvent, WorkerId,
};

use crate::cow::CowArc;
use crate::kernel::Kernel;
use crate::step::Pid;
use acks::Acks;
use fairness::Fairness;
use fifo::Fifo;
use ids::Ids;
use listening::Listening;
use liveness::Serving;
use loads::Loads;
use messages::Messages;
use order::OrderCheck;
use stickiness::Stickiness;
use supervision::Supervision;
use task_account::TaskAccount;
use weights::Weights;

/// A property that is checked in every run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// No machine breaks an invariant of its own, and no program panics.
    Assertion,
    /// Every accepted connection is in exactly one place and never has two owners.
    Ledger,
    /// A worker answers each offered connection exactly once, and nothing that was not offered; the primary
    /// answers the queries of workers.
    Acks,
    /// Worker ids ascend; no id is used twice.
    Ids,
    /// The queues of the primary stay within the limits.
    Queues,
    /// No worker that keeps to the protocol is reported for breaking the protocol.
    FalseBlame,
    /// No retained channel and no process group of a dead worker remains longer than the settings of the
    /// primary permit.
    Leftovers,
    /// The events of each worker occur in an order and a number that Node's documentation and recordings
    /// permit.
    Order,
    /// Messages arrive in order and once; no message is lost that could be delivered.
    Messages,
    /// A worker that has received a connection receives no second connection before every worker that was
    /// free in the meantime has received a connection. No connection is refused while a worker listens.
    Fairness,
    /// Under the sticky policy, connections of one client address reach the same slot unless the slot cannot
    /// serve.
    Stickiness,
    /// Under least connections, no worker receives a connection while a worker with fewer is free; under two
    /// choices, not the worker with the most.
    Loads,
    /// Under the weighted policy, no worker receives many connections while another is free and receives
    /// none.
    Weights,
    /// The primary hands off queued connections in the order of arrival.
    Fifo,
    /// In the final state every open descriptor has a use. A descriptor is sent with the first byte of its
    /// line.
    Descriptors,
    /// With `keep_listening` a primary closes a listening socket only while every worker is asked to exit.
    Listening,
    /// After the last fault everything completes: every connection is served or closed, and every worker that
    /// was asked to exit has exited.
    Liveness,
    /// A supervisor takes a worker out of service only if enough other workers serve.
    Capacity,
    /// An abandoned reload leaves the old workers in service.
    Abandonment,
    /// A supervisor restarts no more often than the settings allow: within a time, and before a first worker
    /// is ready.
    Intensity,
    /// Each phase of a requested exit ends within its time.
    Deadlines,
    /// A requested exit causes no restart.
    Requested,
    /// No two workers in service share a slot.
    Slots,
    /// After the last fault every slot has a ready worker, or the shutdown has finished.
    Readiness,
    /// A supervisor closes no connection without an owner while a worker can serve the connection.
    Unowned,
    /// Each task that a pool has accepted ends once.
    TaskEnds,
    /// No task runs more often than its delivery allows: under at most once, a task runs once.
    TaskRuns,
    /// A cancelled task has no result.
    TaskCancels,
    /// A worker is killed for the time limit of a task within an eighth after the limit.
    TaskLimits,
    /// No task is sent to a worker that is not ready or was asked to exit.
    TaskWorkers,
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
            Check::Leftovers => "leftovers",
            Check::Order => "order",
            Check::Messages => "messages",
            Check::Fairness => "fairness",
            Check::Stickiness => "stickiness",
            Check::Loads => "loads",
            Check::Weights => "weights",
            Check::Fifo => "fifo",
            Check::Descriptors => "descriptors",
            Check::Listening => "listening",
            Check::Liveness => "liveness",
            Check::Capacity => "capacity",
            Check::Abandonment => "abandonment",
            Check::Intensity => "intensity",
            Check::Deadlines => "deadlines",
            Check::Requested => "requested",
            Check::Slots => "slots",
            Check::Readiness => "readiness",
            Check::Unowned => "unowned",
            Check::TaskEnds => "task_ends",
            Check::TaskRuns => "task_runs",
            Check::TaskCancels => "task_cancels",
            Check::TaskLimits => "task_limits",
            Check::TaskWorkers => "task_workers",
        })
    }
}

/// A failed check.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    /// The failed check.
    pub check: Check,
    /// The description of the violation.
    pub what: String,
    /// The number of steps before the failure.
    pub step: u64,
    /// The replay line.
    pub replay: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.summary(), self.replay)
    }
}

impl Failure {
    /// The violation and the step, without the replay line.
    pub fn summary(&self) -> String {
        let Failure { check, step, what, .. } = self;
        format!("the check `{check}` fails at step {step}: {what}")
    }
}

/// Prints the text instead of the fields: an error returned by `main` then shows the replay line.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}

/// The memory of the checks. Each larger part is copy-on-write, and is written only at a change: a write ends
/// the sharing with the copies of the world.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Checks {
    pub(crate) serving: CowArc<Serving>,
    pub(crate) order: CowArc<OrderCheck>,
    pub(crate) acks: CowArc<Acks>,
    pub(crate) messages: CowArc<Messages>,
    fairness: CowArc<Fairness>,
    stickiness: CowArc<Stickiness>,
    loads: CowArc<Loads>,
    weights: CowArc<Weights>,
    pub(crate) tasks: CowArc<TaskAccount>,
    supervision: CowArc<Supervision>,
    fifo: CowArc<Fifo>,
    ids: Ids,
    listening: Listening,
    /// The open connections of the ledger in id order, and the number of connections that workers own, both
    /// at the last check.
    ledger: CowArc<(Vec<(SocketId, ConnectionState)>, u64)>,
}

impl Checks {
    /// Checks an event before the program of the primary receives it.
    pub(crate) fn primary_event(
        &mut self,
        event: &Event,
        primary: &Primary,
        kernel: &Kernel,
    ) -> Result<(), (Check, String)> {
        self.ids.primary_event(event).map_err(|what| (Check::Ids, what))?;
        false_blame::primary_event(event, kernel).map_err(|what| (Check::FalseBlame, what))?;
        match event {
            Event::Listening { worker, address } => {
                self.fairness.listening(*worker, address, kernel);
                self.supervised_event(event);
            }
            Event::Message { worker, message, .. } => {
                let received = self.messages.received((*worker).into(), Pid::PRIMARY, message);
                received.map_err(|what| (Check::Messages, what))?;
                if !self.tasks.is_empty() && self.tasks.announced(*worker, message) {
                    self.supervision.announced(*worker);
                }
            }
            Event::Exit { worker, status, .. } => {
                self.messages.exited(*worker, *status, primary);
                self.supervised_event(event);
            }
            Event::Disconnect { .. } => self.supervised_event(event),
            Event::AllDisconnected => self.listening.all_disconnected(),
            Event::Fork { .. }
            | Event::Online { .. }
            | Event::Setup { .. }
            | Event::AcceptFailed { .. }
            | Event::Error { .. } => {}
        }
        self.order.primary_event(event, primary).map_err(|what| (Check::Order, what))
    }

    /// Checks an event before the program of a worker receives it.
    pub(crate) fn worker_event(
        checks: &mut CowArc<Checks>,
        pid: Pid,
        event: &WorkerEvent,
        kernel: &Kernel,
    ) -> Result<(), (Check, String)> {
        checks.order.may_receive(pid, event, kernel).map_err(|what| (Check::Order, what))?;
        match event {
            WorkerEvent::Listening { listener, address, .. } => {
                checks.serving.listening(pid, *listener, address.clone());
            }
            WorkerEvent::Closed { listener } => checks.serving.closed(pid, *listener),
            WorkerEvent::Disconnect => checks.order.disconnected(pid),
            WorkerEvent::Message { message, .. } => {
                let received = checks.messages.received(Pid::PRIMARY, pid, message);
                received.map_err(|what| (Check::Messages, what))?;
                if !checks.tasks.is_empty() {
                    task_checks::received(&mut checks.tasks, message)?;
                }
            }
            WorkerEvent::Connection { .. }
            | WorkerEvent::ListenFailed { .. }
            | WorkerEvent::LameDuck
            | WorkerEvent::Error { .. } => {}
        }
        Ok(())
    }

    /// Records bytes that the primary reads from a worker.
    pub(crate) fn primary_reads(checks: &mut CowArc<Checks>, worker: WorkerId, bytes: &[u8]) {
        if checks.fairness.concerns(bytes) {
            checks.fairness.read(worker, bytes);
        }
    }

    /// Records bytes that a primary reads from a worker, if the policy compares the reports in these bytes.
    pub(crate) fn reports_read(
        checks: &mut CowArc<Checks>,
        worker: WorkerId,
        bytes: &[u8],
        policy: Option<SchedulingPolicy>,
    ) {
        if policy.is_some_and(Loads::concern) && checks.loads.concerns(bytes) {
            checks.loads.read(worker, bytes);
        }
    }

    /// Records a call of a primary without a supervisor, before the call is performed.
    pub(crate) fn primary_call(checks: &mut CowArc<Checks>, call: &Call, primary: &Primary, kernel: &Kernel) {
        if let Call::Close { .. } = call
            && primary.settings().keep_listening
        {
            checks.listening.call(call, kernel);
        }
    }

    /// Records an input of a supervised primary.
    pub(crate) fn supervised_input(checks: &mut CowArc<Checks>, at: u64, is_timer: bool) {
        checks.supervision.input(at, is_timer);
    }

    /// Records that the program of a supervised primary runs.
    pub(crate) fn supervised_program_runs(checks: &mut CowArc<Checks>) {
        if checks.supervision.is_by_timer() {
            checks.supervision.program_runs();
        }
    }

    /// Checks a call of a supervised primary before the call is performed.
    pub(crate) fn supervised_call(
        &mut self,
        call: &Call,
        supervisor: &Supervisor,
        kernel: &Kernel,
    ) -> Result<(), (Check, String)> {
        if !self.tasks.is_empty()
            && let Some((worker, task)) = task_account::sent_task(call)
        {
            task_checks::sent(&mut self.tasks, worker, task, self.supervision.account())?;
        }
        if !Supervision::concerns(call) {
            return Ok(());
        }
        self.supervision.call(call, supervisor, kernel)
    }

    /// Records an event of a supervised primary; does nothing for other primaries.
    fn supervised_event(&mut self, event: &Event) {
        if !self.supervision.is_empty() {
            self.supervision.primary_event(event);
        }
    }

    /// Checks an event of a supervisor before the program receives the event.
    pub(crate) fn supervisor_event(
        &mut self,
        event: &SupervisorEvent,
        supervisor: &Supervisor,
        kernel: &Kernel,
    ) -> Result<(), (Check, String)> {
        self.supervision.event(event, supervisor, kernel)
    }

    /// Checks the state of an idle supervised primary.
    pub(crate) fn supervised_at_rest(
        &mut self,
        kernel: &Kernel,
        supervisor: &Supervisor,
    ) -> Result<(), (Check, String)> {
        self.supervision.slots_at_rest(supervisor)?;
        self.tasks.found.clone().map_or(Ok(()), Err)?;
        if self.supervision.is_at_rest(supervisor) {
            return Ok(());
        }
        self.supervision.at_rest(supervisor, kernel)
    }

    /// Checks the final state of a supervised primary.
    pub(crate) fn supervised_at_the_end(
        &self,
        kernel: &Kernel,
        supervisor: &Supervisor,
    ) -> Result<(), (Check, String)> {
        task_ends::at_the_end(&self.tasks).map_err(|what| (Check::TaskEnds, what))?;
        self.supervision.at_the_end(supervisor, kernel)
    }

    /// Whether the ledger has changed since the last check.
    pub(crate) fn is_stale(&self, primary: &Primary) -> bool {
        let (open, owned) = &*self.ledger;
        primary.ledger().owned() != *owned || !primary.ledger().open().eq(open.iter().copied())
    }

    /// Checks a changed ledger as soon as the primary is idle.
    pub(crate) fn look_again(&mut self, kernel: &Kernel, primary: &Primary) -> Result<(), (Check, String)> {
        self.ledger = (primary.ledger().open().collect(), primary.ledger().owned()).into();
        let policy = primary.settings().policy;
        let client_of = |connection| fifo::client_of(connection, policy, kernel);
        let is_in_order = self.fifo.at_rest(&self.ledger.0, primary.ledger().returned(), client_of);
        is_in_order.map_err(|what| (Check::Fifo, what))?;
        let compares = Loads::concern(policy) || Weights::concern(policy);
        let was_free = if compares { self.fairness.free() } else { BTreeSet::new() };
        let new = self.fairness.at_rest(&self.ledger.0, kernel, primary);
        for (connection, (worker, port)) in new.map_err(|what| (Check::Fairness, what))? {
            if policy == SchedulingPolicy::Sticky {
                let listening = self.fairness.listening_with(worker, port);
                let given = self.stickiness.given(connection, (worker, port), listening, kernel, primary);
                given.map_err(|what| (Check::Stickiness, what))?;
            } else {
                let free = self.fairness.free_with(worker, port);
                let free: Vec<_> = free.filter(|other| was_free.contains(&(*other, port))).collect();
                let free = free.into_iter();
                if Loads::concern(policy) {
                    self.loads.given(worker, free, primary).map_err(|what| (Check::Loads, what))?;
                } else if Weights::concern(policy) {
                    let given = self.weights.given((worker, port), free, primary);
                    given.map_err(|what| (Check::Weights, what))?;
                }
                let takes_turns = policy == SchedulingPolicy::RoundRobin;
                let given = self.fairness.given(primary, worker, port, takes_turns);
                given.map_err(|what| (Check::Fairness, what))?;
            }
        }
        if Loads::concern(policy) {
            self.loads.settle();
        }
        Ok(())
    }

    /// Records a failed write of the primary to a worker.
    pub(crate) fn write_failed(&mut self, worker: WorkerId) {
        self.fairness.write_failed(worker);
        self.stickiness.write_failed(worker);
    }

    /// Checks the state of an idle primary.
    pub(crate) fn at_rest(kernel: &Kernel, primary: &Primary) -> Result<(), (Check, String)> {
        queues::at_rest(primary, kernel.processes.len()).map_err(|what| (Check::Queues, what))?;
        descriptors::at_rest(kernel, primary).map_err(|what| (Check::Descriptors, what))?;
        ledger::at_rest(kernel, primary).map_err(|what| (Check::Ledger, what))
    }

    /// Checks the final state, in which no step is enabled.
    pub(crate) fn at_the_end(
        &self,
        kernel: &Kernel,
        primary: Option<&Primary>,
    ) -> Result<(), (Check, String)> {
        descriptors::at_the_end(kernel, primary).map_err(|what| (Check::Descriptors, what))?;
        if let Some(primary) = primary {
            ledger::at_rest(kernel, primary).map_err(|what| (Check::Ledger, what))?;
            ledger::at_the_end(kernel, primary, &self.serving).map_err(|what| (Check::Ledger, what))?;
            leftovers::at_the_end(kernel, primary).map_err(|what| (Check::Leftovers, what))?;
            self.listening.at_the_end(kernel, primary).map_err(|what| (Check::Listening, what))?;
            acks::at_the_end(&self.acks, kernel, primary).map_err(|what| (Check::Acks, what))?;
            self.order.at_the_end(kernel).map_err(|what| (Check::Order, what))?;
            self.messages.at_the_end(kernel).map_err(|what| (Check::Messages, what))?;
        }
        liveness::at_the_end(kernel, primary, &self.serving).map_err(|what| (Check::Liveness, what))
    }
}
