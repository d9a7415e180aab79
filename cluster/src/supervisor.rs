//! A supervisor from the program's side: the machine above the primary, the operating system, signals, and
//! the commands of handles. The machine decides.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{future, io};

use cluster_core::{
    Candidate, Event, ReloadScope, SlotInfo, SlotState, SocketId, SupervisorEvent, SupervisorSettings,
    WorkerId, WorkerInfo,
};
use tokio::runtime::Handle;
use tracing::warn;

use crate::command_sender::CommandSender;
use crate::inputs::{Inputs, Taken};
use crate::primary::{self, ConnectionCounts};
use crate::requests::OpenRequests;
#[cfg(feature = "simulated")]
use crate::simulated::{self, Created};
use crate::system::{Held, System};
use crate::unix::{Pipes, Unix};

mod handed_state;
mod kept;
mod logging;
mod predecessor;
mod restart_reasons;
mod sending;
mod signal_commands;
mod supervisor_error;
mod supervisor_handle;
mod upgrade;
mod upgrade_error;
mod waiting;

pub use kept::Kept;
pub(crate) use logging::EventLog;
pub use predecessor::Predecessor;
pub use restart_reasons::RestartReasons;
use signal_commands::{SignalCommand, SignalCommands};
pub use supervisor_error::{HandleError, RunError, SupervisorError};
pub use supervisor_handle::{RequestedReload, SupervisorHandle};
pub use upgrade::Upgrade;
pub use upgrade_error::UpgradeError;
use waiting::Waiting;

/// A primary that keeps a number of workers running. The supervisor replaces workers that exit, reloads
/// without losing a connection, scales, and shuts down. Node has no counterpart; PM2 and systemd have some of
/// these functions.
///
/// ```no_run
/// # async fn program() -> Result<(), Box<dyn std::error::Error>> {
/// let settings = cluster::SupervisorSettings::new(4);
/// cluster::Supervisor::new(settings)?.run().await?;
/// # Ok(()) }
/// ```
///
/// Each worker runs in a *slot*, and [`slot`](crate::Worker::slot) is the number. A worker under a supervisor
/// ignores SIGHUP, SIGINT, SIGTERM, SIGTTIN and SIGTTOU where the program has no handler: a terminal and a
/// service manager signal the whole process group, and the supervisor decides.
///
/// The behaviour for each kind of program, with or without servers:
///
/// | the program | behaviour |
/// |---|---|
/// | never becomes ready | [`StartFailed`](SupervisorEvent::StartFailed) with `Timeout` after `ready_timeout`, SIGTERM, and SIGKILL after `term` |
/// | exits before the worker is ready, also with code 0 | `StartFailed` with `Exited`; the next start follows after the backoff. After `failed_starts` failures in a row, [`GaveUp`](SupervisorEvent::GaveUp) |
/// | ignores SIGTERM | SIGKILL after `term` |
/// | forks and exits | as after an exit. If the child holds the channel, the channel is closed after `retained_channel_timeout`, with [`WorkerError::RetainedChannel`](crate::WorkerError::RetainedChannel), and the child gets SIGKILL if the worker has a process [group](crate::SpawnOptions::process_group) |
/// | closes its channel and continues | a ready worker is replaced at once, and gets SIGTERM after `drain`. A worker that is not ready gets SIGTERM after `term`, and the exit counts as a failed start |
/// | does not exist, or is not executable | `StartFailed` with `Spawn` and the path; `GaveUp` with [`CannotStart`](crate::GiveUpReason::CannotStart) if no worker was ever ready. If a worker was ready before, as in a deployment, the start is repeated with growing pauses; a reload is abandoned, and the old workers continue to serve |
///
/// Events outside of the workers have a stated behaviour as well:
///
/// | what happens | behaviour |
/// |---|---|
/// | the file of the program is replaced | a reload starts the new file at the path; if the file is missing, the reload is abandoned with the path in the error |
/// | a worker is stopped (SIGSTOP) | SIGTERM has no effect; SIGKILL follows after `drain` and `term`, and ends the worker and the reload |
/// | SIGKILL ends the primary | under round robin the port is free at once, because only the primary holds the listening sockets. The channels close, and a worker of this library exits within five seconds, or at once with [`parent_death_signal`](crate::SpawnOptions::parent_death_signal). Children of a worker continue, even in a [group](crate::SpawnOptions::process_group): the parent-death signal reaches only direct children of the primary |
/// | the primary has the process id 1, as in a container | [`run`](Supervisor::run) reaps orphans. When the primary ends, even by SIGKILL, the kernel ends every process of the container. The kernel drops a signal to this process if there is no handler: `run` installs handlers, a [`Primary`](crate::Primary) or a [`Pool`](crate::Pool) does not |
///
/// A supervisor advances only while [`next`](Supervisor::next) or [`run`](Supervisor::run) is awaited. If a
/// supervisor is dropped before the last event, the workers lose the primary: see
/// [`Primary`](crate::Primary#drop).
#[derive(Debug)]
pub struct Supervisor {
    machine: Held<cluster_core::Supervisor>,
    system: System,
    inputs: Inputs<Supervisor>,
    runtime: Handle,
    signals: Option<SignalCommands>,
    waiting: Waiting,
    /// The socket of the last event, closed at the next poll.
    unclaimed: Option<SocketId>,
    requests: OpenRequests,
    /// Signals to unblock at the first poll, after a hand-over.
    blocked_signals: Vec<i32>,
}

