//! The sticky policy: the connections of a client address reach the same worker. A connection waits for this
//! worker even while other workers are free.
//!
//! Each client address has a fixed order of all seats, by rendezvous hashing: the seat with the highest score
//! is first. A score depends on an address and a seat alone, so a new seat takes a share of the clients from
//! every other seat, and when a seat is removed, only its own clients move. A worker that restarts has the
//! same seat, and so the same clients.
//!
//! The score is the 64-bit hash XXH64 of the 16 bytes of the address (IPv4 as an IPv4-mapped IPv6 address),
//! with the number of the seat as the seed. The port has no influence. The hash is the same on every machine
//! and in every version.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh64::xxh64;

use super::places::Places;
use super::policy::{Handoff, Loads, Policy, Seat};
use crate::os::{SocketId, WorkerId};

/// The identity of a client for the scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Client([u8; 16]);

impl Client {
    /// A connection without an address counts as a client of its own, so these connections spread over all
    /// workers.
    fn of(connection: SocketId, address: Option<IpAddr>) -> Self {
        Client(match address {
            Some(IpAddr::V4(address)) => address.to_ipv6_mapped().octets(),
            Some(IpAddr::V6(address)) => address.octets(),
            None => u128::from(connection.0).to_be_bytes(),
        })
    }

