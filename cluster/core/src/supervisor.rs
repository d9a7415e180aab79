//! The machine above the primary: keeps a number of workers running and ready, and shuts them down. Time passes only by
//! [`Call::SetTimer`]. This file has the way of a slot from the start of a process to its unexpected
//! exit; `leaving` has the phases of a requested exit, `shutdown` the end of all workers.

use alloc::collections::VecDeque;
use alloc::string::ToString;
use core::time::Duration;

use crate::event::{Event, Output, WorkerError};
use crate::os::{Call, ExitStatus, OsEvent, WorkerId};
use crate::primary::Primary;
use crate::pump::Machine;

mod events;
mod leaving;
mod members;
mod recycle;
mod reload;
mod replacing;
mod restart;
mod scale;
mod shutdown;
mod slots;
mod supervisor_settings;
mod tasks;
mod timers;
mod watchdog;

pub use events::{AbandonReason, StartFailure, SupervisorEvent};
use members::{Departure, Members, Phase};
use reload::Replacements;
pub use reload::{RecycleReason, ReloadId, ReloadScope};
use restart::Intensity;
use scale::Scaling;
use shutdown::Stage;
pub use slots::{SlotId, SlotInfo, SlotState};
use slots::{Slots, Vacancy};
pub use supervisor_settings::{GiveUp, Readiness, RestartPolicy, SettingsError, SupervisorSettings};
use timers::{Due, Timers};

/// The variable with the number of the slot in the environment of a worker.
pub const SLOT_VARIABLE: &str = "CLUSTER_SLOT";

/// A primary with a fixed number of slots for workers. The supervisor starts the worker of each slot, replaces a worker
/// that exits, and ends all workers.
///
/// The workers start with the first [`Machine::poll`]. The last event is [`SupervisorEvent::Finished`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Supervisor {
    settings: SupervisorSettings,
    primary: Primary,
    slots: Slots,
    members: Members,
    timers: Timers,
    intensity: Intensity,
    replacements: Replacements,
    scaling: Scaling,
    /// The sender of the last input, if connections are limited.
    heard: Option<WorkerId>,
    stage: Stage,
    calls: VecDeque<Call>,
    events: VecDeque<SupervisorEvent>,
}

impl Supervisor {
    /// A supervisor that starts its workers.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] if the settings contradict each other, or no worker can be forked with the spawn options.
    pub fn new(mut settings: SupervisorSettings) -> Result<Self, SettingsError> {
        settings.check()?;
        let mut primary = core::mem::take(&mut settings.primary);
        primary.keep_listening = true;
        let mut primary = Primary::new(primary);
        primary.supervised().check_spawn().map_err(SettingsError::Fork)?;
        let mut supervisor = Supervisor {
            slots: Slots::new(settings.workers),
            settings,
            primary,
            members: Members::default(),
            timers: Timers::default(),
            intensity: Intensity::default(),
            replacements: Replacements::default(),
            scaling: Scaling::default(),
            heard: None,
            stage: Stage::Running,
            calls: VecDeque::new(),
            events: VecDeque::new(),
        };
        for slot in supervisor.slots.ids() {
            supervisor.start(slot);
        }
        Ok(supervisor)
    }

    /// The primary.
    pub fn primary(&self) -> &Primary {
        &self.primary
    }

    /// The settings, without those of the primary.
    pub fn settings(&self) -> &SupervisorSettings {
        &self.settings
    }

    /// The primary, for messages and for the options of later workers. A worker that the program forks here has no slot,
    /// and is not supervised. A supervised worker that the program disconnects here is replaced as after any other exit.
    pub fn primary_mut(&mut self) -> &mut Primary {
        &mut self.primary
    }

