//! The machine above the primary: it keeps a number of workers running and ready, replaces them, and shuts
//! them down. Time passes only by [`Call::SetTimer`](crate::Call::SetTimer). Each part has its own state and
//! decides its own next step; this file carries out the steps and emits the events.

use alloc::collections::VecDeque;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::{Event, Output, WorkerError};
use crate::os::{Call, OsEvent, TimerId, WorkerId};
use crate::primary::Primary;
use crate::pump::Machine;

mod age;
mod event_texts;
mod events;
mod lifecycle;
mod process;
mod processes;
mod reload;
mod restart;
mod scale;
mod shutdown;
mod slot_info;
mod slots;
pub(crate) mod supervisor_claims;
mod supervisor_settings;
mod timers;
mod transitions;

pub use events::{AbandonReason, RestartReason, StartFailure, SupervisorEvent};
use lifecycle::Lifecycle;
pub use lifecycle::SLOT_VARIABLE;
use process::{Phase, Process};
use reload::Replacements;
pub use reload::{ReloadId, ReloadScope};
pub use restart::GiveUpReason;
use restart::Intensity;
use scale::Scaling;
use shutdown::StagedShutdown;
pub use slot_info::{RecycleReason, SlotId, SlotInfo, SlotState};
use slots::Slots;
pub use supervisor_settings::{GiveUp, Readiness, RestartPolicy, SettingsError, SupervisorSettings};
use timers::{Deadline, ShutdownTimer};
use transitions::End;

/// A primary with a number of slots for workers. The supervisor starts the worker of each slot, replaces a
/// worker that exits, and ends all workers.
///
/// The workers start with the first [`Machine::poll`]. The last event is [`SupervisorEvent::Finished`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Supervisor {
    settings: SupervisorSettings,
    lifecycle: Lifecycle,
    slots: Slots,
    intensity: Intensity,
    replacements: Replacements,
    scaling: Scaling,
    shutdown: StagedShutdown,
    /// The worker that has sent the last input, if connections are limited.
    last_reader: Option<WorkerId>,
    events: VecDeque<SupervisorEvent>,
}

impl Supervisor {
    /// A supervisor that starts its workers.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] if the settings contradict each other, or if no worker can be forked with the spawn
    /// options.
    pub fn new(mut settings: SupervisorSettings) -> Result<Self, SettingsError> {
        settings.check()?;
        let mut primary = core::mem::take(&mut settings.primary);
        primary.keep_listening = true;
        primary.retained_channel_timeout = Some(settings.retained_channel_timeout);
        let mut primary = Primary::new(primary);
        primary.supervised().check_spawn().map_err(SettingsError::Fork)?;
        let slots = Slots::new(settings.workers);
        let ids: alloc::vec::Vec<SlotId> = slots.ids().collect();
        let mut supervisor = Supervisor {
            lifecycle: Lifecycle::new(primary, settings.timeouts()),
            settings,
            slots,
            intensity: Intensity::default(),
            replacements: Replacements::default(),
            scaling: Scaling::default(),
            shutdown: StagedShutdown::default(),
            last_reader: None,
            events: VecDeque::new(),
        };
        for slot in ids {
            supervisor.start(slot);
        }
        Ok(supervisor)
    }

    /// The primary.
    pub fn primary(&self) -> &Primary {
        self.lifecycle.primary()
    }

    /// The settings. The settings of the primary are not included.
    pub fn settings(&self) -> &SupervisorSettings {
        &self.settings
    }

    /// The primary, to send messages and to change the options of later workers. A worker that the program
    /// forks here has no slot, and is not supervised. If the program disconnects a supervised worker here,
    /// the worker is replaced as after any other exit.
    pub fn primary_mut(&mut self) -> &mut Primary {
        self.lifecycle.primary_mut()
    }

    /// The slots, in order of their numbers.
    pub fn slots(&self) -> impl Iterator<Item = SlotInfo> {
        let infos = self.slots.infos(&self.lifecycle);
        infos.map(|info| SlotInfo { recycle: self.replacements.requested(info.slot), ..info })
    }