    fn score(self, seat: Seat) -> u64 {
        xxh64(&self.0, seat.number())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub(crate) struct Sticky {
    places: Places,
    /// The workers that listen here, but cannot receive a connection now: their clients move.
    passed_over: BTreeSet<WorkerId>,
    /// The connections that are handed off and not answered, unless queued again.
    handed: BTreeMap<SocketId, Client>,
    /// The queued connections, each at the worker that is first for the client, in order of acceptance. No
    /// queue in the map is empty.
    waiting: BTreeMap<WorkerId, BTreeMap<SocketId, Client>>,
    /// The connections queued because no worker can receive a connection.
    unassigned: BTreeMap<SocketId, Client>,
    /// The workers for which a connection waits, and which have a free place.
    due: BTreeSet<WorkerId>,
}

impl Sticky {
    /// The worker with the highest score. Two workers may have the same seat: then the earlier is chosen, and
    /// the successor follows when the predecessor no longer listens.
    fn choose(&self, client: Client) -> Option<WorkerId> {
        let able = self.places.seats().filter(|(worker, _)| !self.passed_over.contains(worker));
        able.max_by_key(|(worker, seat)| (client.score(*seat), Reverse(*worker))).map(|(worker, _)| worker)
    }

    fn enqueue(&mut self, connection: SocketId, client: Client) {
        let Some(worker) = self.choose(client) else {
            self.unassigned.insert(connection, client);
            return;
        };
        self.waiting.entry(worker).or_default().insert(connection, client);
        self.update_due(worker);
    }

    fn update_due(&mut self, worker: WorkerId) {
        if self.waiting.contains_key(&worker) && self.places.is_ready(worker) {
            self.due.insert(worker);
        } else {
            self.due.remove(&worker);
        }
    }

    /// Chooses again for every queued connection, because the workers have changed.
    fn choose_again(&mut self) {
        for (connection, client) in self.take_queue() {
            self.enqueue(connection, client);
        }
    }

    /// Empties the queue, in order of acceptance.
    fn take_queue(&mut self) -> BTreeMap<SocketId, Client> {
        self.due.clear();
        let mut all = core::mem::take(&mut self.unassigned);
        all.extend(core::mem::take(&mut self.waiting).into_values().flatten());
        all
    }
}

impl Policy for Sticky {
    fn add(&mut self, worker: WorkerId, seat: Seat, places: u32) {
        self.places.add(worker, seat, places);
        self.choose_again();
    }

    fn remove(&mut self, worker: WorkerId) {
        self.passed_over.remove(&worker);
        if self.places.has(worker) {
            self.places.remove(worker);
            self.choose_again();
        }
    }

    fn has(&self, worker: WorkerId) -> bool {
        self.places.has(worker)
    }

    fn is_unused(&self) -> bool {
        self.places.is_empty()
    }

    fn push(&mut self, connection: SocketId, client: Option<IpAddr>) {
        self.enqueue(connection, Client::of(connection, client));
    }

    fn requeue(&mut self, worker: WorkerId, connection: SocketId) {
        self.places.pause(worker);
        self.update_due(worker);
        // A restored state with a contradiction may have no record: then the client is unknown.
        let client = self.handed.remove(&connection).unwrap_or_else(|| Client::of(connection, None));
        self.enqueue(connection, client);
    }

    fn connections(&self) -> Vec<SocketId> {
        let assigned = self.waiting.values().flat_map(BTreeMap::keys);
        self.unassigned.keys().chain(assigned).copied().collect()
    }

    fn queued(&self) -> usize {
        self.unassigned.len() + self.waiting.values().map(BTreeMap::len).sum::<usize>()
    }

    fn taken(&mut self, connection: SocketId) {
        self.handed.remove(&connection);
    }

    fn answered(&mut self, worker: WorkerId) {
        self.places.answered(worker);
        if self.passed_over.remove(&worker) {
            self.choose_again();
        } else {
            self.update_due(worker);
        }
    }

    fn pass_over(&mut self, worker: WorkerId) {
        self.places.pause(worker);
        if self.has(worker) && self.passed_over.insert(worker) {
            self.choose_again();
        }
    }

    fn next(&mut self, _: &dyn Loads) -> Option<Handoff> {
        let worker = self.due.pop_first()?;
        let queue = self.waiting.get_mut(&worker)?;
        let (connection, client) = queue.pop_first()?;
        if queue.is_empty() {
            self.waiting.remove(&worker);
        }
        self.places.hand(worker);
        self.handed.insert(connection, client);
        self.update_due(worker);
        Some(Handoff { worker, connection })
    }

    fn reads_loads(&self) -> bool {
        false
    }

    fn drain(&mut self) -> Vec<SocketId> {
        self.take_queue().into_keys().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    /// No worker has reported a number.
    struct Unknown;

    impl Loads for Unknown {
        fn open(&self, _: WorkerId) -> Option<u64> {
            None
        }
    }

    const ONE: WorkerId = WorkerId(1);
    const TWO: WorkerId = WorkerId(2);
    const THREE: WorkerId = WorkerId(3);

    fn client(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + n).into()
    }

    /// A policy with one worker in each of the first slots.
    fn slots(count: u32) -> Sticky {
        let mut sticky = Sticky::default();
        for slot in 0..count {
            sticky.add(WorkerId(u64::from(slot) + 1), Seat::of_slot(slot), 1);
        }
        sticky
    }

    /// The first worker of each of many clients.
    fn homes(sticky: &Sticky) -> Vec<WorkerId> {
        let choose = |n| sticky.choose(Client::of(SocketId(0), Some(client(n)))).expect("a worker");
        (0..10_000).map(choose).collect()
    }

    fn all_due(sticky: &mut Sticky) -> Vec<(u64, u64)> {
        core::iter::from_fn(|| sticky.next(&Unknown))
            .map(|handoff| (handoff.worker.0, handoff.connection.0))
            .collect()
    }

    /// The first client of this worker.
    fn client_of(sticky: &Sticky, worker: WorkerId) -> IpAddr {
        let home = homes(sticky).iter().position(|home| *home == worker).expect("a client");
        client(u32::try_from(home).expect("few clients"))
    }

    /// Another implementation of XXH64 has computed these scores. Other scores would move every client at an
    /// update.
    #[test]
    fn scores_are_fixed() {
        let loopback = Client::of(SocketId(1), Some(Ipv4Addr::LOCALHOST.into()));
        let scores = [0, 1, 2].map(|slot| loopback.score(Seat::of_slot(slot)));
        assert_eq!(
            scores,
            [17_758_579_784_414_517_824, 4_459_184_149_805_208_086, 9_320_229_669_327_524_945]
        );
        assert_eq!(loopback.score(Seat::of_worker(ONE)), 17_885_685_484_974_397_224);
    }

    /// An IPv4 address and the IPv4-mapped IPv6 address are the same client.
    #[test]
    fn mapped_address_is_ipv4() {
        let address = Ipv4Addr::new(192, 0, 2, 1);
        let clients = [address.into(), address.to_ipv6_mapped().into()]
            .map(|address: IpAddr| Client::of(SocketId(1), Some(address)));
        assert_eq!(clients[0], clients[1]);
    }

    /// Clients spread evenly: each of 4 workers has between 24 % and 26 % of 10,000.
    #[test]
    fn clients_spread_evenly() {
        let homes = homes(&slots(4));
        for worker in 1..=4 {
            let count = homes.iter().filter(|home| home.0 == worker).count();
            assert!((2_400..2_600).contains(&count), "worker {worker} has {count} of 10,000 clients");
        }
    }

    /// A scale from 4 to 5 slots moves about a fifth of the clients, all to the new slot.
    #[test]
    fn scale_moves_one_share() {
        let (before, after) = (homes(&slots(4)), homes(&slots(5)));
        let moved: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
        assert!(moved.iter().all(|(_, after)| **after == WorkerId(5)));
        assert!((1_900..2_100).contains(&moved.len()), "{} of 10,000 clients moved", moved.len());
    }

    /// A worker in the slot of an exited worker receives the same clients.
    #[test]
    fn respawn_keeps_clients() {
        let mut sticky = slots(3);
        let before = homes(&sticky);
        sticky.remove(TWO);
        assert!(!homes(&sticky).contains(&TWO));
        sticky.add(WorkerId(4), Seat::of_slot(1), 1);
        let after = homes(&sticky);
        let renamed = before.iter().map(|home| if *home == TWO { WorkerId(4) } else { *home });
        assert!(renamed.eq(after));
    }

    /// A successor receives no client while its predecessor listens.
    #[test]
    fn successor_waits_for_predecessor() {
        let mut sticky = slots(2);
        let before = homes(&sticky);
        sticky.add(THREE, Seat::of_slot(0), 1);
        assert_eq!(homes(&sticky), before);
        sticky.remove(ONE);
        assert!(homes(&sticky).contains(&THREE));
    }

    /// A connection waits for its busy worker in order of acceptance, although another worker is free.
    #[test]
    fn connection_waits_for_busy_worker() {
        let mut sticky = slots(2);
        let of_one = client_of(&sticky, ONE);
        for connection in 1..=3 {
            sticky.push(SocketId(connection), Some(of_one));
        }
        assert_eq!(all_due(&mut sticky), [(1, 1)]);
        assert_eq!(sticky.queued(), 2);
        sticky.answered(ONE);
        assert_eq!(all_due(&mut sticky), [(1, 2)]);
        sticky.requeue(ONE, SocketId(2));
        assert_eq!(all_due(&mut sticky), [], "an answer is outstanding");
        sticky.answered(ONE);
        assert_eq!(all_due(&mut sticky), [(1, 2)]);
    }

    /// When a worker no longer listens, or cannot receive connections, the next worker receives its
    /// connections.
    #[test]
    fn connections_leave_absent_worker() {
        for leave in [Sticky::remove, Sticky::pass_over] {
            let mut sticky = slots(2);
            let of_one = client_of(&sticky, ONE);
            sticky.push(SocketId(1), Some(of_one));
            sticky.push(SocketId(2), Some(of_one));
            assert_eq!(all_due(&mut sticky), [(1, 1)]);
            leave(&mut sticky, ONE);
            assert_eq!(all_due(&mut sticky), [(2, 2)]);
            sticky.requeue(ONE, SocketId(1));
            sticky.answered(TWO);
            assert_eq!(all_due(&mut sticky), [(2, 1)]);
        }
    }

    /// Connections wait while no worker listens.
    #[test]
    fn connections_wait_for_first_worker() {
        let mut sticky = Sticky::default();
        sticky.push(SocketId(1), Some(client(1)));
        sticky.push(SocketId(2), None);
        assert_eq!((all_due(&mut sticky), sticky.queued()), (Vec::new(), 2));
        sticky.add(ONE, Seat::of_worker(ONE), 1);
        assert_eq!(all_due(&mut sticky), [(1, 1)]);
        assert_eq!(sticky.drain(), [SocketId(2)]);
    }

    /// Connections without an address reach every worker.
    #[test]
    fn connections_without_address_spread() {
        let mut sticky = slots(2);
        for connection in 1..=20 {
            sticky.push(SocketId(connection), None);
        }
        assert_eq!(all_due(&mut sticky).len(), 2);
    }
}
