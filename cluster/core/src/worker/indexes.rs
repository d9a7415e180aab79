//! Which of a worker's servers share a socket with which of another's: the n-th live one on the same address does.
//! Node keeps the index of a failed attempt for ever, so that later ones no longer match (up to version 20); here it
//! is given back.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;

use crate::address::AddressType;
use crate::listen::ListenAddress;

/// What must be equal for two servers to be of one row. Node: `address:port:addressType:fd`.
type Place = (Option<String>, Option<i64>, AddressType, Option<i64>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    pub(super) fn new() -> Self {
        Indexes { rows: BTreeMap::new() }
    }

    /// The index of a new server there.
    pub(super) fn take(&mut self, address: &ListenAddress) -> u64 {
        let row = self.rows.entry(place(address)).or_default();
        let index = row.next;
        row.next += 1;
        row.live.insert(index);
        index
    }

    /// A server there is closed, or never came to be. With the last one the counting begins anew.
    pub(super) fn give_back(&mut self, address: &ListenAddress, index: u64) {
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

    #[test]
    fn the_index_grows_until_the_last_is_given_back() {
        let at = ListenAddress::default();
        let mut indexes = Indexes::new();
        assert_eq!((indexes.take(&at), indexes.take(&at)), (0, 1));
        indexes.give_back(&at, 1);
        assert_eq!(indexes.take(&at), 2, "after closing one of two, the next is 2, not 1");
        indexes.give_back(&at, 0);
        indexes.give_back(&at, 2);
        assert_eq!(indexes.take(&at), 0);
    }
}