    /// The slot of a worker, until the worker has exited.
    pub fn slot_of(&self, worker: WorkerId) -> Option<SlotId> {
        self.lifecycle.processes().get(worker).map(Process::slot)
    }

    /// Whether a worker is ready and holds its slot: it is neither starting, nor asked to exit, nor
    /// disconnected.
    pub fn is_ready(&self, worker: WorkerId) -> bool {
        self.lifecycle.processes().is_ready(worker)
    }

    /// Sets whether the program waits for replies of a worker. When a busy worker is asked to exit, it is
    /// disconnected only when it is no longer busy. [`drain`](SupervisorSettings::drain), or the time of a
    /// shutdown, bounds this wait.
    pub fn set_busy(&mut self, worker: WorkerId, busy: bool) {
        self.lifecycle.set_busy(worker, busy, self.shutdown.drain(self.settings.drain));
    }

    /// Kills a worker, and replaces it as after a requested exit: the exit does not count as a restart.
    pub fn kill_worker(&mut self, worker: WorkerId) {
        self.lifecycle.kill_requested(worker);
    }

    /// Sets a timer of the program: [`SupervisorEvent::Timer`] follows after this time, unless the supervisor
    /// has finished before. A timer cannot be cancelled.
    pub fn set_timer(&mut self, after: Duration) -> TimerId {
        self.lifecycle.set_program_timer(after)
    }

    /// Replaces the worker of every slot, [`surge`](SupervisorSettings::surge) slots at a time: a successor
    /// starts, and when it is ready, the old worker is asked to exit. Suspended slots start as well. A reload
    /// requested during another reload begins after it; if one is waiting already, the requests are joined.
    ///
    /// [`SupervisorEvent::ReloadFinished`] or [`SupervisorEvent::ReloadAbandoned`] follows with the returned
    /// id, unless the supervisor was shutting down already.
    pub fn reload(&mut self) -> ReloadId {
        self.replacements.request_reload()
    }

    /// Replaces the worker of one slot, like a reload of this slot alone, or starts the worker of a suspended
    /// slot. Recycles run one at a time. If a worker was forked in the slot after the request, it is not
    /// replaced. `None`: no slot has this number.
    pub fn restart_slot(&mut self, slot: SlotId) -> Option<ReloadId> {
        let last = self.slots.get(slot)?.last_fork();
        Some(self.replacements.request_recycle(slot, last, RecycleReason::Command))
    }

    /// Abandons the reload or recycle in progress: [`SupervisorEvent::ReloadAbandoned`] follows with the
    /// returned id. A successor that is not ready exits, and the old worker of its slot continues to serve;
    /// slots with a new worker keep the new worker. The next requested reload or recycle begins. `None`: no
    /// reload or recycle is in progress.
    pub fn abandon_reload(&mut self) -> Option<ReloadId> {
        let id = self.replacements.in_progress()?;
        self.abandon(AbandonReason::Requested);
        Some(id)
    }

    /// Reports the resident memory of a worker. A worker with more than
    /// [`max_memory`](SupervisorSettings::max_memory) is recycled. If a recycle is abandoned, the next one
    /// waits for the pause of [`backoff`](SupervisorSettings::backoff).
    pub fn report_memory(&mut self, worker: WorkerId, bytes: u64) {
        if self.settings.max_memory.is_some_and(|limit| bytes > limit) {
            let reason = RecycleReason::Memory { bytes };
            self.replacements.recycle(worker, reason, &self.slots, self.lifecycle.processes());
        }
    }

    /// Changes the number of slots. The slots with the highest numbers are removed, and their workers are
    /// asked to exit. [`SupervisorEvent::Scaled`] follows when these workers have exited and every slot is
    /// ready or suspended. Has no effect during a shutdown.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] if the number contradicts the settings, is 0, or is greater than 65,536.
    pub fn scale(&mut self, workers: u32) -> Result<(), SettingsError> {
        self.settings.check_workers(workers)?;
        if self.is_shutting_down() {
            return Ok(());
        }
        self.scaling.begin();
        for (slot, workers) in self.slots.remove_from(workers) {
            self.replacements.remove(slot);
            for worker in workers {
                self.scaling.wait_for(worker);
                self.lifecycle.retire(worker, Some(self.settings.drain));
            }
        }
        for slot in self.slots.add_up_to(workers) {
            self.start(slot);
        }
        Ok(())
    }

