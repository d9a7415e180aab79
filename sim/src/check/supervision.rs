//! The account of supervised processes, from the calls and the events of the primary. The properties are in the other
//! files; `Supervision` passes them what happens.

use std::collections::BTreeMap;

use cluster_core::{
    AbandonReason, Call, Event, Signal, SlotId, StartFailure, Supervisor, SupervisorEvent, WorkerId,
};

use super::{Check, abandonment, capacity, deadlines, intensity, ready_slots, requested, slots, unowned};
use crate::kernel::Kernel;

/// One process, from its spawn to its exit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "reports that arrive in any order")]
pub(crate) struct Life {
    pub(crate) slot: SlotId,
    /// The primary has received the report of a server that listens, or the announcement of a worker that serves tasks.
    pub(crate) listens: bool,
    /// The supervisor has reported the worker ready.
    pub(crate) ready: bool,
    /// The supervisor has reported a failure of the process: late, or hung.
    pub(crate) failed: bool,
    /// The first time of each request to exit, in milliseconds: lame duck, disconnect, SIGTERM, SIGKILL.
    pub(crate) asked: [Option<u64>; 4],
    pub(crate) over: bool,
    /// The primary has received the end of the channel.
    pub(crate) disconnected: bool,
}

impl Life {
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.iter().any(Option::is_some)
    }

    /// The supervisor has sent a signal.
    pub(crate) fn is_signalled(&self) -> bool {
        self.asked[2].is_some() || self.asked[3].is_some()
    }

    /// Ready, connected, not asked to exit, and not known to have exited.
    pub(crate) fn is_in_service(&self) -> bool {
        self.ready && !self.over && !self.disconnected && !self.is_asked()
    }
}

/// The memory of the checks of a supervisor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Supervision {
    pub(crate) lives: BTreeMap<WorkerId, Life>,
    /// The start of the shutdown, in milliseconds.
    pub(crate) shut_down: Option<u64>,
    pub(crate) gave_up: bool,
    pub(crate) finished: bool,
    pub(crate) intensity: intensity::Restarts,
    pub(crate) unowned: unowned::ClosedUnowned,
}

/// The request to exit in a call, as an index of [`Life::asked`], with the worker.
fn request(call: &Call) -> Option<(WorkerId, usize)> {
    let contains = |bytes: &[u8], part: &str| bytes.windows(part.len()).any(|at| at == part.as_bytes());
    match call {
        Call::Write { channel, bytes, .. } if contains(bytes, "NODE_CLUSTER_LAME_DUCK") => {
            Some((WorkerId(channel.0), 0))
        }
        Call::Write { channel, bytes, .. } if contains(bytes, "\"act\":\"disconnect\"") => {
            Some((WorkerId(channel.0), 1))
        }
        Call::Kill { worker, signal } => Some((*worker, if *signal == Signal::SIGTERM { 2 } else { 3 })),
        Call::Spawn { .. }
        | Call::Write { .. }
        | Call::PauseRead { .. }
        | Call::ResumeRead { .. }
        | Call::CloseChannel { .. }
        | Call::Bind { .. }
        | Call::Listen { .. }
        | Call::PauseAccept { .. }
        | Call::ResumeAccept { .. }
        | Call::Close { .. }
        | Call::SetTimer { .. }
        | Call::Exit { .. } => None,
    }
}

impl Supervision {
    /// The call starts a process or asks for an exit.
    pub(crate) fn concerns(call: &Call) -> bool {
        matches!(call, Call::Spawn { .. } | Call::CloseChannel { .. }) || request(call).is_some()
    }

