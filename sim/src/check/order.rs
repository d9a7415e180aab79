//! Order: per worker, fork < online < listening and messages < the end; disconnect and exit once each, in either order;
//! whether a worker was asked to go is decided at the first of them and never taken back.
//!
//! Nothing is said about the events of different workers: they may mix as they like; nor about when all are gone,
//! because nobody outside the primary knows for whom it waits.

use std::collections::{BTreeMap, BTreeSet};

use cluster_core::{Event, Primary, WorkerEvent, WorkerId};

use crate::kernel::Kernel;
use crate::kernel::process_table::{Origin, Phase, Pid};

/// How far each worker has come, as its primary has told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct OrderCheck {
    tales: BTreeMap<WorkerId, Tale>,
    gone_in_worker: BTreeSet<Pid>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Tale {
    online: bool,
    disconnected: bool,
    exited: bool,
    asked_to_go: Option<bool>,
}

impl OrderCheck {
    pub(crate) fn primary_event(&mut self, event: &Event, primary: &Primary) -> Result<(), String> {
        let Some(worker) = event.worker() else { return Ok(()) };
        if let Event::Fork { .. } = event {
            self.tales.insert(worker, Tale::default());
            return Ok(());
        }
        let is_error = matches!(event, Event::Error { .. });
        let Some(tale) = self.tales.get_mut(&worker) else {
            return if is_error { Ok(()) } else { Err(format!("{event:?} comes before its fork")) };
        };
        tale.hear(event).map_err(|what| format!("worker {worker}: {what}"))?;
        let Some(life) = primary.worker(worker) else {
            return Err(format!("nothing is known of worker {worker} at {event:?}"));
        };
        let asked = life.exited_after_disconnect();
        if tale.asked_to_go == Some(true) && asked != Some(true) {
            return Err(format!("worker {worker} was asked to go, and then it was not"));
        }
        let decided = tale.disconnected || tale.exited;
        if decided && asked.is_none() {
            return Err(format!("at {event:?} nobody knows whether worker {worker} was asked to go"));
        }
        let is_exit = matches!(event, Event::Exit { .. });
        let is_disconnect = matches!(event, Event::Disconnect { .. });
        let is_state_right = (!is_exit || life.is_dead()) && !(is_disconnect && life.is_connected());
        tale.asked_to_go = asked;
        if is_state_right { Ok(()) } else { Err(format!("{event:?}, and worker {worker} is {life:?}")) }
    }

    /// A worker has heard that it is on its own.
    pub(crate) fn disconnected(&mut self, pid: Pid) {
        self.gone_in_worker.insert(pid);
    }

    /// A worker hears of its end once, and then nothing more from its primary.
    pub(crate) fn may_hear(&self, pid: Pid, event: &WorkerEvent, kernel: &Kernel) -> Result<(), String> {
        if self.gone_in_worker.contains(&pid) && !may_follow(pid, event, kernel) {
            return Err(format!("worker {} hears {event:?} after its disconnect", pid.0));
        }
        Ok(())
    }

    /// Nothing can happen any more: of everybody who is gone, both ends were told.
    pub(crate) fn at_the_end(&self, kernel: &Kernel) -> Result<(), String> {
        for (worker, tale) in &self.tales {
            let phase = kernel.process(Pid::from(*worker)).phase;
            let ran = phase != Phase::Absent;
            let is_gone = !matches!(phase, Phase::Starting | Phase::Running | Phase::Stopped);
            if is_gone && !tale.disconnected {
                return Err(format!("worker {worker} is gone, and no disconnect was told"));
            }
            if is_gone && ran != tale.exited {
                return Err(format!("worker {worker} is gone, and its exit was told: {}", tale.exited));
            }
        }
        Ok(())
    }
}

/// Whether a worker may hear this without its primary: a server that it does not share goes on.
fn may_follow(pid: Pid, event: &WorkerEvent, kernel: &Kernel) -> bool {
    let mut own = kernel.process(pid).descriptors().iter().filter(|it| it.origin == Origin::Machine);
    match event {
        WorkerEvent::Closed { .. } | WorkerEvent::ListenFailed { .. } | WorkerEvent::Error { .. } => true,
        WorkerEvent::Listening { address, .. } => {
            own.any(|it| kernel.address_of(it.file).as_ref() == Some(address))
        }
        WorkerEvent::Connection { connection, .. } => own.any(|it| it.id == *connection),
        WorkerEvent::Message { .. } | WorkerEvent::Disconnect => false,
    }
}

impl Tale {
    fn hear(&mut self, event: &Event) -> Result<(), String> {
        let is_over = self.disconnected || self.exited;
        let is_right = match event {
            Event::Online { .. } => !std::mem::replace(&mut self.online, true) && !is_over,
            Event::Listening { .. } | Event::Message { .. } => self.online && !self.disconnected,
            Event::Disconnect { .. } => !std::mem::replace(&mut self.disconnected, true),
            Event::Exit { .. } => !std::mem::replace(&mut self.exited, true),
            Event::Setup { .. }
            | Event::Fork { .. }
            | Event::Error { .. }
            | Event::AcceptFailed { .. }
            | Event::AllDisconnected => true,
        };
        if is_right { Ok(()) } else { Err(format!("{event:?} does not fit here")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_core::{BindAddress, Call, ListenerId, WorkerId};

    use crate::schedule::Schedule;

    /// A connection that came through the channel is not heard of after its end, one that was accepted here is.
    #[test]
    fn only_what_is_its_own_may_follow_a_workers_disconnect() {
        let mut kernel = Kernel::new(100);
        let spawn =
            Call::Spawn { worker: WorkerId(1), options: cluster_core::SpawnOptions::new(), env: Vec::new() };
        kernel.perform(Pid::PRIMARY, spawn, &mut Schedule::quiet());
        let address = BindAddress::Tcp { host: None, port: 0, ipv6_only: false, reuse_port: false };
        let mut of = |origin| kernel.bind(Pid(1), origin, &address, Some(1)).expect("it is free");
        let ((own, at), (came, elsewhere)) = (of(Origin::Machine), of(Origin::Channel));
        let listener = ListenerId(1);
        let mut order = OrderCheck::default();
        order.disconnected(Pid(1));
        for (connection, address, may) in [(own, at, true), (came, elsewhere, false)] {
            let event = WorkerEvent::Connection { listener, connection };
            assert_eq!(order.may_hear(Pid(1), &event, &kernel).is_ok(), may);
            let event = WorkerEvent::Listening { listener, address, socket: None };
            assert_eq!(order.may_hear(Pid(1), &event, &kernel).is_ok(), may);
        }
        assert!(order.may_hear(Pid(1), &WorkerEvent::Disconnect, &kernel).is_err(), "once");
    }
}
