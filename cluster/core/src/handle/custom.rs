//! The policy of the program: a function of the program chooses among the ready workers. A function is no
//! part of a state, so the machine asks with [`Call::Choose`](crate::Call::Choose), and the operating system
//! answers. One question is open at a time, about the first queued connection.

use alloc::collections::BTreeMap;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::places::Places;
use super::policy::{Loads, Question};
use crate::os::{Candidate, SocketId, WorkerId};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub(crate) struct Custom {
    /// The addresses of the clients of queued and of unanswered connections.
    clients: BTreeMap<SocketId, IpAddr>,
    /// The connection of the open question.
    asked: Option<SocketId>,
    /// The answer for the first connection of the queue.
    chosen: Option<WorkerId>,
}

impl Custom {
    pub(super) fn push(&mut self, connection: SocketId, client: Option<IpAddr>) {
        if let Some(client) = client {
            self.clients.insert(connection, client);
        }
    }

    /// Called when the connection is never queued again.
    pub(super) fn forget(&mut self, connection: SocketId) {
        self.clients.remove(&connection);
    }

    /// The chosen worker if ready, otherwise the longest waiting worker. A single ready worker needs no
    /// question.
    pub(super) fn choose(&mut self, places: &Places) -> Option<WorkerId> {
        if self.asked.is_some() {
            return None;
        }
        let first = places.ready().next()?;
        match self.chosen.take() {
            Some(chosen) => Some(if places.is_ready(chosen) { chosen } else { first }),
            None => (places.ready().len() == 1).then_some(first),
        }
    }

    /// The question about a connection, unless a question is open or no worker is ready.
    pub(super) fn question(
        &mut self,
        connection: SocketId,
        places: &Places,
        loads: &dyn Loads,
    ) -> Option<Question> {
        if self.asked.is_some() || places.ready().len() == 0 {
            return None;
        }
        self.asked = Some(connection);
        let candidate = |worker| Candidate {
            worker,
            slot: places.slot(worker),
            open_connections: loads.open(worker),
            unanswered: places.outstanding(worker),
        };
        let client = self.clients.get(&connection).copied();
        Some(Question { connection, client, candidates: places.ready().map(candidate).collect() })
    }

    /// Records the answer to the open question. Other answers are ignored.
    pub(super) fn chosen(&mut self, connection: SocketId, worker: WorkerId) {
        if self.asked == Some(connection) {
            self.asked = None;
            self.chosen = Some(worker);
        }
    }
}