    /// The slots, in order of their numbers.
    pub fn slots(&self) -> impl Iterator<Item = SlotInfo> {
        self.slots.iter().map(|(id, slot)| {
            let phase = |worker| self.members.get(worker).map(|member| member.phase.into());
            let state = match slot.holder {
                Ok(worker) => phase(worker).unwrap_or(SlotState::Held),
                Err(Vacancy::BackingOff) => SlotState::BackingOff,
                Err(Vacancy::Held) => SlotState::Held,
            };
            let worker = slot.holder.ok();
            SlotInfo {
                slot: id,
                state,
                worker,
                successor: slot.successor,
                failures: slot.backoff.failures(),
                owned_connections: worker.map_or(0, |worker| self.owned_by(worker)),
            }
        })
    }

    /// The slot of a running worker, until the exit of the worker.
    pub fn slot_of(&self, worker: WorkerId) -> Option<SlotId> {
        self.members.get(worker).map(|member| member.slot)
    }

    // ---- starting

    /// Starts a process. `None`: the spawn options are impossible.
    fn fork(&mut self, slot: SlotId) -> Option<WorkerId> {
        match self.primary.fork_with_env([(SLOT_VARIABLE, slot.to_string())]) {
            Ok(worker) => {
                self.members.start(worker, slot);
                self.set_timer(Due::Ready(worker), self.settings.ready_timeout);
                Some(worker)
            }
            Err(error) => {
                self.start_failed(slot, None, StartFailure::Fork(error));
                None
            }
        }
    }

    /// Starts the worker of an empty slot.
    fn start(&mut self, id: SlotId) {
        self.replacements.restarted(id);
        let Some(worker) = self.fork(id) else { return self.lost(id, false, None) };
        if let Some(slot) = self.slots.get_mut(id) {
            slot.holder = Ok(worker);
        }
    }

    /// The worker's program has reported a server that listens.
    fn listening(&mut self, worker: WorkerId) {
        let Some(member) = self.members.get_mut(worker) else { return };
        member.listening += 1;
        let member = *member;
        let keys = self.primary.supervised().keys_of(worker);
        let Some(slot) = self.slots.get_mut(member.slot) else { return };
        match member.phase {
            Phase::Ready if slot.holder == Ok(worker) => slot.keys = keys,
            Phase::Starting if self.settings.readiness == Readiness::Listening => {
                let served = match slot.holder {
                    Ok(holder) if holder != worker => self.primary.supervised().keys_of(holder),
                    Ok(_) | Err(_) => slot.keys.clone(),
                };
                if member.listening >= served.len() && keys.is_superset(&served) {
                    self.ready(worker);
                }
            }
            Phase::Starting
            | Phase::Ready
            | Phase::Lame
            | Phase::Draining
            | Phase::Terminating
            | Phase::Killed => {}
        }
    }

    fn ready(&mut self, worker: WorkerId) {
        if !self.members.advance(worker, Phase::Ready) {
            return;
        }
        let Some(member) = self.members.get_mut(worker) else { return };
        member.was_ready = true;
        let slot = member.slot;
        let predecessor = self.promote(slot, worker);
        if let Some(slot) = self.slots.held_by(slot, worker) {
            slot.keys = self.primary.supervised().keys_of(worker);
        }
        if self.slots.held_by(slot, worker).is_some_and(|slot| slot.backoff.failures() > 0) {
            self.set_timer(Due::Stable(worker), self.settings.min_uptime);
        }
        self.limit_age(worker);
        self.watch(worker);
        self.events.push_back(SupervisorEvent::SlotReady { slot, worker });
        if let Some(predecessor) = predecessor {
            self.retire(predecessor);
        }
    }

    /// The worker is not ready in time.
    fn late(&mut self, worker: WorkerId) {
        let Some(member) = self.members.get_mut(worker) else { return };
        if member.phase != Phase::Starting || member.leaves.is_some() {
            return;
        }
        member.leaves = Some(Departure::Failed);
        let failure = StartFailure::Timeout(self.settings.ready_timeout);
        let slot = member.slot;
        self.start_failed(slot, Some(worker), failure);
        self.primary.supervised().lame_duck(worker);
        self.terminate(worker);
    }

