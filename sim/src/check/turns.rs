//! Turns: of the connections that wait in the primary, who has come earlier is handed out earlier.
//!
//! It looks at the primary's ledger when that has changed and the primary has nothing left to do. Of connections that
//! began to wait between two looks none was first; one that comes back from a worker has come anew.

use std::collections::BTreeSet;

use cluster_core::{HandleId, Primary, SocketId, Standing};

type Connections = BTreeSet<(HandleId, SocketId)>;

/// Who waits, the earliest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Turns {
    queue: Vec<Connections>,
}

impl Turns {
    /// The primary has nothing left to do.
    pub(crate) fn at_rest(&mut self, primary: &Primary) -> Result<(), String> {
        let (mut waits, mut handed) = (Connections::new(), Connections::new());
        for (socket, standing) in primary.ledger().open() {
            match standing {
                Standing::Queued(handle) => waits.insert((handle, socket)),
                Standing::Handed(handle, _) => handed.insert((handle, socket)),
            };
        }
        self.look(waits, &handed)
    }

    fn look(&mut self, mut waits: Connections, handed: &Connections) -> Result<(), String> {
        let mut before: BTreeSet<HandleId> = BTreeSet::new();
        for group in &self.queue {
            let early = group.intersection(handed).find(|(handle, _)| before.contains(handle));
            if let Some((_, socket)) = early {
                return Err(format!("{socket:?} was handed out, and one that came earlier still waits"));
            }
            before.extend(group.intersection(&waits).map(|(handle, _)| *handle));
        }
        self.queue.iter_mut().for_each(|group| group.retain(|connection| waits.remove(connection)));
        self.queue.push(waits);
        self.queue.retain(|group| !group.is_empty());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sockets: &[u32]) -> Connections {
        sockets.iter().map(|&socket| (HandleId(1), SocketId(socket))).collect()
    }

    #[test]
    fn who_is_passed_by_a_later_one_is_seen_and_who_came_together_may_go_in_any_order() {
        let mut turns = Turns::default();
        assert_eq!(turns.look(of(&[2, 3]), &of(&[1])), Ok(()));
        assert_eq!(turns.look(of(&[2, 4]), &of(&[1, 3])), Ok(()));
        assert!(turns.clone().look(of(&[2]), &of(&[4])).is_err());
        assert_eq!(turns.look(of(&[4, 3]), &of(&[2])), Ok(()), "3 has come back");
        assert!(turns.look(of(&[4]), &of(&[3])).is_err());
    }
}
