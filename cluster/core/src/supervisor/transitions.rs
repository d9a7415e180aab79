//! The transitions of the slots: start, readiness, end and restart, and the steps of replacements and of the
//! shutdown. `supervisor.rs` has the inputs that cause the transitions.

use super::Supervisor;
use super::events::{AbandonReason, RestartReason, StartFailure, SupervisorEvent};
use super::process::{ExitCause, Phase};
use super::reload::{ReloadScope, ReplacementStep};
use super::restart::GiveUpReason;
use super::shutdown::ShutdownStep;
use super::slot_info::SlotId;
use super::slots::Slot;
use super::supervisor_settings::{GiveUp, Readiness};
use super::timers::{Deadline, ShutdownTimer, report_after};
use crate::event::WorkerError;
use crate::os::{ExitStatus, WorkerId};

/// How a process has ended.
pub(super) enum End {
    /// The process was not started.
    NotSpawned(WorkerError),
    Exited(ExitStatus),
    /// The process has not exited after SIGKILL, and the slot no longer waits for it.
    Stuck,
}

impl Supervisor {
    // ---- start

    /// Starts the worker of an empty slot.
    pub(super) fn start(&mut self, slot: SlotId) {
        self.replacements.restarted(slot);
        match self.lifecycle.fork(slot) {
            Ok(worker) => self.slots.fill(slot, worker),
            Err(error) => {
                let failure = StartFailure::Fork(error);
                self.start_failed(slot, None, failure.clone());
                self.lost(slot, None, RestartReason::StartFailed(failure));
            }
        }
    }

    /// Called when a worker has reported a server that listens.
    pub(super) fn listening(&mut self, worker: WorkerId) {
        let Some((process, servers)) = self.lifecycle.count_server(worker) else { return };
        let keys = self.lifecycle.keys_of(worker);
        match process.phase() {
            Phase::Ready => self.slots.set_keys(process.slot(), worker, keys),
            Phase::Starting if self.settings.readiness == Readiness::Listening => {
                let Some(slot) = self.slots.get(process.slot()) else { return };
                let served = match slot.holder() {
                    Some(holder) if holder != worker => self.lifecycle.keys_of(holder),
                    Some(_) | None => slot.keys().clone(),
                };
                if servers >= served.len() && keys.is_superset(&served) {
                    self.ready(worker);
                }
            }
            Phase::Starting | Phase::Lame | Phase::Draining | Phase::Terminating | Phase::Killed => {}
        }
    }

    pub(super) fn ready(&mut self, worker: WorkerId) {
        let Some(slot) = self.lifecycle.make_ready(worker) else { return };
        self.intensity.ready();
        let predecessor = self.slots.make_ready(slot, worker, self.lifecycle.keys_of(worker));
        if self.slots.get(slot).is_some_and(|slot| slot.failures() > 0) {
            self.lifecycle.set_timer(Deadline::Stable(worker), self.settings.min_uptime);
        }
        self.lifecycle.limit_age(worker);
        self.lifecycle.watch(worker);
        self.events.push_back(SupervisorEvent::SlotReady { slot, worker });
        if let Some(predecessor) = predecessor {
            self.lifecycle.retire(predecessor, self.shutdown.drain(self.settings.drain));
        }
    }

    /// Called when a process has not become ready. If a replacement has started the process, the replacement
    /// is abandoned.
    pub(super) fn start_failed(&mut self, slot: SlotId, worker: Option<WorkerId>, failure: StartFailure) {
        self.events.push_back(SupervisorEvent::StartFailed { slot, worker, failure: failure.clone() });
        self.slots.start_failed(slot, worker);
        if self.replacements.is_active(slot) {
            self.abandon(AbandonReason::StartFailed { slot, failure });
        }
    }

    // ---- end