    /// Before a call of the primary.
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
            requested::spawn(self, slot, supervisor).map_err(|what| (Check::Requested, what))?;
            let life = Life {
                slot,
                listens: false,
                ready: false,
                failed: false,
                asked: [None; 4],
                over: false,
                disconnected: false,
            };
            self.lives.insert(*worker, life);
        }
        let now = kernel.clock.now_ms();
        if let Call::CloseChannel { channel } = call
            && let Some(life) = self.lives.get_mut(&WorkerId(channel.0)).filter(|life| !life.over)
        {
            life.asked[1].get_or_insert(now);
        }
        let Some((worker, at)) = request(call) else { return Ok(()) };
        // The end of the group of a worker that has exited.
        if self.lives.get(&worker).is_some_and(|life| life.over) {
            return Ok(());
        }
        capacity::request(self, worker, supervisor).map_err(|what| (Check::Capacity, what))?;
        if matches!(call, Call::Kill { .. }) {
            let settings = supervisor.settings();
            deadlines::signal(self, worker, settings, kernel).map_err(|what| (Check::Deadlines, what))?;
        }
        let Some(life) = self.lives.get_mut(&worker) else { return Ok(()) };
        life.asked[at].get_or_insert(now);
        Ok(())
    }

    /// An event of the primary, before its program receives the event.
    pub(crate) fn primary_event(&mut self, event: &Event) {
        if let Event::Listening { worker, .. } = event
            && let Some(life) = self.lives.get_mut(worker)
        {
            life.listens = true;
        }
        if let Event::Disconnect { worker } = event
            && let Some(life) = self.lives.get_mut(worker)
        {
            life.disconnected = true;
        }
        if let Event::Exit { worker, .. } = event
            && let Some(life) = self.lives.get_mut(worker)
        {
            life.over = true;
        }
    }

    /// The primary has received the announcement of a worker that serves tasks.
    pub(crate) fn announced(&mut self, worker: WorkerId) {
        if let Some(life) = self.lives.get_mut(&worker) {
            life.listens = true;
        }
    }

    /// An event of the supervisor.
    pub(crate) fn event(
        &mut self,
        event: &SupervisorEvent,
        supervisor: &Supervisor,
        kernel: &Kernel,
    ) -> Result<(), (Check, String)> {
        match event {
            SupervisorEvent::SlotReady { slot, worker } => {
                self.intensity.ready();
                if let Some(life) = self.lives.get_mut(worker) {
                    life.ready = true;
                }
                slots::ready(self, *slot, *worker, supervisor).map_err(|what| (Check::Slots, what))?;
            }
            SupervisorEvent::StartFailed { worker: Some(worker), failure, .. } => {
                if let Some(life) = self.lives.get_mut(worker) {
                    life.failed = true;
                    life.over |= matches!(failure, StartFailure::Spawn(_));
                }
            }
            SupervisorEvent::Hung { worker, .. } | SupervisorEvent::Stuck { worker, .. } => {
                if let Some(life) = self.lives.get_mut(worker) {
                    life.failed = true;
                }
            }
            SupervisorEvent::Restarting { slot, .. } => {
                requested::restart(self, *slot).map_err(|what| (Check::Requested, what))?;
                let (now, settings) = (kernel.clock.now_ms(), supervisor.settings());
                self.intensity.restart(*slot, now, settings).map_err(|what| (Check::Intensity, what))?;
            }
            SupervisorEvent::ReloadAbandoned { reason, .. } if *reason != AbandonReason::Shutdown => {
                abandonment::abandoned(self, supervisor).map_err(|what| (Check::Abandonment, what))?;
            }
            SupervisorEvent::GaveUp { .. } => self.gave_up = true,
            SupervisorEvent::ShutdownStarted => self.shut_down = Some(kernel.clock.now_ms()),
            SupervisorEvent::Finished { .. } => self.finished = true,
            SupervisorEvent::Primary(_)
            | SupervisorEvent::StartFailed { .. }
            | SupervisorEvent::SlotHeld { .. }
            | SupervisorEvent::ReloadStarted { .. }
            | SupervisorEvent::ReloadFinished { .. }
            | SupervisorEvent::ReloadAbandoned { .. }
            | SupervisorEvent::Scaled { .. }
            | SupervisorEvent::Drained { .. }
            | SupervisorEvent::Cut { .. }
            | _ => {}
        }
        Ok(())
    }

    /// The primary has nothing left to do.
    pub(crate) fn slots_at_rest(&self, supervisor: &Supervisor) -> Result<(), (Check, String)> {
        slots::at_rest(self, supervisor).map_err(|what| (Check::Slots, what))
    }

    /// The primary has nothing left to do.
    pub(crate) fn at_rest(
        &mut self,
        supervisor: &Supervisor,
        kernel: &Kernel,
    ) -> Result<(), (Check, String)> {
        unowned::at_rest(self, supervisor, kernel).map_err(|what| (Check::Unowned, what))
    }

    /// No step is enabled.
    pub(crate) fn at_the_end(&self, supervisor: &Supervisor, kernel: &Kernel) -> Result<(), (Check, String)> {
        deadlines::at_the_end(self, kernel).map_err(|what| (Check::Deadlines, what))?;
        ready_slots::at_the_end(self, supervisor, kernel).map_err(|what| (Check::Readiness, what))
    }
}
