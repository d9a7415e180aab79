//! Ledger: the book of the primary and the tables of the kernel say the same, and no connection is lost or served twice.
//!
//! It assumes programs that keep asking for connections. It looks at the primary when it has done what its book says.

use std::collections::BTreeMap;

use cluster_core::{ConnectionState, Primary, SocketId};

use super::liveness::Serving;
use crate::kernel::Kernel;
use crate::kernel::process_table::{Descriptor, Origin, Pid};
use crate::kernel::socket::SocketKind;
use crate::program::ClientId;

/// A program was given a connection.
pub(crate) fn held(kernel: &Kernel, pid: Pid, client: Option<ClientId>) -> Result<(), String> {
    let Some(client) = client else {
        return Err(format!("worker {} was given a connection that it does not have", pid.0));
    };
    match kernel.client(client).served {
        0 | 1 => Ok(()),
        n => Err(format!("the connection of client {} was given to {n} programs", client.0)),
    }
}

/// The primary has nothing left to do: what it has is what it answers for.
pub(crate) fn at_rest(kernel: &Kernel, primary: &Primary) -> Result<(), String> {
    let accepted = kernel.clients.iter().filter(|client| client.accepted_by == Some(Pid::PRIMARY)).count();
    let counted = primary.ledger().accepted();
    if accepted as u64 != counted {
        return Err(format!(
            "the kernel let the primary accept {accepted} connections, the ledger has {counted}"
        ));
    }
    let open: BTreeMap<SocketId, ConnectionState> = primary.ledger().open().collect();
    let mut had = 0;
    // What the program accepted or was sent is not the cluster's.
    let of_the_cluster = |descriptor: &&Descriptor| descriptor.origin == Origin::Machine;
    for descriptor in kernel.process(Pid::PRIMARY).descriptors().iter().filter(of_the_cluster) {
        if let SocketKind::Connection(client) = kernel.file(descriptor.file).kind {
            had += 1;
            agrees(open.get(&descriptor.id), kernel, client)?;
        }
    }
    if had == open.len() {
        return Ok(());
    }
    Err(format!("the ledger answers for {} connections, the primary has {had}", open.len()))
}

fn agrees(standing: Option<&ConnectionState>, kernel: &Kernel, client: ClientId) -> Result<(), String> {
    let ClientId(n) = client;
    match standing {
        None => Err(format!("the primary has the connection of client {n}, the ledger has not")),
        Some(ConnectionState::Queued(_)) if kernel.client(client).served > 0 => {
            Err(format!("the connection of client {n} is queued, and a program was given it"))
        }
        Some(_) => Ok(()),
    }
}

/// Nothing can happen any more: no connection is left with a worker that is gone, or waits while one serves there.
pub(crate) fn at_the_end(kernel: &Kernel, primary: &Primary, serving: &Serving) -> Result<(), String> {
    for (socket, standing) in primary.ledger().open() {
        match standing {
            ConnectionState::Handed(_, worker) if !kernel.process(worker.into()).is_alive() => {
                return Err(format!("a connection was handed to worker {worker}, which is dead"));
            }
            ConnectionState::Queued(_) => {
                let client = kernel.client_behind(Pid::PRIMARY, socket);
                let to = client.and_then(|client| kernel.client(client).to.as_ref());
                if let Some(worker) = to.and_then(|to| serving.who(to, kernel, primary)) {
                    return Err(format!("a connection waits while worker {worker} serves there"));
                }
                if !primary.settings().keep_listening && primary.workers().next().is_none() {
                    return Err(format!("a connection waits, and there is no worker: {socket:?}"));
                }
            }
            ConnectionState::Handed(..) => {}
        }
    }
    Ok(())
}