    pub(super) fn ended(&mut self, worker: WorkerId, end: End) {
        let Some(process) = self.lifecycle.remove(worker) else { return };
        let (slot, was_ready) = (process.slot(), process.was_ready());
        let is_requested = process.exit_cause() == Some(ExitCause::Requested);
        let late = StartFailure::Timeout(self.settings.ready_timeout);
        let reason = match end {
            End::NotSpawned(error) => {
                let failure = StartFailure::Spawn(error);
                self.start_failed(slot, Some(worker), failure.clone());
                RestartReason::StartFailed(failure)
            }
            End::Exited(status) if is_requested => {
                let connections = self.lifecycle.reported_connections(worker, &process);
                // An unknown status is accepted as well: up to `Draining`, the supervisor has sent no signal.
                let is_unforced = [ExitStatus::Code(0), ExitStatus::ReapedElsewhere].contains(&status);
                let is_drained = process.phase() <= Phase::Draining && is_unforced;
                self.events.push_back(if !process.may_have_served() {
                    SupervisorEvent::Withdrawn { slot, worker }
                } else if is_drained {
                    SupervisorEvent::Drained { slot, worker }
                } else {
                    SupervisorEvent::Cut { slot, worker, connections }
                });
                if self.slots.is_holder(slot, worker) {
                    self.slots.suspend(slot);
                    if self.shutdown.is_running() {
                        self.start(slot);
                    }
                }
                return;
            }
            End::Exited(status) if was_ready => RestartReason::Exited(status),
            End::Exited(_) if process.exit_cause().is_some() => RestartReason::StartFailed(late),
            End::Exited(status) => {
                let failure = StartFailure::Exited(status);
                self.start_failed(slot, Some(worker), failure.clone());
                RestartReason::StartFailed(failure)
            }
            End::Stuck => {
                let reason = if was_ready { RestartReason::Stuck } else { RestartReason::StartFailed(late) };
                self.events.push_back(SupervisorEvent::Stuck { slot, worker });
                reason
            }
        };
        if self.slots.is_holder(slot, worker) {
            self.lost(slot, Some(worker), reason);
        }
    }

    /// Called when a slot has lost its worker without a request.
    pub(super) fn lost(&mut self, slot: SlotId, worker: Option<WorkerId>, reason: RestartReason) {
        let was_ready = !matches!(reason, RestartReason::StartFailed(_));
        let status = if let RestartReason::Exited(status) = reason { Some(status) } else { None };
        if !self.slots.vacate(slot, was_ready) || self.is_shutting_down() {
            return;
        }
        if self.intensity.gave_up() {
            return hold(self, slot);
        }
        if let RestartReason::StartFailed(failure) = &reason
            && let Err(limit) = self.intensity.permit_another(failure.is_lasting())
        {
            return self.give_up(limit, slot, reason);
        }
        if !self.settings.restart.restarts(was_ready, status) {
            return hold(self, slot);
        }
        let failures = self.slots.get(slot).map_or(0, Slot::failures).saturating_add(1);
        if let Err(limit) = self.intensity.count(failures, &self.settings) {
            return self.give_up(limit, slot, reason);
        }
        let Some((after, failures)) = self.slots.back_off(slot, self.settings.backoff) else { return };
        self.lifecycle.set_timer(Deadline::Counted, self.settings.within);
        self.events.push_back(SupervisorEvent::Restarting { slot, worker, reason, after });
        if after.is_zero() {
            self.start(slot);
        } else {
            self.lifecycle.set_timer(Deadline::Backoff(slot, failures), after);
        }
    }

    /// Gives up: the slots that wait for a start get no worker.
    fn give_up(&mut self, reason: GiveUpReason, slot: SlotId, last: RestartReason) {
        self.events.push_back(SupervisorEvent::GaveUp { reason, slot, last });
        match self.settings.give_up {
            GiveUp::Suspend => {
                for slot in core::iter::once(slot).chain(self.slots.suspend_waiting()) {
                    hold(self, slot);
                }
            }
            GiveUp::Exit { code } => {
                let step = self.shutdown.begin(code);
                self.shut_down(step);
            }
        }
    }

    // ---- replacement