    /// A worker was ready for `min_uptime`.
    fn stable(&mut self, worker: WorkerId) {
        let Some(member) = self.members.get(worker).filter(|member| member.phase == Phase::Ready) else {
            return;
        };
        if let Some(slot) = self.slots.held_by(member.slot, worker) {
            slot.backoff.reset();
        }
    }

    // ---- ends

    fn spawn_failed(&mut self, worker: WorkerId, error: WorkerError) {
        let Some(member) = self.members.remove(worker) else { return };
        let slot = member.slot;
        self.start_failed(slot, Some(worker), StartFailure::Spawn(error));
        if self.slots.held_by(slot, worker).is_some() {
            self.lost(slot, false, None);
        }
    }

    /// The channel of a worker is closed, and its process has not exited. The process serves no further client.
    fn disconnected(&mut self, worker: WorkerId) {
        let Some(member) = self.members.get_mut(worker) else { return };
        if member.leaves.is_some() || member.phase >= Phase::Draining {
            return;
        }
        let (slot, was_ready) = (member.slot, member.was_ready);
        member.phase = Phase::Draining;
        if !was_ready {
            // The exit follows, with the reason.
            return self.set_timer(Due::Drain(worker), self.settings.term);
        }
        self.set_timer(Due::Drain(worker), self.settings.drain);
        if self.settings.restart == RestartPolicy::Always && self.slots.held_by(slot, worker).is_some() {
            self.lost(slot, true, None);
        }
    }

    fn exited(&mut self, worker: WorkerId, status: ExitStatus) {
        let Some(member) = self.members.remove(worker) else { return };
        let slot = member.slot;
        self.report_end(worker, member, status);
        if member.leaves.is_none() && !member.was_ready {
            self.start_failed(slot, Some(worker), StartFailure::Exited(status));
        }
        let Some(held) = self.slots.held_by(slot, worker) else { return };
        match member.leaves {
            Some(Departure::Asked) => {
                held.holder = Err(Vacancy::Held);
                if self.is_running() {
                    self.start(slot);
                }
            }
            Some(Departure::Failed) | None => self.lost(slot, member.was_ready, Some(status)),
        }
    }

