//! Fifo: the primary hands off queued connections in the order of arrival; under the sticky policy, this
//! holds for the connections of each client address.
//!
//! The check compares the ledger of an idle primary with the ledger at the previous check. Connections queued
//! between two checks are unordered among themselves. A connection that a worker returns is queued as a new
//! connection. Between two checks a connection may be handed off and returned, unnoticed. Therefore the
//! recorded order is emptied after each return.

use std::net::IpAddr;

use cluster_core::{ConnectionState, HandleId, SchedulingPolicy, SocketId};

use crate::kernel::Kernel;
use crate::step::Pid;

/// A queue of connections that are handed off in order: the queue of a handle, or of a client address at a
/// handle.
pub(crate) type QueueId = (HandleId, Option<IpAddr>);

/// The client address of a connection, if the policy orders the connections of each address.
pub(crate) fn client_of(connection: SocketId, policy: SchedulingPolicy, kernel: &Kernel) -> Option<IpAddr> {
    let client = || kernel.client_behind(Pid::PRIMARY, connection);
    (policy == SchedulingPolicy::Sticky)
        .then(client)
        .flatten()
        .and_then(|client| kernel.network.clients.get(client).address())
}

/// The queued connections in groups, the oldest group first. Connections of a group are unordered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Fifo {
    queue: Vec<Vec<(QueueId, SocketId)>>,
    /// The number of connections that workers had returned at the last check.
    returned: u64,
}

impl Fifo {
    /// Checks an idle primary with these open connections, in id order; `returned` is the number of
    /// connections that workers have returned so far.
    pub(crate) fn at_rest(
        &mut self,
        open: &[(SocketId, ConnectionState)],
        returned: u64,
        client_of: impl Fn(SocketId) -> Option<IpAddr>,
    ) -> Result<(), String> {
        if std::mem::replace(&mut self.returned, returned) != returned {
            self.queue.clear();
        }
        let standing = |(_, socket)| {
            let at = open.binary_search_by_key(&socket, |(socket, _)| *socket).ok()?;
            Some(open[at].1)
        };
        let waits = |&one: &(QueueId, SocketId)| standing(one) == Some(ConnectionState::Queued(one.0.0));
        let is_handed = |&one: &(QueueId, SocketId)| matches!(standing(one), Some(ConnectionState::Handed(handle, _)) if handle == one.0.0);
        let mut before: Vec<QueueId> = Vec::new();
        for group in &self.queue {
            let early = group.iter().find(|one| before.contains(&one.0) && is_handed(one));
            if let Some((_, socket)) = early {
                return Err(format!("{socket:?} was handed off while an earlier connection is still queued"));
            }
            before.extend(group.iter().filter(|one| waits(one)).map(|(queue, _)| *queue));
        }
        self.queue.iter_mut().for_each(|group| group.retain(waits));
        let new = open.iter().filter_map(|&(socket, standing)| match standing {
            ConnectionState::Queued(handle) => Some(((handle, client_of(socket)), socket)),
            ConnectionState::Handed(..) => None,
        });
        let mut known = self.queue.concat();
        known.sort_unstable();
        let new = new.filter(|one| known.binary_search(one).is_err()).collect();
        self.queue.push(new);
        self.queue.retain(|group| !group.is_empty());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_core::WorkerId;

    /// A ledger with queued and with handed-off connections.
    fn of(queued: &[u64], handed: &[u64]) -> Vec<(SocketId, ConnectionState)> {
        let queued = queued.iter().map(|&socket| (SocketId(socket), ConnectionState::Queued(HandleId(1))));
        let standing = ConnectionState::Handed(HandleId(1), WorkerId(1));
        let handed = handed.iter().map(|&socket| (SocketId(socket), standing));
        let mut open: Vec<_> = queued.chain(handed).collect();
        open.sort_by_key(|(socket, _)| *socket);
        open
    }

    #[test]
    fn later_connection_handed_off_first_fails() {
        let mut fifo = Fifo::default();
        assert_eq!(fifo.at_rest(&of(&[2, 3], &[1]), 0, |_| None), Ok(()));
        assert_eq!(fifo.at_rest(&of(&[2, 4], &[1, 3]), 0, |_| None), Ok(()));
        assert!(fifo.clone().at_rest(&of(&[2], &[4]), 0, |_| None).is_err());
        assert_eq!(fifo.at_rest(&of(&[4, 3], &[2]), 0, |_| None), Ok(()), "3 was returned");
        assert!(fifo.clone().at_rest(&of(&[4], &[3]), 0, |_| None).is_err());
        assert_eq!(fifo.at_rest(&of(&[4], &[3]), 1, |_| None), Ok(()), "4 was handed off and returned");
    }

    #[test]
    fn clients_have_queues_of_their_own() {
        let client =
            |SocketId(socket)| Some(IpAddr::from([127, 0, 0, u8::try_from(socket % 2).expect("a bit")]));
        let mut fifo = Fifo::default();
        assert_eq!(fifo.at_rest(&of(&[2], &[1]), 0, client), Ok(()));
        assert_eq!(fifo.at_rest(&of(&[2, 3, 4], &[1]), 0, client), Ok(()));
        assert!(fifo.clone().at_rest(&of(&[2, 3], &[4]), 0, client).is_err());
        assert_eq!(fifo.at_rest(&of(&[2, 4], &[3]), 0, client), Ok(()));
    }
}
