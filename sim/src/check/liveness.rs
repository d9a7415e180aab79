//! Liveness: when nothing can happen any more, nobody waits for anything that will never come.
//!
//! It assumes programs that keep asking for connections, and that close those whose client is done.

use std::collections::BTreeMap;

use cluster_core::{ListenerId, LocalAddress, Primary, WorkerId, WorkerInfo};

use crate::kernel::Kernel;
use crate::kernel::process_table::{Phase, Pid};
use crate::kernel::socket::{ClientState, SocketKind};
use crate::program::ClientId;

/// Which workers serve which addresses, as they were told themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Serving {
    addresses: BTreeMap<(WorkerId, ListenerId), LocalAddress>,
}

impl Serving {
    pub(crate) fn listening(&mut self, pid: Pid, listener: ListenerId, address: LocalAddress) {
        self.addresses.insert((pid.worker(), listener), address);
    }

    pub(crate) fn closed(&mut self, pid: Pid, listener: ListenerId) {
        self.addresses.remove(&(pid.worker(), listener));
    }

    /// A worker that serves where a client went, and is to stay. Who does nothing any more serves nobody.
    pub(crate) fn who(&self, to: &LocalAddress, kernel: &Kernel, primary: &Primary) -> Option<WorkerId> {
        let is_there =
            |worker| primary.worker(worker).is_some_and(stays) && !kernel.is_stopped(worker.into());
        let serves = |(&(worker, _), served): (&(WorkerId, ListenerId), &LocalAddress)| {
            (is_at(served, to) && is_there(worker)).then_some(worker)
        };
        self.addresses.iter().find_map(serves)
    }
}

/// Whether a worker is to stay.
pub(super) fn stays(life: &WorkerInfo) -> bool {
    life.is_connected() && !life.is_dead() && life.exited_after_disconnect() != Some(true)
}

fn is_at(served: &LocalAddress, to: &LocalAddress) -> bool {
    match (served.ip(), to.ip()) {
        (Some(own), Some(to)) => {
            own.port() == to.port() && (own.ip().is_unspecified() || own.ip() == to.ip())
        }
        (None, None) => served == to,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Nothing can happen any more.
pub(crate) fn at_the_end(
    kernel: &Kernel,
    primary: Option<&Primary>,
    serving: &Serving,
) -> Result<(), String> {
    workers(kernel, primary)?;
    if let Some(primary) = primary {
        servers(kernel, primary, serving)?;
    }
    clients(kernel, primary, serving)
}

fn workers(kernel: &Kernel, primary: Option<&Primary>) -> Result<(), String> {
    for (n, process) in (0..).zip(&kernel.processes).skip(1) {
        let pid = Pid(n);
        if matches!(process.phase, Phase::Dead(_)) && primary.is_some() {
            return Err(format!("worker {n} is dead, and the primary was not told"));
        }
        let life = primary.and_then(|primary| primary.worker(pid.worker()));
        let is_to_go = life.is_none_or(|life| life.exited_after_disconnect() == Some(true));
        // Who does not come back from what it does does not end either.
        if process.is_alive() && is_to_go && !kernel.keeps_running(pid) && !kernel.is_stopped(pid) {
            return Err(format!("worker {n} is to go and has nothing left to do, but it lives"));
        }
    }
    Ok(())
}

/// Where a worker serves there is a socket. One that has connections may have closed its server and wait for them.
fn servers(kernel: &Kernel, primary: &Primary, serving: &Serving) -> Result<(), String> {
    let is_open = |served: &LocalAddress| {
        matches!(served, LocalAddress::Path(_))
            || kernel.files().any(|(id, _)| kernel.address_of(id).as_ref() == Some(served))
    };
    let is_idle = |worker: WorkerId| {
        let process = kernel.process(worker.into());
        let mut files = process.descriptors().iter().map(|descriptor| &kernel.file(descriptor.file).kind);
        !process.hostile && !files.any(|kind| matches!(kind, SocketKind::Connection(_)))
    };
    for (&(worker, _), served) in &serving.addresses {
        if primary.worker(worker).is_some_and(stays) && is_idle(worker) && !is_open(served) {
            return Err(format!("worker {worker} serves {served:?}, and nobody can come there"));
        }
    }
    Ok(())
}

fn clients(kernel: &Kernel, primary: Option<&Primary>, serving: &Serving) -> Result<(), String> {
    for (n, client) in (1..).zip(&kernel.clients) {
        let id = ClientId(n);
        let waits = client.is_waiting() && kernel.holders(id).next().is_none() && !kernel.is_kept(id);
        let to = client.to.as_ref().filter(|_| !kernel.is_limited());
        let somebody = to.and_then(|to| serving.who(to, kernel, primary?));
        match (waits, client.state, somebody) {
            (true, ClientState::Accepted, _)
                if client.accepted_by != Some(Pid::PRIMARY) || primary.is_none() =>
            {
                return Err(format!("client {n} was accepted, and nobody serves it"));
            }
            (true, _, Some(worker)) => {
                return Err(format!("client {n} waits for ever while worker {worker} serves there"));
            }
            _ => {}
        }
        if !client.actions.is_empty() {
            return Err(format!("client {n} cannot do {:?}", client.actions));
        }
    }
    Ok(())
}
