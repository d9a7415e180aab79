//! Ledger: the book of the primary and the tables of the kernel say the same, and no connection is lost or served twice.
//!
//! It assumes programs that keep asking for connections. It looks at the primary when it has done what its book says.

use std::collections::BTreeMap;

use cluster_core::{Primary, SocketId, Standing, WorkerId, WorkerState};

use crate::kernel::Kernel;
use crate::kernel::process::Pid;
use crate::kernel::socket::Kind;
use crate::program::ClientId;

/// It remembers nothing: the kernel counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct LedgerCheck;

impl LedgerCheck {
    /// A program was given a connection.
    #[expect(clippy::unused_self, reason = "the checks have one face")]
    pub(crate) fn held(&self, kernel: &Kernel, pid: Pid, client: Option<ClientId>) -> Result<(), String> {
        let Some(client) = client else {
            return Err(format!("worker {} was given a connection that it does not have", pid.0));
        };
        match kernel.client(client).served {
            1 => Ok(()),
            n => Err(format!("the connection of client {} was given to {n} programs", client.0)),
        }
    }

    /// The primary has nothing left to do: what it has is what it answers for.
    #[expect(clippy::unused_self, reason = "the checks have one face")]
    pub(crate) fn at_rest(&self, kernel: &Kernel, primary: &Primary) -> Result<(), String> {
        let accepted =
            kernel.clients.iter().filter(|client| client.accepted_by == Some(Pid::PRIMARY)).count();
        let counted = primary.ledger().accepted();
        if accepted as u64 != counted {
            return Err(format!(
                "the kernel let the primary accept {accepted} connections, the ledger has {counted}"
            ));
        }
        let open: BTreeMap<SocketId, Standing> = primary.ledger().open().collect();
        let mut had = 0;
        for descriptor in kernel.process(Pid::PRIMARY).descriptors() {
            let Kind::Connection(client) = kernel.file(descriptor.file).kind else { continue };
            had += 1;
            let Some(standing) = open.get(&descriptor.id) else {
                return Err(format!(
                    "the primary has the connection of client {}, the ledger has not",
                    client.0
                ));
            };
            if matches!(standing, Standing::Queued(_)) && kernel.client(client).served > 0 {
                return Err(format!(
                    "the connection of client {} is queued, and a program was given it",
                    client.0
                ));
            }
        }
        if had < open.len() {
            return Err(format!("the ledger answers for {} connections, the primary has {had}", open.len()));
        }
        Ok(())
    }

    /// Nothing can happen any more: no connection is left with a worker that is gone, or waits while one listens.
    #[expect(clippy::unused_self, reason = "the checks have one face")]
    pub(crate) fn at_the_end(&self, kernel: &Kernel, primary: &Primary) -> Result<(), String> {
        for (_, standing) in primary.ledger().open() {
            match standing {
                Standing::Handed(_, worker) if !kernel.process(worker.into()).is_alive() => {
                    return Err(format!("a connection was handed to worker {worker}, which is dead"));
                }
                Standing::Queued(_) => {
                    if let Some(worker) = listening(primary) {
                        return Err(format!("a connection waits while worker {worker} listens"));
                    }
                }
                Standing::Handed(..) => {}
            }
        }
        Ok(())
    }
}

/// A worker that serves and is to stay.
pub(crate) fn listening(primary: &Primary) -> Option<WorkerId> {
    primary.workers().find(|&worker| {
        primary.worker(worker).is_some_and(|life| {
            life.state() == WorkerState::Listening
                && life.is_connected()
                && life.exited_after_disconnect() != Some(true)
        })
    })
}
