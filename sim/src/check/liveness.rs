//! Liveness: in the final state no process and no client waits for an event that will never happen.
//!
//! The check assumes programs that keep accepting, and that close a connection after the client has ended.

use std::collections::BTreeMap;

use cluster_core::{
    ConnectionState, ListenerId, LocalAddress, Primary, SchedulingPolicy, WorkerId, WorkerInfo,
};

use crate::event::ClientId;
use crate::kernel::Kernel;
use crate::kernel::process_table::Phase;
use crate::kernel::socket::{ClientState, SocketKind};
use crate::step::Pid;

/// The addresses that workers serve, as reported by their events.
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

    /// A worker that serves the address, is not stopped, and is expected to keep running.
    pub(crate) fn worker_at(
        &self,
        to: &LocalAddress,
        kernel: &Kernel,
        primary: &Primary,
    ) -> Option<WorkerId> {
        let is_there = |worker| {
            primary.worker(worker).is_some_and(is_expected_to_run)
                && !kernel.processes.is_stopped(worker.into())
        };
        let serves = |(&(worker, _), served): (&(WorkerId, ListenerId), &LocalAddress)| {
            (is_at(served, to) && is_there(worker)).then_some(worker)
        };
        self.addresses.iter().find_map(serves)
    }
}

/// Whether the cluster expects a worker to keep running.
pub(super) fn is_expected_to_run(life: &WorkerInfo) -> bool {
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

/// Checks the final state: no step is enabled.
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
    for (pid @ Pid(n), process) in kernel.processes.iter().skip(1) {
        if matches!(process.phase, Phase::Dead(_)) && primary.is_some() {
            return Err(format!("worker {n} is dead, and the primary has received no exit"));
        }
        let life = primary.and_then(|primary| primary.worker(pid.worker()));
        let must_exit = life.is_none_or(|life| life.exited_after_disconnect() == Some(true));
        // A blocked process counts as stopped, and cannot exit.
        if process.is_alive() && must_exit && !kernel.keeps_running(pid) && !kernel.processes.is_stopped(pid)
        {
            return Err(format!("worker {n} was asked to exit and has nothing left to do, but still runs"));
        }
    }
    Ok(())
}

/// An idle worker that serves an address has a socket there. A worker with connections may have closed its
/// server and drain.
fn servers(kernel: &Kernel, primary: &Primary, serving: &Serving) -> Result<(), String> {
    let is_open = |served: &LocalAddress| {
        matches!(served, LocalAddress::Path(_))
            || kernel
                .network
                .sockets
                .iter()
                .any(|(id, _)| kernel.network.sockets.address(id).as_ref() == Some(served))
    };
    let is_idle = |worker: WorkerId| {
        let process = kernel.processes.get(worker.into());
        let mut files =
            process.descriptors().iter().map(|descriptor| &kernel.network.sockets.get(descriptor.file).kind);
        !process.hostile && !files.any(|kind| matches!(kind, SocketKind::Connection(_)))
    };
    for (&(worker, _), served) in &serving.addresses {
        if primary.worker(worker).is_some_and(is_expected_to_run) && is_idle(worker) && !is_open(served) {
            return Err(format!("worker {worker} serves {served:?}, but no socket is bound there"));
        }
    }
    Ok(())
}

/// Whether the primary offers the connection to a stopped worker. The offer may wait behind another message.
fn is_offered_to_stopped(id: ClientId, kernel: &Kernel, primary: &Primary) -> bool {
    primary.ledger().open().any(|(socket, state)| match state {
        ConnectionState::Handed(_, worker) => {
            kernel.processes.is_stopped(worker.into())
                && kernel.client_behind(Pid::PRIMARY, socket) == Some(id)
        }
        ConnectionState::Queued(_) => false,
    })
}

/// Whether connections may wait for a stopped worker forever: under the sticky policy no other worker
/// receives the connections.
pub(crate) fn waits_for_stopped(kernel: &Kernel, primary: &Primary) -> bool {
    primary.settings().policy == SchedulingPolicy::Sticky
        && primary.ledger().open().any(|(_, state)| match state {
            ConnectionState::Handed(_, worker) => kernel.processes.is_stopped(worker.into()),
            ConnectionState::Queued(_) => false,
        })
}

fn clients(kernel: &Kernel, primary: Option<&Primary>, serving: &Serving) -> Result<(), String> {
    for (id @ ClientId(n), client) in kernel.network.clients.iter() {
        let is_held = kernel.network.holders(id, &kernel.processes).next().is_some();
        let is_offered = || primary.is_some_and(|primary| is_offered_to_stopped(id, kernel, primary));
        let waits = client.is_waiting() && !is_held && !kernel.is_out_of_reach(id) && !is_offered();
        let is_excused =
            kernel.system().is_limited() || primary.is_some_and(|primary| waits_for_stopped(kernel, primary));
        let to = client.to.as_ref().filter(|_| !is_excused);
        let worker = to.and_then(|to| serving.worker_at(to, kernel, primary?));
        match (waits, client.state, worker) {
            (true, ClientState::Accepted, _)
                if client.accepted_by != Some(Pid::PRIMARY) || primary.is_none() =>
            {
                return Err(format!("client {n} was accepted, and no process serves it"));
            }
            (true, _, Some(worker)) => {
                return Err(format!("client {n} waits forever while worker {worker} serves its address"));
            }
            _ => {}
        }
        if !client.actions.is_empty() {
            return Err(format!("client {n} can never perform {:?}", client.actions));
        }
    }
    Ok(())
}