    pub(super) fn replace(&mut self, step: ReplacementStep) {
        match step {
            ReplacementStep::Begin(id, scope) => {
                if scope == ReloadScope::All {
                    self.intensity.try_again();
                }
                self.events.push_back(SupervisorEvent::ReloadStarted { id, scope });
            }
            ReplacementStep::Finish(id, scope) => {
                self.events.push_back(SupervisorEvent::ReloadFinished { id, scope });
            }
            ReplacementStep::Start(slot) => {
                self.slots.forget_failures_of_suspended(slot);
                self.start(slot);
            }
            ReplacementStep::StartSuccessor(slot) => match self.lifecycle.fork(slot) {
                Ok(worker) => self.slots.set_successor(slot, worker),
                Err(error) => self.start_failed(slot, None, StartFailure::Fork(error)),
            },
            ReplacementStep::StopFirst(worker) => {
                self.lifecycle.retire(worker, Some(self.settings.drain));
            }
        }
    }

    /// Ends the replacement in progress. Successors that are not ready are terminated, and old workers
    /// continue to serve.
    pub(super) fn abandon(&mut self, reason: AbandonReason) {
        let Some((id, scope, active)) = self.replacements.abandon() else { return };
        self.events.push_back(SupervisorEvent::ReloadAbandoned { id, scope, reason });
        for slot in active {
            if let Some(successor) = self.slots.take_successor(slot) {
                self.lifecycle.withdraw(successor);
            }
            if let Some(holder) = self.slots.get(slot).and_then(Slot::holder)
                && self.shutdown.is_running()
            {
                self.lifecycle.delay_recycle(holder, self.settings.backoff);
            }
        }
    }

    // ---- shutdown

    pub(super) fn shut_down(&mut self, step: Option<ShutdownStep>) -> bool {
        let Some(step) = step else { return false };
        match step {
            ShutdownStep::StopAccepting => self.stop_accepting(),
            ShutdownStep::RetireAll => {
                for worker in self.lifecycle.processes().before(Phase::Lame) {
                    self.lifecycle.retire(worker, None);
                }
            }
            ShutdownStep::CloseListeners => return self.primary_mut().supervised().close_listeners(),
            ShutdownStep::TerminateAll => {
                for worker in self.lifecycle.processes().before(Phase::Terminating) {
                    self.lifecycle.end(worker);
                }
            }
            ShutdownStep::KillAll => {
                for worker in self.lifecycle.processes().before(Phase::Killed) {
                    self.lifecycle.kill(worker);
                }
            }
            ShutdownStep::CloseChannels => {
                self.primary_mut().disconnect_all();
                self.lifecycle.set_timer(Deadline::Shutdown(ShutdownTimer::Finish), self.settings.term);
            }
            ShutdownStep::Finish(code) => self.events.push_back(SupervisorEvent::Finished { code }),
        }
        true
    }

    /// Begins a shutdown: ends the replacement in progress and the requested ones, and hands off the queue.
    /// Reports of suspended slots not received yet by the program are dropped, because they no longer matter.
    fn stop_accepting(&mut self) {
        self.events.retain(|event| !matches!(event, SupervisorEvent::SlotSuspended { .. }));
        self.events.push_back(SupervisorEvent::ShutdownStarted);
        self.abandon(AbandonReason::Shutdown);
        while let Some((id, scope)) = self.replacements.drop_request() {
            let reason = AbandonReason::Shutdown;
            self.events.push_back(SupervisorEvent::ReloadAbandoned { id, scope, reason });
        }
        self.slots.suspend_waiting();
        self.primary_mut().supervised().stop_accepting();
        let (emptying, shutdown) = (self.settings.emptying(), self.settings.shutdown);
        self.lifecycle.set_timer(Deadline::Shutdown(ShutdownTimer::Emptying), emptying);
        self.lifecycle.set_timer(Deadline::Report(None), report_after(shutdown));
        self.lifecycle.set_timer(Deadline::Shutdown(ShutdownTimer::Shutdown), shutdown);
    }
}

/// Leaves a slot without a worker.
fn hold(supervisor: &mut Supervisor, slot: SlotId) {
    supervisor.events.push_back(SupervisorEvent::SlotSuspended { slot });
    if supervisor.replacements.is_active(slot) {
        supervisor.abandon(AbandonReason::Suspended { slot });
    }
}
