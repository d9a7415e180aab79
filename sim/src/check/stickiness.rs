//! Stickiness: under the sticky policy each client address has an order of the slots (without a supervisor,
//! of the worker ids). A connection is handed to the first slot of the order that can serve.
//!
//! The check does not know the hash. When a connection is handed to a slot while another slot can serve, the
//! check records that the receiving slot precedes the other slot in the order of the address. A later
//! connection with the opposite order is a failure. A slot can serve if a worker of the slot has reported a
//! server at the address, is expected to run, and had no failed write.

use std::collections::BTreeSet;
use std::net::IpAddr;

use cluster_core::{Primary, SLOT_VARIABLE, SocketId, WorkerId};

use super::fairness::may_receive;
use crate::kernel::Kernel;
use crate::step::Pid;

/// A slot, or a worker without a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Seat {
    Slot(u32),
    Worker(WorkerId),
}

/// The known parts of each order, and the workers with a failed write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Stickiness {
    /// The first seat precedes the second in the order of the client address at the port.
    orders: BTreeSet<(IpAddr, u16, Seat, Seat)>,
    failed: BTreeSet<WorkerId>,
}

impl Stickiness {
    /// A write to a worker failed: the worker may never receive a connection again.
    pub(crate) fn write_failed(&mut self, worker: WorkerId) {
        self.failed.insert(worker);
    }

    /// Checks a connection that was handed to a worker. `listening` are the workers that listen at the port.
    pub(crate) fn given(
        &mut self,
        connection: SocketId,
        (to, port): (WorkerId, u16),
        listening: impl Iterator<Item = WorkerId>,
        kernel: &Kernel,
        primary: &Primary,
    ) -> Result<(), String> {
        let client = kernel.client_behind(Pid::PRIMARY, connection);
        let Some(client) = client.and_then(|client| kernel.network.clients.get(client).address()) else {
            return Ok(());
        };
        let chosen = seat_of(to, kernel);
        let able = listening.filter(|worker| {
            !self.failed.contains(worker) && primary.worker(*worker).is_some_and(may_receive)
        });
        let others: BTreeSet<Seat> =
            able.map(|worker| seat_of(worker, kernel)).filter(|seat| *seat != chosen).collect();
        for other in others {
            if self.orders.contains(&(client, port, other, chosen)) {
                return Err(format!(
                    "a connection from {client} was handed to {chosen:?}, an earlier one to {other:?}, while both could serve"
                ));
            }
            self.orders.insert((client, port, chosen, other));
        }
        Ok(())
    }
}

fn seat_of(worker: WorkerId, kernel: &Kernel) -> Seat {
    let env = &kernel.processes.get(worker.into()).env;
    let slot = env.iter().find(|(name, _)| *name == SLOT_VARIABLE).and_then(|(_, slot)| slot.to_str());
    slot.and_then(|slot| slot.parse().ok()).map_or(Seat::Worker(worker), Seat::Slot)
}
