//! The reason of a restart after a closed channel: the exit status of the worker, if the exit follows at
//! once.

use cluster_core::{Event, ExitStatus, RestartReason, SupervisorEvent, WorkerId};

/// Completes the events for a reader, for instance a log. A killed worker is replaced when the channel
/// closes, a moment before the exit status is known. Therefore the event
/// [`Restarting`](SupervisorEvent::Restarting) is delayed until the exit, and reports the status in place of
/// [`Disconnected`](RestartReason::Disconnected). The replacement is not delayed. If the process does not
/// exit, the event is reported unchanged, before the next event about the slot or the whole supervisor.
#[derive(Debug, Default)]
pub struct RestartReasons {
    kept: Vec<SupervisorEvent>,
}

impl RestartReasons {
    /// Takes an event, and calls `report` with every complete event, in order.
    pub fn observe(&mut self, event: &SupervisorEvent, mut report: impl FnMut(&SupervisorEvent)) {
        if let SupervisorEvent::Primary(event) = event {
            if let Event::Exit { worker, status, .. } = event {
                for kept in self.kept.extract_if(.., |kept| is_of(kept, *worker)) {
                    report(&with_status(kept, *status));
                }
            }
        } else {
            self.kept.extract_if(.., |kept| !is_of_another_slot(event, kept)).for_each(|kept| report(&kept));
        }
        if let SupervisorEvent::Restarting { worker: Some(_), reason: RestartReason::Disconnected, .. } =
            event
        {
            self.kept.push(event.clone());
        } else {
            report(event);
        }
    }
}

/// Whether an event concerns another slot, and not the kept restart.
fn is_of_another_slot(event: &SupervisorEvent, kept: &SupervisorEvent) -> bool {
    let (SupervisorEvent::SlotReady { slot, .. } | SupervisorEvent::Restarting { slot, .. }) = event else {
        return false;
    };
    !matches!(kept, SupervisorEvent::Restarting { slot: own, .. } if own == slot)
}

fn is_of(event: &SupervisorEvent, exited: WorkerId) -> bool {
    matches!(event, SupervisorEvent::Restarting { worker, .. } if *worker == Some(exited))
}

fn with_status(event: SupervisorEvent, status: ExitStatus) -> SupervisorEvent {
    let SupervisorEvent::Restarting { slot, worker, after, .. } = event else { return event };
    SupervisorEvent::Restarting { slot, worker, reason: RestartReason::Exited(status), after }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cluster_core::{Signal, SlotId};

    use super::*;

    const WORKER: WorkerId = WorkerId(1);

    fn restarting() -> SupervisorEvent {
        let (slot, reason) = (SlotId(0), RestartReason::Disconnected);
        SupervisorEvent::Restarting { slot, worker: Some(WORKER), reason, after: Duration::ZERO }
    }

    fn texts(events: &[SupervisorEvent]) -> Vec<String> {
        let (mut reasons, mut texts) = (RestartReasons::default(), Vec::new());
        for event in events {
            reasons.observe(event, |event| texts.push(event.to_string()));
        }
        texts
    }

    #[test]
    fn status_is_the_reason() {
        let fork = SupervisorEvent::Primary(Event::Fork { worker: WorkerId(2) });
        let exit = SupervisorEvent::Primary(Event::Exit {
            worker: WORKER,
            status: ExitStatus::Signal(Signal::SIGKILL),
            exited_after_disconnect: false,
        });
        let [fork_text, exit_text] = [&fork, &exit].map(ToString::to_string);
        let restart = "slot 0 restarts at once: the worker exited: signal: SIGKILL".to_owned();
        assert_eq!(texts(&[restarting(), fork, exit]), [fork_text, restart, exit_text]);
    }

    /// Two workers are killed at once, and a third becomes ready meanwhile.
    #[test]
    fn other_slot_reports_no_restart() {
        let other = SupervisorEvent::Restarting {
            slot: SlotId(1),
            worker: Some(WorkerId(2)),
            reason: RestartReason::Disconnected,
            after: Duration::ZERO,
        };
        let ready = SupervisorEvent::SlotReady { slot: SlotId(2), worker: WorkerId(3) };
        let exit = |worker| {
            SupervisorEvent::Primary(Event::Exit {
                worker,
                status: ExitStatus::Signal(Signal::SIGKILL),
                exited_after_disconnect: false,
            })
        };
        let texts = texts(&[restarting(), other, ready, exit(WORKER), exit(WorkerId(2))]);
        assert_eq!(texts[1], "slot 0 restarts at once: the worker exited: signal: SIGKILL");
        assert_eq!(texts[3], "slot 1 restarts at once: the worker exited: signal: SIGKILL");
    }

    #[test]
    fn closed_channel_is_reported_later() {
        let ready = SupervisorEvent::SlotReady { slot: SlotId(0), worker: WorkerId(2) };
        let [first, second] = [&restarting(), &ready].map(ToString::to_string);
        assert_eq!(texts(&[restarting(), ready]), [first, second]);
    }
}