    /// Shuts down: stops accepting, hands off the queued connections, asks every worker to exit, and waits
    /// for [`SupervisorSettings::shutdown`]; then SIGTERM, then SIGKILL. If a handoff is not acknowledged, it
    /// delays the request to exit by at most [`lame_duck`](SupervisorSettings::lame_duck). A second call
    /// sends SIGTERM earlier, a third SIGKILL; a call within [`hurry_after`](SupervisorSettings::hurry_after)
    /// after the last has no effect. [`SupervisorEvent::Finished`] is the last event.
    pub fn shutdown(&mut self) {
        let Some(step) = self.shutdown.request() else { return };
        if !self.settings.hurry_after.is_zero() {
            self.shutdown.expect_repetition();
            let repetition = Deadline::Shutdown(ShutdownTimer::Repetition);
            self.lifecycle.set_timer(repetition, self.settings.hurry_after);
        }
        self.shut_down(Some(step));
    }

    /// Whether a shutdown was requested, or the supervisor has given up.
    pub fn is_shutting_down(&self) -> bool {
        !self.shutdown.is_running()
    }

    /// Whether [`SupervisorEvent::Finished`] was emitted, or is the next event.
    pub fn is_finished(&self) -> bool {
        self.shutdown.is_finished()
    }

    // ---- inputs

    fn expired(&mut self, deadline: Deadline) {
        match deadline {
            Deadline::Ready(worker) => {
                if let Some(slot) = self.lifecycle.fail_start(worker) {
                    let failure = StartFailure::Timeout(self.settings.ready_timeout);
                    self.start_failed(slot, Some(worker), failure);
                    self.lifecycle.withdraw(worker);
                }
            }
            Deadline::Stable(worker) => {
                if let Some(process) = self.lifecycle.processes().get(worker)
                    && process.phase() == Phase::Ready
                {
                    self.slots.stable(process.slot());
                }
            }
            Deadline::Lame(worker) => {
                self.lifecycle.disconnect(worker, self.shutdown.drain(self.settings.drain));
            }
            Deadline::Report(worker) => self.lifecycle.ask(worker),
            Deadline::Drain(worker) => self.lifecycle.end_drain(worker),
            Deadline::Term(worker) => self.lifecycle.kill(worker),
            Deadline::Kill(worker) => self.ended(worker, End::Stuck),
            Deadline::Backoff(slot, failures) => {
                if self.slots.get(slot).is_some_and(|slot| slot.is_backing_off(failures)) {
                    self.start(slot);
                }
            }
            Deadline::Recycle(worker) => self.lifecycle.permit_recycle(worker),
            Deadline::Age(worker) => {
                // If this recycle is abandoned, another attempt follows.
                if self.lifecycle.processes().is_ready(worker) {
                    self.replacements.recycle(
                        worker,
                        RecycleReason::Age,
                        &self.slots,
                        self.lifecycle.processes(),
                    );
                    self.lifecycle.set_timer(Deadline::Age(worker), self.settings.ready_timeout);
                }
            }
            Deadline::Ping(worker) => self.lifecycle.watch(worker),
            Deadline::Pong(worker, seq) => {
                if let Some(slot) = self.lifecycle.kill_silent(worker, seq) {
                    self.events.push_back(SupervisorEvent::Hung { slot, worker });
                }
            }
            Deadline::Program(timer) => self.events.push_back(SupervisorEvent::Timer { timer }),
            Deadline::Counted => self.intensity.forget_one(),
            Deadline::Shutdown(ShutdownTimer::Finish)
                if self.lifecycle.primary_mut().supervised().abandon_retained_channels() =>
            {
                // The end follows after the last events of these workers.
                self.lifecycle.set_timer(Deadline::Shutdown(ShutdownTimer::Finish), Duration::ZERO);
            }
            Deadline::Shutdown(timer) => {
                let step = self.shutdown.expired(timer);
                self.shut_down(step);
            }
        }
    }