/// The number of cores of a simulated machine. The number does not depend on the real machine.
#[cfg(feature = "simulated")]
const SIMULATED_CORES: u32 = 2;

/// The number of workers that keep every core busy: the cores available to this process, at least 1.
pub fn cores() -> u32 {
    #[cfg(feature = "simulated")]
    if simulated::is_simulated() {
        return SIMULATED_CORES;
    }
    std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}

impl Supervisor {
    /// Creates a supervisor. The workers start when the supervisor is first awaited.
    ///
    /// # Errors
    /// As [`Primary::new`](crate::Primary::new), or [`SupervisorError::Settings`].
    pub fn new(settings: SupervisorSettings) -> Result<Self, SupervisorError> {
        let (mut runtime, mut unread_output) = (None, 0);
        let settings = settings.map_primary(|mut primary| {
            runtime = Some(primary::prepare(&mut primary));
            unread_output = primary.limits.unread_output_bytes;
            let ignore = primary.spawn.ignore_terminal_signals.unwrap_or(true);
            primary.spawn = primary.spawn.ignore_terminal_signals(ignore);
            primary
        });
        let runtime =
            runtime.expect("the settings of the primary were changed").map_err(SupervisorError::Primary)?;
        Ok(Supervisor {
            machine: supervisor_machine(settings)?,
            system: System::of_primary(unread_output),
            inputs: Inputs::default(),
            runtime,
            signals: None,
            waiting: Waiting::default(),
            unclaimed: None,
            requests: OpenRequests::default(),
            blocked_signals: Vec::new(),
        })
    }

    /// Runs until the shutdown is complete, and [handles signals](Supervisor::handle_signals). Also shuts
    /// down when every slot is [suspended](crate::SlotState::Suspended), because no worker would start again.
    ///
    /// The events are logged with `tracing`: restarts and abandoned reloads as warnings, events of the
    /// primary at the level `debug`. A killed worker is replaced when the channel closes, often before the
    /// exit status is known; the warning is logged with the exit status. Without a subscriber of `tracing`
    /// nothing is printed. To print the events in another way, use [`run_with`](Supervisor::run_with): each
    /// event has a text, see the example `http`.
    ///
    /// # Errors
    /// The signals cannot be handled. Or the supervisor has given up, and either no worker is ready or the
    /// settings demand an exit code other than 0 ([`GiveUp::Exit`](crate::GiveUp::Exit)); the source of the
    /// error is the reason of the last restart.
    pub async fn run(self) -> Result<(), RunError> {
        self.run_with(|_, _| ()).await
    }

