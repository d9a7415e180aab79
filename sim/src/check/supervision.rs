//! What the checks of a supervisor have in common: this file writes the account of supervised processes, from
//! the calls and the events of the primary, and calls the checks. The other files have the properties.

use cluster_core::{
    AbandonReason, Call, Event, Signal, SlotId, StartFailure, Supervisor, SupervisorEvent, WorkerId,
};

use super::account::{Account, Input, Life};
use super::{Check, abandonment, capacity, deadlines, intensity, ready_slots, requested, slots, unowned};
use crate::kernel::Kernel;

/// The memory of the checks of a supervisor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Supervision {
    account: Account,
    intensity: intensity::Restarts,
    unowned: unowned::ClosedUnowned,
}

/// The worker that a call asks to exit, and the kind of request as an index of [`Life::asked`].
fn request(call: &Call) -> Option<(WorkerId, usize)> {
    if let Call::Kill { worker, signal } = call {
        return Some((*worker, if *signal == Signal::SIGTERM { 2 } else { 3 }));
    }
    let Call::Write { channel, bytes, .. } = call else { return None };
    let contains = |part: &str| bytes.windows(part.len()).any(|at| at == part.as_bytes());
    let requests = ["NODE_CLUSTER_LAME_DUCK", "\"act\":\"disconnect\""];
    requests.iter().position(|part| contains(part)).map(|at| (WorkerId(channel.0), at))
}