    fn react(&mut self, event: &Event) {
        match event {
            Event::Online { worker } => {
                self.lifecycle.introduce(*worker);
                if self.settings.readiness == Readiness::Online {
                    self.ready(*worker);
                }
            }
            Event::Listening { worker, .. } => self.listening(*worker),
            Event::Message { worker, message, .. } => {
                if let Readiness::Message(text) = &self.settings.readiness
                    && self
                        .lifecycle
                        .processes()
                        .get(*worker)
                        .is_some_and(|process| process.phase() == Phase::Starting)
                    && *message == **text
                {
                    self.ready(*worker);
                }
            }
            Event::Disconnect { worker } => {
                if let Some(slot) = self.lifecycle.channel_closed(*worker)
                    && self.settings.restart == RestartPolicy::Always
                    && self.slots.is_holder(slot, *worker)
                {
                    self.lost(slot, Some(*worker), RestartReason::Disconnected);
                }
            }
            Event::Exit { worker, status, .. } => self.ended(*worker, End::Exited(*status)),
            Event::Error { worker, error } => {
                if let WorkerError::Spawn { .. } = error {
                    self.ended(*worker, End::NotSpawned(error.clone()));
                }
            }
            Event::AllDisconnected => {
                let step = self.shutdown.finish();
                self.shut_down(step);
            }
            Event::Setup { .. } | Event::Fork { .. } | Event::AcceptFailed { .. } => {}
        }
    }

    /// Called when the primary has nothing left to do. Continues a replacement, a change of the number of
    /// slots, or a shutdown. False: nothing has changed.
    fn progress(&mut self) -> bool {
        if let Some(worker) = self.last_reader.take() {
            let count = self.lifecycle.acknowledged_by(worker);
            if self.settings.max_connections.is_some_and(|limit| count >= limit) {
                let reason = RecycleReason::Connections { count };
                self.replacements.recycle(worker, reason, &self.slots, self.lifecycle.processes());
            }
        }
        if self.is_shutting_down() {
            let step = self.shutdown.next(&mut self.lifecycle);
            return self.shut_down(step);
        }
        if let Some(step) = self.replacements.next(&self.slots, self.lifecycle.processes(), &self.settings) {
            self.replace(step);
            return true;
        }
        let is_scaled = self.scaling.finish(&self.slots, self.lifecycle.processes());
        if is_scaled {
            let workers = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
            self.events.push_back(SupervisorEvent::Scaled { workers });
        }
        is_scaled
    }
}

impl Machine for Supervisor {
    type Event = SupervisorEvent;

    fn handle(&mut self, event: OsEvent) {
        if let OsEvent::Timer { timer } = event
            && let Some(deadline) = self.lifecycle.fire(timer)
        {
            return self.expired(deadline);
        }
        if let OsEvent::Read { channel, .. } = &event
            && self.settings.max_connections.is_some()
        {
            self.last_reader = Some(WorkerId(channel.0));
        }
        self.primary_mut().handle(event);
    }

    fn poll(&mut self) -> Option<Output<SupervisorEvent>> {
        loop {
            if let Some(call) = self.poll_call() {
                return Some(Output::Call(call));
            }
            if let Some(event) = self.events.pop_front() {
                return Some(Output::Event(event));
            }
            match self.primary_mut().poll() {
                Some(Output::Call(call)) => return Some(Output::Call(call)),
                Some(Output::Event(event)) => {
                    self.react(&event);
                    return Some(Output::Event(SupervisorEvent::Primary(event)));
                }
                None if self.progress() => {}
                None => return None,
            }
        }
    }

    fn poll_call(&mut self) -> Option<Call> {
        self.lifecycle.poll_call()
    }
}