    /// A slot has lost its worker, which was not asked to exit.
    fn lost(&mut self, id: SlotId, was_ready: bool, status: Option<ExitStatus>) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        if !was_ready {
            slot.keys.clear();
        }
        let is_wanted = match self.settings.restart {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => !was_ready || status != Some(ExitStatus::Code(0)),
            RestartPolicy::Never => false,
        };
        slot.holder = slot.successor.take().ok_or(Vacancy::Held);
        if self.stage != Stage::Running || slot.holder.is_ok() {
            return;
        }
        if !is_wanted || self.intensity.gave_up() {
            return self.hold(id);
        }
        if !self.intensity.allows(self.settings.restarts) {
            return self.give_up(id);
        }
        let after = slot.backoff.next(self.settings.backoff);
        let failures = slot.backoff.failures();
        slot.holder = Err(Vacancy::BackingOff);
        self.set_timer(Due::Counted, self.settings.within);
        self.events.push_back(SupervisorEvent::Restarting { slot: id, after });
        if after.is_zero() {
            self.start(id);
        } else {
            self.set_timer(Due::Backoff(id, failures), after);
        }
    }

    fn hold(&mut self, slot: SlotId) {
        self.events.push_back(SupervisorEvent::SlotHeld { slot });
        if self.replacements.is_active(slot) {
            self.abandon(AbandonReason::Held { slot });
        }
    }

    /// The slots that wait for a start get no worker.
    fn give_up(&mut self, slot: SlotId) {
        let (restarts, within) = (self.intensity.counted(), self.settings.within);
        self.events.push_back(SupervisorEvent::GaveUp { restarts, within });
        for slot in core::iter::once(slot).chain(self.slots.hold_waiting()) {
            self.hold(slot);
        }
        match self.settings.give_up {
            GiveUp::Hold => {}
            GiveUp::Exit { code } => self.begin_shutdown(code),
        }
    }

    /// The pause of a slot has ended.
    fn rested(&mut self, id: SlotId, failures: u32) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        if slot.holder == Err(Vacancy::BackingOff) && slot.backoff.failures() == failures {
            self.start(id);
        }
    }

    // ---- inputs

    fn set_timer(&mut self, due: Due, after: Duration) {
        let timer = self.primary.supervised().next_timer();
        self.timers.add(timer, due);
        // A timer never fires early.
        let after_ms = u64::try_from(after.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        self.calls.push_back(Call::SetTimer { timer, after_ms });
    }

    fn due(&mut self, due: Due) {
        match due {
            Due::Ready(worker) => self.late(worker),
            Due::Stable(worker) => self.stable(worker),
            Due::Lame(worker) => self.disconnect(worker),
            Due::Report(worker) => self.ask(worker),
            Due::Drain(worker) => self.drained_too_long(worker),
            Due::Term(worker) => self.kill(worker),
            Due::Kill(worker) => self.stuck(worker),
            Due::Backoff(slot, failures) => self.rested(slot, failures),
            Due::Recycle(worker) => self.may_recycle(worker),
            Due::Age(worker) => self.aged(worker),
            Due::Ping(worker) => self.watch(worker),
            Due::Pong(worker, seq) => self.unanswered(worker, seq),
            Due::Counted => self.intensity.forget_one(),
            Due::Emptying => self.emptied(),
            Due::Shutdown => self.shut_down_too_long(),
            Due::Finish => self.finish(),
        }
    }

    fn react(&mut self, event: &Event) {
        match event {
            Event::Online { worker } if self.settings.readiness == Readiness::Online => self.ready(*worker),
            Event::Listening { worker, .. } => self.listening(*worker),
            Event::Message { worker, message, .. } => {
                if let Readiness::Message(text) = &self.settings.readiness
                    && self.members.get(*worker).is_some_and(|member| member.phase == Phase::Starting)
                    && *message == **text
                {
                    self.ready(*worker);
                }
            }
            Event::Disconnect { worker } => self.disconnected(*worker),
            Event::Exit { worker, status, .. } => self.exited(*worker, *status),
            Event::Error { worker, error } => {
                if let WorkerError::Spawn { .. } = error {
                    self.spawn_failed(*worker, error.clone());
                }
            }
            Event::AllDisconnected => self.all_disconnected(),
            Event::Online { .. } | Event::Setup { .. } | Event::Fork { .. } | Event::AcceptFailed { .. } => {}
        }
    }
}

impl Machine for Supervisor {
    type Event = SupervisorEvent;

    fn handle(&mut self, event: OsEvent) {
        if let OsEvent::Timer { timer } = event
            && let Some(due) = self.timers.fire(timer)
        {
            return self.due(due);
        }
        if let OsEvent::Read { channel, .. } = &event
            && self.settings.max_connections.is_some()
        {
            self.heard = Some(WorkerId(channel.0));
        }
        self.primary.handle(event);
    }

    fn poll(&mut self) -> Option<Output<SupervisorEvent>> {
        loop {
            if let Some(call) = self.poll_call() {
                return Some(Output::Call(call));
            }
            if let Some(event) = self.events.pop_front() {
                return Some(Output::Event(event));
            }
            match self.primary.poll() {
                Some(Output::Call(call)) => return Some(Output::Call(call)),
                Some(Output::Event(event)) => {
                    self.react(&event);
                    return Some(Output::Event(SupervisorEvent::Primary(event)));
                }
                None => {
                    if let Some(worker) = self.heard.take() {
                        self.limit_connections(worker);
                    }
                    if !self.settle() {
                        return None;
                    }
                }
            }
        }
    }

    fn poll_call(&mut self) -> Option<Call> {
        self.calls.pop_front().or_else(|| self.primary.poll_call())
    }
}