    /// As [`run`](Supervisor::run), and calls `react` with each event, where the program may command the
    /// supervisor.
    ///
    /// # Errors
    /// As [`run`](Supervisor::run).
    pub async fn run_with(
        mut self,
        mut react: impl FnMut(&mut Supervisor, &SupervisorEvent),
    ) -> Result<(), RunError> {
        self.handle_signals().map_err(RunError::Signals)?;
        self.reap_as_init();
        let mut log = EventLog::default();
        let mut gave_up = None;
        let mut exit_code = 0;
        while let Some(event) = self.next().await {
            react(&mut self, &event);
            log.log(&event, |worker| self.worker(worker)?.pid());
            if self.is_without_future(&event) {
                exit_code = 1;
                self.shutdown();
            }
            if let SupervisorEvent::GaveUp { reason, slot, last } = event {
                gave_up = Some((reason, slot, last));
            } else if let SupervisorEvent::ReloadStarted { scope: ReloadScope::All, .. } = event {
                gave_up = None;
            } else if let SupervisorEvent::Finished { code } = event
                && code != 0
            {
                exit_code = code;
            }
        }
        match gave_up {
            Some((reason, slot, last)) if exit_code != 0 => {
                Err(RunError::GaveUp { reason, slot, last, code: exit_code })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether no worker serves, and no worker would start again.
    fn is_without_future(&self, event: &SupervisorEvent) -> bool {
        let has_slot = |has: fn(SlotState) -> bool| self.machine.slots().any(|slot| has(slot.state));
        let gave_up = matches!(event, SupervisorEvent::GaveUp { .. });
        let suspended = matches!(event, SupervisorEvent::SlotSuspended { .. });
        let is_over = (gave_up && !has_slot(|state| state == SlotState::Ready))
            || (suspended && !has_slot(|state| state != SlotState::Suspended));
        is_over && !self.machine.is_shutting_down()
    }

    /// Drives the cluster until the next event. After the last event, [`SupervisorEvent::Finished`], the call
    /// returns `None`. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<SupervisorEvent> {
        future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// A remote control, for other tasks and for reactions to events. The task that awaits the supervisor
    /// must not await a handle as well.
    pub fn handle(&mut self) -> SupervisorHandle {
        let commands = CommandSender::new(self.inputs.commands.sender(), self.inputs.progress.clone());
        SupervisorHandle::new(commands, self.waiting.is_finished())
    }

    /// From now on SIGTERM and SIGINT shut down, SIGHUP reloads, SIGTTIN adds a slot, and SIGTTOU removes a
    /// slot. A second SIGTERM, later than [`hurry_after`](crate::SupervisorSettings::hurry_after), sends
    /// SIGTERM to the workers, and SIGKILL after [`term`](crate::SupervisorSettings::term): a worker without
    /// a handler ignores the SIGTERM, and is killed by the SIGKILL. A third SIGTERM kills the workers at
    /// once.
    ///
    /// # Errors
    /// The runtime has no IO driver, or the kernel refuses.
    pub fn handle_signals(&mut self) -> io::Result<()> {
        let _context = self.runtime.enter();
        self.signals = Some(SignalCommands::new()?);
        Ok(())
    }

    /// Reaps orphans if this process has the process id 1.
    pub(crate) fn reap_as_init(&mut self) {
        #[cfg(target_os = "linux")]
        if self.system.as_unix().is_some()
            && std::process::id() == 1
            && let Err(error) = self.reap_orphans()
        {
            warn!(%error, "orphans are not reaped");
        }
    }

    /// As [`Primary::reap_orphans`](crate::Primary::reap_orphans). [`run`](Supervisor::run) and a
    /// [`Pool`](crate::Pool) call this method in a process with the id 1. Linux only.
    ///
    /// # Errors
    /// As [`Primary::reap_orphans`](crate::Primary::reap_orphans).
    #[cfg(target_os = "linux")]
    pub fn reap_orphans(&mut self) -> io::Result<()> {
        let _context = self.runtime.enter();
        self.system.unix().map_or(Ok(()), Unix::reap_orphans)
    }

    /// As [`Primary::choose_by`](crate::Primary::choose_by). After an upgrade the function must be set again.
    pub fn choose_by(
        &mut self,
        choose: impl Fn(Option<IpAddr>, &[Candidate]) -> usize + Send + Sync + 'static,
    ) {
        self.system.choose_by(Arc::new(choose));
    }

    /// Adopts a listening socket opened by a service manager before the start of this process (systemd:
    /// `LISTEN_FDS`). From now on, workers listening on the same address share the socket. The descriptor is
    /// duplicated, and becomes non-blocking.
    ///
    /// # Errors
    /// There is no such descriptor, or the descriptor is no TCP or Unix socket that can listen.
    pub fn adopt_listener(&mut self, descriptor: u32) -> io::Result<()> {
        self.system.unix().map_or(Ok(()), |unix| unix.adopt_listener(descriptor))
    }

    /// Shuts down. A second call, later than [`hurry_after`](crate::SupervisorSettings::hurry_after), sends
    /// SIGTERM to the workers; a third call sends SIGKILL.
    pub fn shutdown(&mut self) {
        self.command(cluster_core::Supervisor::shutdown);
    }

    /// Whether [`shutdown`](Supervisor::shutdown) was called, or the supervisor has given up.
    pub(crate) fn is_shutting_down(&self) -> bool {
        self.machine.is_shutting_down()
    }

    /// The slots, by ascending number.
    pub fn slots(&self) -> Vec<SlotInfo> {
        self.machine.slots().collect()
    }

    /// The state of a worker, until the call of [`next`](Supervisor::next) after the worker's last event.
    pub fn worker(&self, worker: WorkerId) -> Option<&WorkerInfo> {
        self.machine.primary().worker(worker)
    }

    /// As [`Primary::connections`](crate::Primary::connections).
    pub fn connections(&self) -> ConnectionCounts {
        ConnectionCounts::of(self.machine.primary().ledger())
    }

    /// Reports the resident memory of a worker, in bytes. The worker is replaced if the memory exceeds
    /// [`max_memory`](cluster_core::SupervisorSettings::max_memory).
    pub fn report_memory(&mut self, worker: WorkerId, bytes: u64) {
        self.command(|machine| machine.report_memory(worker, bytes));
    }

    /// As [`Primary::stdio`](crate::Primary::stdio).
    pub fn stdio(&mut self, worker: WorkerId) -> Pipes {
        self.system.take_pipes(worker)
    }

    pub(crate) fn command<T>(&mut self, act: impl FnOnce(&mut cluster_core::Supervisor) -> T) -> T {
        let _context = self.runtime.enter();
        let result = self.machine.change(act);
        self.system.flush(&mut self.machine);
        result
    }

    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<SupervisorEvent>> {
        self.unblock_signals();
        if let Some(socket) = self.unclaimed.take() {
            drop(self.system.take(socket));
            self.command(|machine| machine.primary_mut().release(socket));
        }
        loop {
            if let Some(event) = self.system.pump(&mut self.machine) {
                if let SupervisorEvent::Primary(event) = &event
                    && self.requests.take_event(event)
                {
                    continue;
                }
                self.waiting.settle(&event);
                if let SupervisorEvent::Primary(Event::Message { handle: Some(handle), .. }) = &event {
                    self.unclaimed = Some(handle.socket);
                }
                return Poll::Ready(Some(event));
            }
            self.system.retain_pipes(|worker| self.machine.primary().worker(worker).is_some());
            if self.take_input(cx) {
                continue;
            }
            let is_finished = self.machine.read(cluster_core::Supervisor::is_finished);
            return if is_finished && self.system.is_at_rest() { Poll::Ready(None) } else { Poll::Pending };
        }
    }

    /// Takes one input: a signal first, otherwise a command of a handle or an event of the operating system,
    /// in turn. False: no input is ready.
    fn take_input(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(Poll::Ready(command)) = self.signals.as_mut().map(|signals| signals.poll(cx)) {
            self.execute(command);
            return true;
        }
        match self.inputs.take(&mut self.machine, &mut self.system, cx) {
            Taken::Nothing => return false,
            Taken::Input => {}
            Taken::Command(command) => command(self),
        }
        true
    }

    fn execute(&mut self, command: SignalCommand) {
        let slots = u32::try_from(self.machine.slots().count()).unwrap_or(u32::MAX);
        let scaled = match command {
            SignalCommand::Shutdown => {
                self.shutdown();
                return;
            }
            SignalCommand::Reload => {
                self.command(cluster_core::Supervisor::reload);
                return;
            }
            SignalCommand::Grow => slots.saturating_add(1),
            SignalCommand::Shrink => slots.saturating_sub(1),
        };
        if let Err(error) = self.command(|machine| machine.scale(scaled)) {
            warn!(%error, "the number of workers is unchanged");
        }
    }
}

/// The machine of this process.
fn supervisor_machine(
    settings: SupervisorSettings,
) -> Result<Held<cluster_core::Supervisor>, SupervisorError> {
    let machine = cluster_core::Supervisor::new(settings).map_err(SupervisorError::Settings)?;
    #[cfg(feature = "simulated")]
    if simulated::is_simulated() {
        simulated::create::<cluster_core::Supervisor>(Created::Supervisor(machine.settings().clone()));
        return Ok(Held::lent());
    }
    Ok(machine.into())
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // Handles waiting for room then return `HandleError::Dropped`.
        self.inputs.progress.notify_waiters();
    }
}
