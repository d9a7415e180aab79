//! Order, for each worker: fork, online, listening and messages are first; then disconnect and exit follow
//! once each, in either order. `exited_after_disconnect` is decided at the first of disconnect and exit, and
//! does not change afterwards.
//!
//! The check orders neither the events of different workers nor `AllDisconnected`: it cannot observe the
//! workers for which the primary waits.

use std::collections::{BTreeMap, BTreeSet};

use cluster_core::{Event, Primary, WorkerEvent, WorkerId};

use crate::kernel::Kernel;
use crate::kernel::process_table::{Origin, Phase};
use crate::step::Pid;

/// The events that the primary has received about each worker, and the workers that have received
/// `Disconnect`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct OrderCheck {
    workers: BTreeMap<WorkerId, EventsOfWorker>,
    disconnected: BTreeSet<Pid>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct EventsOfWorker {
    online: bool,
    disconnected: bool,
    exited: bool,
    asked_to_exit: Option<bool>,
}

impl OrderCheck {
    pub(crate) fn primary_event(&mut self, event: &Event, primary: &Primary) -> Result<(), String> {
        let Some(worker) = event.worker() else { return Ok(()) };
        if let Event::Fork { .. } = event {
            self.workers.insert(worker, EventsOfWorker::default());
            return Ok(());
        }
        let is_error = matches!(event, Event::Error { .. });
        let Some(progress) = self.workers.get_mut(&worker) else {
            return if is_error { Ok(()) } else { Err(format!("{event:?} precedes the fork of its worker")) };
        };
        progress.advance(event).map_err(|what| format!("worker {worker}: {what}"))?;
        let Some(life) = primary.worker(worker) else {
            return Err(format!("the primary has no entry of worker {worker} at {event:?}"));
        };
        let asked = life.exited_after_disconnect();
        if progress.asked_to_exit == Some(true) && asked != Some(true) {
            return Err(format!("worker {worker} was asked to exit, and later it was not"));
        }
        let decided = progress.disconnected || progress.exited;
        if decided && asked.is_none() {
            return Err(format!(
                "at {event:?} the primary does not know whether worker {worker} was asked to exit"
            ));
        }
        let is_exit = matches!(event, Event::Exit { .. });
        let is_disconnect = matches!(event, Event::Disconnect { .. });
        let is_state_right = (!is_exit || life.is_dead()) && !(is_disconnect && life.is_connected());
        progress.asked_to_exit = asked;
        if is_state_right { Ok(()) } else { Err(format!("at {event:?} worker {worker} is {life:?}")) }
    }

    /// Records the `Disconnect` of a worker.
    pub(crate) fn disconnected(&mut self, pid: Pid) {
        self.disconnected.insert(pid);
    }

    /// Checks that a worker receives `Disconnect` once and no event of the primary afterwards.
    pub(crate) fn may_receive(&self, pid: Pid, event: &WorkerEvent, kernel: &Kernel) -> Result<(), String> {
        if self.disconnected.contains(&pid) && !may_follow(pid, event, kernel) {
            return Err(format!("worker {} receives {event:?} after its disconnect", pid.0));
        }
        Ok(())
    }

    /// Checks the final state: the primary has received both ends of every dead worker.
    pub(crate) fn at_the_end(&self, kernel: &Kernel) -> Result<(), String> {
        for (worker, progress) in &self.workers {
            let process = kernel.processes.get(Pid::from(*worker));
            let ran = process.phase != Phase::Absent;
            let is_dead = !process.is_alive();
            if is_dead && !progress.disconnected {
                return Err(format!("worker {worker} is dead, and the primary has received no disconnect"));
            }
            if is_dead && ran != progress.exited {
                return Err(format!("worker {worker} is dead, exit received: {}", progress.exited));
            }
        }
        Ok(())
    }
}

/// Whether a worker may receive this event after the disconnect: an exclusive server continues.
fn may_follow(pid: Pid, event: &WorkerEvent, kernel: &Kernel) -> bool {
    let mut own = kernel
        .processes
        .get(pid)
        .descriptors()
        .iter()
        .filter(|descriptor| descriptor.origin == Origin::Machine);
    match event {
        WorkerEvent::Closed { .. } | WorkerEvent::ListenFailed { .. } | WorkerEvent::Error { .. } => true,
        WorkerEvent::Listening { address, .. } => {
            own.any(|descriptor| kernel.network.sockets.address(descriptor.file).as_ref() == Some(address))
        }
        WorkerEvent::Connection { connection, .. } => own.any(|descriptor| descriptor.id == *connection),
        WorkerEvent::Message { .. } | WorkerEvent::LameDuck | WorkerEvent::Disconnect => false,
    }
}

impl EventsOfWorker {
    fn advance(&mut self, event: &Event) -> Result<(), String> {
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
        if is_right { Ok(()) } else { Err(format!("{event:?} is out of order")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_core::{BindAddress, Call, ListenerId, WorkerId};

    use crate::schedule::Schedule;

    /// A connection from the channel cannot arrive after the disconnect. A connection that the worker itself
    /// has accepted can.
    #[test]
    fn own_connections_may_follow_disconnect() {
        let mut kernel = Kernel::new(100);
        let spawn =
            Call::Spawn { worker: WorkerId(1), options: cluster_core::SpawnOptions::new(), env: Vec::new() };
        kernel.perform(Pid::PRIMARY, spawn, &mut Schedule::quiet());
        let address = BindAddress::Tcp { host: None, port: 0, ipv6_only: false, reuse_port: false };
        let mut of = |origin| kernel.bind(Pid(1), origin, &address, Some(1)).expect("a free port");
        let ((own, at), (received, elsewhere)) = (of(Origin::Machine), of(Origin::Channel));
        let listener = ListenerId(1);
        let mut order = OrderCheck::default();
        order.disconnected(Pid(1));
        for (connection, address, may) in [(own, at, true), (received, elsewhere, false)] {
            let event = WorkerEvent::Connection { listener, connection };
            assert_eq!(order.may_receive(Pid(1), &event, &kernel).is_ok(), may);
            let event = WorkerEvent::Listening { listener, address, socket: None };
            assert_eq!(order.may_receive(Pid(1), &event, &kernel).is_ok(), may);
        }
        assert!(order.may_receive(Pid(1), &WorkerEvent::Disconnect, &kernel).is_err(), "once");
    }
}