impl Supervision {
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// Whether no process was supervised so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.account.lives.is_empty()
    }

    /// Whether [`at_rest`](Supervision::at_rest) has already checked this state.
    pub(crate) fn is_at_rest(&self, supervisor: &Supervisor) -> bool {
        self.unowned.is_current(supervisor)
    }

    /// Whether the call starts a process or asks for an exit.
    pub(crate) fn concerns(call: &Call) -> bool {
        let is_noted = matches!(call, Call::Spawn { .. } | Call::CloseChannel { .. } | Call::SetTimer { .. });
        is_noted || request(call).is_some()
    }

    /// Records an input of the primary.
    pub(crate) fn input(&mut self, at: u64, is_timer: bool) {
        self.account.last_input = Input { at, is_timer };
    }

    /// Whether the last input is a timer, and the program of the primary has not run since.
    pub(crate) fn is_by_timer(&self) -> bool {
        self.account.last_input.is_timer
    }

    /// Records that the program of the primary runs: its commands may cause the next calls.
    pub(crate) fn program_runs(&mut self) {
        self.account.last_input.is_timer = false;
    }

    /// Checks a call of the primary before the call is performed.
    pub(crate) fn call(
        &mut self,
        call: &Call,
        supervisor: &Supervisor,
        kernel: &Kernel,
    ) -> Result<(), (Check, String)> {
        if let Call::Spawn { worker, env, .. } = call {
            let slot = env.iter().find(|(name, _)| *name == "CLUSTER_SLOT");
            let slot =
                slot.and_then(|(_, slot)| slot.to_str()?.parse().ok()).map_or(SlotId(u32::MAX), SlotId);
            requested::spawn(&self.account, slot, supervisor).map_err(|what| (Check::Requested, what))?;
            let life = Life {
                slot,
                spawned: self.account.last_input.at,
                listens: false,
                ready: false,
                failed: false,
                asked: [None; 4],
                retired: None,
                terminated: None,
                over: false,
                disconnected: false,
            };
            self.account.lives.insert(*worker, life);
        }
        if let Call::SetTimer { .. } = call {
            self.account.note_retired(|worker| supervisor.is_ready(worker));
        }
        let now = kernel.clock.now_ms();
        if let Call::CloseChannel { channel } = call
            && let Some(life) = self.account.lives.get_mut(&WorkerId(channel.0)).filter(|life| !life.over)
        {
            life.asked[1].get_or_insert(now);
        }
        let Some((worker, at)) = request(call) else { return Ok(()) };
        // A signal to the group of a worker that has already exited is no request to exit.
        if self.account.lives.get(&worker).is_some_and(|life| life.over) {
            return Ok(());
        }
        capacity::request(&self.account, worker, supervisor).map_err(|what| (Check::Capacity, what))?;
        if let Call::Kill { signal, .. } = call {
            let settings = supervisor.settings();
            deadlines::signal(&self.account, worker, *signal, settings, kernel)
                .map_err(|what| (Check::Deadlines, what))?;
        }
        let cause = self.account.last_input.at;
        let Some(life) = self.account.lives.get_mut(&worker) else { return Ok(()) };
        life.asked[at].get_or_insert(now);
        if at == 2 {
            life.terminated.get_or_insert(cause);
        }
        Ok(())
    }

    /// Records an event of the primary before its program receives the event.
    pub(crate) fn primary_event(&mut self, event: &Event) {
        if let Event::Listening { worker, .. } = event
            && let Some(life) = self.account.lives.get_mut(worker)
        {
            life.listens = true;
        }
        if let Event::Disconnect { worker } = event
            && let Some(life) = self.account.lives.get_mut(worker)
        {
            life.disconnected = true;
        }
        if let Event::Exit { worker, .. } = event
            && let Some(life) = self.account.lives.get_mut(worker)
        {
            life.over = true;
        }
    }

    /// Records the announcement of a worker that serves tasks.
    pub(crate) fn announced(&mut self, worker: WorkerId) {
        if let Some(life) = self.account.lives.get_mut(&worker) {
            life.listens = true;
        }
    }

    /// Checks and records an event of the supervisor.
    pub(crate) fn event(
        &mut self,
        event: &SupervisorEvent,
        supervisor: &Supervisor,
        kernel: &Kernel,
    ) -> Result<(), (Check, String)> {
        match event {
            SupervisorEvent::SlotReady { slot, worker } => {
                self.intensity.ready();
                if let Some(life) = self.account.lives.get_mut(worker) {
                    life.ready = true;
                    // The worker was taken out of service before the report, at an unknown time.
                    life.retired = (!supervisor.is_ready(*worker)).then_some(0);
                }
                slots::ready(&self.account, *slot, *worker, supervisor)
                    .map_err(|what| (Check::Slots, what))?;
            }
            SupervisorEvent::StartFailed { worker: Some(worker), failure, .. } => {
                if let StartFailure::Timeout(limit) = failure {
                    deadlines::late(&self.account, *worker, *limit, kernel)
                        .map_err(|what| (Check::Deadlines, what))?;
                }
                if let Some(life) = self.account.lives.get_mut(worker) {
                    life.failed = true;
                    life.over |= matches!(failure, StartFailure::Spawn(_));
                }
            }
            SupervisorEvent::Hung { worker, .. } | SupervisorEvent::Stuck { worker, .. } => {
                if let Some(life) = self.account.lives.get_mut(worker) {
                    life.failed = true;
                }
            }
            SupervisorEvent::Restarting { slot, worker, .. } => {
                requested::restart(&self.account, *slot, *worker).map_err(|what| (Check::Requested, what))?;
                let (now, settings) = (kernel.clock.now_ms(), supervisor.settings());
                self.intensity.restart(*slot, now, settings).map_err(|what| (Check::Intensity, what))?;
            }
            SupervisorEvent::ReloadAbandoned { reason, .. } if *reason != AbandonReason::Shutdown => {
                abandonment::abandoned(&self.account, supervisor)
                    .map_err(|what| (Check::Abandonment, what))?;
            }
            SupervisorEvent::GaveUp { reason, .. } => {
                self.account.gave_up = true;
                self.intensity.gave_up(reason).map_err(|what| (Check::Intensity, what))?;
            }
            SupervisorEvent::ShutdownStarted => {
                self.account.shut_down = Some(kernel.clock.now_ms());
                self.account.shutdown_cause = Some(self.account.last_input.at);
            }
            SupervisorEvent::Finished { .. } => self.account.finished = true,
            SupervisorEvent::Primary(_)
            | SupervisorEvent::StartFailed { .. }
            | SupervisorEvent::SlotSuspended { .. }
            | SupervisorEvent::ReloadStarted { .. }
            | SupervisorEvent::ReloadFinished { .. }
            | SupervisorEvent::ReloadAbandoned { .. }
            | SupervisorEvent::Scaled { .. }
            | SupervisorEvent::Timer { .. }
            | SupervisorEvent::Drained { .. }
            | SupervisorEvent::Cut { .. }
            | SupervisorEvent::Withdrawn { .. }
            | _ => {}
        }
        Ok(())
    }

    /// Checks the slots of an idle primary.
    pub(crate) fn slots_at_rest(&self, supervisor: &Supervisor) -> Result<(), (Check, String)> {
        slots::at_rest(&self.account, supervisor).map_err(|what| (Check::Slots, what))
    }

    /// Checks an idle primary.
    pub(crate) fn at_rest(
        &mut self,
        supervisor: &Supervisor,
        kernel: &Kernel,
    ) -> Result<(), (Check, String)> {
        unowned::at_rest(&self.account, &mut self.unowned, supervisor, kernel)
            .map_err(|what| (Check::Unowned, what))
    }

    /// Checks the final state: no step is enabled.
    pub(crate) fn at_the_end(&self, supervisor: &Supervisor, kernel: &Kernel) -> Result<(), (Check, String)> {
        deadlines::at_the_end(&self.account, kernel).map_err(|what| (Check::Deadlines, what))?;
        ready_slots::at_the_end(&self.account, supervisor, kernel).map_err(|what| (Check::Readiness, what))
    }
}
