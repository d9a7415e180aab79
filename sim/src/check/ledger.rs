//! Ledger: the ledger of the primary agrees with the tables of the kernel, and no connection is lost or
//! served twice.
//!
//! The check assumes programs that keep accepting. The check runs when the primary is idle, because then
//! every call that follows from the ledger is performed.

use std::collections::BTreeMap;

use cluster_core::{ConnectionState, Primary, SocketId};

use super::liveness::{Serving, waits_for_stopped};
use crate::event::ClientId;
use crate::kernel::Kernel;
use crate::kernel::process_table::{Descriptor, Origin};
use crate::kernel::socket::SocketKind;
use crate::step::Pid;

/// Checks a connection received by a program.
pub(crate) fn received(kernel: &Kernel, pid: Pid, client: Option<ClientId>) -> Result<(), String> {
    let Some(client) = client else {
        return Err(format!("worker {} received a connection that is not in its descriptor table", pid.0));
    };
    match kernel.network.clients.get(client).served {
        0 | 1 => Ok(()),
        n => Err(format!("the connection of client {} was delivered to {n} programs", client.0)),
    }
}

/// Checks that an idle primary has open exactly the connections of its ledger.
pub(crate) fn at_rest(kernel: &Kernel, primary: &Primary) -> Result<(), String> {
    let accepted =
        kernel.network.clients.iter().filter(|(_, client)| client.accepted_by == Some(Pid::PRIMARY)).count();
    let counted = primary.ledger().accepted();
    if accepted as u64 != counted {
        return Err(format!("the primary accepted {accepted} connections, its ledger counts {counted}"));
    }
    let open: BTreeMap<SocketId, ConnectionState> = primary.ledger().open().collect();
    let mut had = 0;
    // Connections that the program itself accepted or received are not in the ledger.
    let of_the_cluster = |descriptor: &&Descriptor| descriptor.origin == Origin::Machine;
    for descriptor in kernel.processes.get(Pid::PRIMARY).descriptors().iter().filter(of_the_cluster) {
        if let SocketKind::Connection(client) = kernel.network.sockets.get(descriptor.file).kind {
            had += 1;
            agrees(open.get(&descriptor.id), kernel, client)?;
        }
    }
    if had == open.len() {
        return Ok(());
    }
    Err(format!("the ledger has {} open connections, the primary has {had}", open.len()))
}

fn agrees(standing: Option<&ConnectionState>, kernel: &Kernel, client: ClientId) -> Result<(), String> {
    let ClientId(n) = client;
    match standing {
        None => Err(format!("the primary has the connection of client {n}, its ledger does not")),
        Some(ConnectionState::Queued(_)) if kernel.network.clients.get(client).served > 0 => {
            Err(format!("the connection of client {n} is queued although a program has received it"))
        }
        Some(_) => Ok(()),
    }
}

/// Checks the final state: no connection is with a dead worker, and no connection is queued while a worker
/// serves its address.
pub(crate) fn at_the_end(kernel: &Kernel, primary: &Primary, serving: &Serving) -> Result<(), String> {
    for (socket, standing) in primary.ledger().open() {
        match standing {
            ConnectionState::Handed(_, worker) if !kernel.processes.get(worker.into()).is_alive() => {
                return Err(format!("a connection is still handed to worker {worker}, which is dead"));
            }
            ConnectionState::Queued(_) => {
                let client = kernel.client_behind(Pid::PRIMARY, socket);
                let to = client.and_then(|client| kernel.network.clients.get(client).to.as_ref());
                let worker = to.and_then(|to| serving.worker_at(to, kernel, primary));
                if let Some(worker) = worker.filter(|_| !waits_for_stopped(kernel, primary)) {
                    return Err(format!("a connection is queued while worker {worker} serves its address"));
                }
                if !primary.settings().keep_listening && primary.workers().next().is_none() {
                    return Err(format!("a connection is queued and there is no worker: {socket:?}"));
                }
            }
            ConnectionState::Handed(..) => {}
        }
    }
    Ok(())
}
