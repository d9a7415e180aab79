//! The indexes of a worker's servers. The n-th open server of an address shares a socket with the n-th open
//! server of every other worker. Up to version 20, Node does not reuse the index of a failed attempt, so
//! later servers no longer match. Here the index is returned.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;

use crate::address::AddressType;
use crate::listen::ListenAddress;

/// The servers with equal values are counted together. Node: `address:port:addressType:fd`.
type Place = (Option<String>, Option<i64>, AddressType, Option<i64>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Indexes {
    rows: BTreeMap<Place, Row>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Row {
    next: u64,
    live: BTreeSet<u64>,
}

fn place(address: &ListenAddress) -> Place {
    let query = address.query(0, None);
    (query.address, query.port, query.address_type, query.fd)
}

impl Indexes {
    /// Takes the next index for a new server.
    pub(super) fn take(&mut self, address: &ListenAddress) -> u64 {
        let row = self.rows.entry(place(address)).or_default();
        let index = row.next;
        row.next += 1;
        row.live.insert(index);
        index
    }

    /// Returns the index of a server that is closed or has failed to open. When the last index is returned,
    /// counting restarts. `None`: an exclusive server, which has no index.
    pub(super) fn give_back(&mut self, address: &ListenAddress, index: Option<u64>) {
        let Some(index) = index else { return };
        let place = place(address);
        if let Some(row) = self.rows.get_mut(&place) {
            row.live.remove(&index);
            if row.live.is_empty() {
                self.rows.remove(&place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The indexes grow until the last index is returned.
    #[test]
    fn index_restarts_after_last_return() {
        let at = ListenAddress::default();
        let mut indexes = Indexes::default();
        assert_eq!((indexes.take(&at), indexes.take(&at)), (0, 1));
        indexes.give_back(&at, Some(1));
        assert_eq!(indexes.take(&at), 2, "after closing one of two, the next is 2, not 1");
        indexes.give_back(&at, Some(0));
        indexes.give_back(&at, Some(2));
        assert_eq!(indexes.take(&at), 0);
    }
}
