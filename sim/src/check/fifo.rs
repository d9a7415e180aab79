//! Turns: of the connections that wait in the primary, who has come earlier is handed out earlier.
//!
//! It looks at the primary's ledger when that has changed and the primary has nothing left to do. Of connections that
//! began to wait between two looks none was first; one that comes back from a worker has come anew. It may have been handed
//! out and have come back between two looks: then nobody was first.

use cluster_core::{ConnectionState, HandleId, SocketId};

/// Who waits, the earliest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Fifo {
    queue: Vec<Vec<(HandleId, SocketId)>>,
    /// How many had come back from a worker.
    returned: u64,
}

impl Fifo {
    /// The primary has nothing left to do, and these connections are open, in the order of their numbers; so many
    /// have come back from workers so far.
    pub(crate) fn at_rest(
        &mut self,
        open: &[(SocketId, ConnectionState)],
        returned: u64,
    ) -> Result<(), String> {
        if std::mem::replace(&mut self.returned, returned) != returned {
            self.queue.clear();
        }
        let standing = |(_, socket)| {
            let at = open.binary_search_by_key(&socket, |(socket, _)| *socket).ok()?;
            Some(open[at].1)
        };
        let waits = |&one: &(HandleId, SocketId)| standing(one) == Some(ConnectionState::Queued(one.0));
        let is_handed = |&one: &(HandleId, SocketId)| matches!(standing(one), Some(ConnectionState::Handed(handle, _)) if handle == one.0);
        let mut before: Vec<HandleId> = Vec::new();
        for group in &self.queue {
            let early = group.iter().find(|one| before.contains(&one.0) && is_handed(one));
            if let Some((_, socket)) = early {
                return Err(format!("{socket:?} was handed out, and one that came earlier still waits"));
            }
            before.extend(group.iter().filter(|one| waits(one)).map(|(handle, _)| *handle));
        }
        self.queue.iter_mut().for_each(|group| group.retain(waits));
        let new = open.iter().filter_map(|&(socket, standing)| match standing {
            ConnectionState::Queued(handle) => Some((handle, socket)),
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

    /// So many wait, and so many are handed out.
    fn of(queued: &[u64], handed: &[u64]) -> Vec<(SocketId, ConnectionState)> {
        let queued = queued.iter().map(|&socket| (SocketId(socket), ConnectionState::Queued(HandleId(1))));
        let standing = ConnectionState::Handed(HandleId(1), WorkerId(1));
        let handed = handed.iter().map(|&socket| (SocketId(socket), standing));
        let mut open: Vec<_> = queued.chain(handed).collect();
        open.sort_by_key(|(socket, _)| *socket);
        open
    }

    #[test]
    fn who_is_passed_by_a_later_one_is_seen_and_who_came_together_may_go_in_any_order() {
        let mut fifo = Fifo::default();
        assert_eq!(fifo.at_rest(&of(&[2, 3], &[1]), 0), Ok(()));
        assert_eq!(fifo.at_rest(&of(&[2, 4], &[1, 3]), 0), Ok(()));
        assert!(fifo.clone().at_rest(&of(&[2], &[4]), 0).is_err());
        assert_eq!(fifo.at_rest(&of(&[4, 3], &[2]), 0), Ok(()), "3 has come back");
        assert!(fifo.clone().at_rest(&of(&[4], &[3]), 0).is_err());
        assert_eq!(fifo.at_rest(&of(&[4], &[3]), 1), Ok(()), "4 has been handed out, and has come back");
    }
}
