//! The policy of two choices: two workers that are ready are drawn, and the worker with fewer open
//! connections receives the connection. Among equals, the worker drawn first is chosen.
//!
//! The core has no random source. The draw of a connection is the hash XXH64 of its number, and connections
//! are numbered in order of acceptance: the sequence of draws is even, repeatable, and independent of the
//! loads and of the clients.

use xxhash_rust::xxh64::xxh64;

use super::places::Places;
use super::policy::Loads;
use crate::os::{SocketId, WorkerId};

pub(super) fn choose(connection: SocketId, places: &Places, loads: &dyn Loads) -> Option<WorkerId> {
    let (first, second) = draw(connection, places.ready().len())?;
    let ready = |at| places.ready().nth(at);
    [ready(first), ready(second)].into_iter().flatten().min_by_key(|worker| places.load(*worker, loads))
}

/// Two numbers below `of`, different if `of` is at least 2.
fn draw(SocketId(connection): SocketId, of: usize) -> Option<(usize, usize)> {
    let hash = xxh64(&connection.to_le_bytes(), 0);
    let below = |bits: u64, bound: usize| usize::try_from(bits % u64::try_from(bound).ok()?).ok();
    match of {
        0 => None,
        1 => Some((0, 0)),
        _ => {
            let first = below(hash & u64::from(u32::MAX), of)?;
            Some((first, (first + 1 + below(hash >> 32, of - 1)?) % of))
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    /// Each of 4 workers is the first draw of about a quarter of the connections, and the second draw of
    /// about a quarter. No connection draws a worker twice.
    #[test]
    fn draws_are_even() {
        let draws: Vec<_> = (0..10_000).map(|n| draw(SocketId(n), 4).expect("a draw")).collect();
        assert!(draws.iter().all(|(first, second)| first != second));
        for worker in 0..4 {
            let firsts = draws.iter().filter(|(first, _)| *first == worker).count();
            let seconds = draws.iter().filter(|(_, second)| *second == worker).count();
            assert!((2_350..2_650).contains(&firsts), "worker {worker} is drawn first {firsts} times");
            assert!((2_350..2_650).contains(&seconds), "worker {worker} is drawn second {seconds} times");
        }
        assert_eq!((draw(SocketId(7), 1), draw(SocketId(7), 0)), (Some((0, 0)), None));
    }
}
