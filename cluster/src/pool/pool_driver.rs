//! The task of the runtime that drives a pool: the supervisor, the machine of the pool, and the callers that
//! wait.

use std::collections::BTreeMap;
use std::future;
use std::sync::Arc;
use std::task::{Context, Poll};

use cluster_core::{ClosePolicy, KillReason, Message, PoolEvent, SupervisorEvent, TaskError, TaskId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tracing::{debug, warn};

use crate::supervisor::{EventLog, Supervisor};

/// The most commands in a row without a poll of the supervisor: a poll visits every worker.
const COMMANDS_IN_ROW: u8 = 64;

/// Identifies an accepted task until the machine has numbered the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(pub(super) u64);

type Outcome = Result<Message, TaskError>;

/// A task on the way to the machine.
pub(super) struct Submission {
    pub(super) ticket: Ticket,
    pub(super) payload: Message,
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) reply: oneshot::Sender<Outcome>,
}

/// A command of a handle. The number of commands is bounded by the permits and the callers.
pub(super) enum PoolCommand {
    Run(Submission),
    Cancel(Ticket),
    Shutdown { policy: ClosePolicy, reply: oneshot::Sender<()> },
}

/// The caller of an unfinished task.
struct Caller {
    ticket: Ticket,
    reply: oneshot::Sender<Outcome>,
    /// Present until the task has a first worker.
    permit: Option<OwnedSemaphorePermit>,
}

pub(super) struct PoolDriver {
    machine: cluster_core::Pool,
    supervisor: Supervisor,
    log: EventLog,
    commands: mpsc::UnboundedReceiver<PoolCommand>,
    room: Arc<Semaphore>,
    callers: BTreeMap<TaskId, Caller>,
    tasks: BTreeMap<Ticket, TaskId>,
    /// The callers of `shutdown`. The reply is the drop of the senders at the end.
    shutdowns: Vec<oneshot::Sender<()>>,
    /// Whether a handle of the pool exists.
    is_open: bool,
    /// The number of commands since the last poll of the supervisor.
    commands_in_row: u8,
}

/// An input of the driver. `None`: the source has ended.
enum PoolInput {
    Command(Option<PoolCommand>),
    Event(Option<SupervisorEvent>),
}

impl PoolDriver {
    pub(super) fn new(
        machine: cluster_core::Pool,
        supervisor: Supervisor,
        commands: mpsc::UnboundedReceiver<PoolCommand>,
        room: Arc<Semaphore>,
    ) -> Self {
        PoolDriver {
            machine,
            supervisor,
            log: EventLog::default(),
            commands,
            room,
            callers: BTreeMap::new(),
            tasks: BTreeMap::new(),
            shutdowns: Vec::new(),
            is_open: true,
            commands_in_row: 0,
        }
    }

    /// Runs until the last event of the supervisor. Callers that remain receive [`TaskError::Closed`].
    pub(super) async fn run(mut self) {
        loop {
            match future::poll_fn(|cx| self.poll_input(cx)).await {
                PoolInput::Command(Some(command)) => self.execute(command),
                PoolInput::Command(None) => {
                    self.is_open = false;
                    self.close(ClosePolicy::Fail);
                }
                PoolInput::Event(Some(event)) => {
                    if !self.machine.observe(&event) {
                        self.log.log(&event, |worker| self.supervisor.worker(worker)?.pid());
                    }
                    if matches!(event, SupervisorEvent::ShutdownStarted) {
                        self.room.close();
                    }
                }
                PoolInput::Event(None) => return self.room.close(),
            }
            self.advance();
        }
    }

    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<PoolInput> {
        if let Poll::Ready(input) = self.poll_sources(cx) {
            return Poll::Ready(input);
        }
        if !self.machine.is_congested() {
            return Poll::Pending;
        }
        // The operating system has woken the driver, perhaps because a channel has room again.
        self.machine.has_room();
        self.advance();
        self.poll_sources(cx)
    }

    fn poll_sources(&mut self, cx: &mut Context<'_>) -> Poll<PoolInput> {
        if self.commands_in_row < COMMANDS_IN_ROW
            && let Poll::Ready(command) = self.poll_command(cx)
        {
            self.commands_in_row += 1;
            return Poll::Ready(command);
        }
        self.commands_in_row = 0;
        match self.supervisor.poll_event(cx) {
            Poll::Ready(event) => Poll::Ready(PoolInput::Event(event)),
            Poll::Pending => self.poll_command(cx),
        }
    }

    fn poll_command(&mut self, cx: &mut Context<'_>) -> Poll<PoolInput> {
        if !self.is_open {
            return Poll::Pending;
        }
        self.commands.poll_recv(cx).map(PoolInput::Command)
    }

    fn execute(&mut self, command: PoolCommand) {
        match command {
            PoolCommand::Run(Submission { ticket, payload, permit, reply }) => {
                // The permit guarantees room: only a closed pool rejects a task. Then the reply is dropped,
                // and the caller observes the drop.
                if let Ok(task) = self.machine.run(&payload) {
                    self.tasks.insert(ticket, task);
                    self.callers.insert(task, Caller { ticket, reply, permit: Some(permit) });
                }
            }
            PoolCommand::Cancel(ticket) => {
                if let Some(task) = self.tasks.get(&ticket) {
                    self.machine.cancel(*task);
                }
            }
            PoolCommand::Shutdown { policy, reply } => {
                self.shutdowns.push(reply);
                self.close(policy);
            }
        }
    }

    /// Accepts no further task. Under `Drain` the supervisor shuts down after the last task, under `Fail` at
    /// once.
    fn close(&mut self, policy: ClosePolicy) {
        self.room.close();
        self.machine.close(policy);
        if policy == ClosePolicy::Fail && !self.supervisor.is_shutting_down() {
            self.supervisor.shutdown();
        }
    }

    /// Performs the outputs of the machine.
    fn advance(&mut self) {
        loop {
            let machine = &mut self.machine;
            let Some(event) = self.supervisor.command(|supervisor| machine.drive(supervisor)) else { return };
            debug!(?event, "pool");
            match event {
                PoolEvent::Started { task, .. } => {
                    if let Some(caller) = self.callers.get_mut(&task) {
                        caller.permit = None;
                    }
                }
                PoolEvent::Completed { task, outcome } => {
                    if let Some(Caller { ticket, reply, .. }) = self.callers.remove(&task) {
                        self.tasks.remove(&ticket);
                        // The caller may no longer wait.
                        let _ = reply.send(outcome);
                    }
                }
                PoolEvent::Killed { task, worker, reason: KillReason::TimeLimit } => {
                    warn!(
                        worker = worker.0,
                        "task {task} has exceeded `time_limit`, and its worker was killed"
                    );
                }
                PoolEvent::Killed { reason: KillReason::Cancelled, .. } => {}
                // A second call of `shutdown` would hurry the workers.
                PoolEvent::Empty if self.supervisor.is_shutting_down() => {}
                PoolEvent::Empty => self.supervisor.shutdown(),
            }
        }
    }
}
