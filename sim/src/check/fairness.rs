//! Fairness: among the workers of one address that are free all the time, nobody gets a second connection before everybody
//! has got one; and no connection is turned away where a worker listens.
//!
//! It looks at the primary's ledger when that has changed and the primary has nothing left to do, and knows of a worker
//! what the primary was told by it. A worker that has refused, or of which something is not known for sure, is not counted
//! as free until it has taken its next connection.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use cluster_core::{
    CloseReason, ConnectionState, ListeningAddress, Primary, Serialization, SocketId, WorkerId,
};
use memchr::memmem::Finder;

use super::liveness::stays;
use crate::kernel::Kernel;
use crate::kernel::process_table::Pid;

/// In the line of a worker that listens no longer.
static CLOSE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""act":"close""#));
/// In the line of one that listens.
static LISTENING: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""act":"listening""#));

/// Where a worker says that it listens: host and port.
type HostPort = (Option<String>, u16);

/// Something about each of some connections, in the order of their numbers.
type Connections<T> = Vec<(SocketId, T)>;

/// Who waits for a connection, and what the ledger said when it was last looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Fairness {
    /// Of each worker that listens at a place: who has got a connection there since it waits for one itself; `None`: it
    /// does not wait, as far as is known.
    waiting: BTreeMap<(HostPort, WorkerId), Option<Workers>>,
    /// Who was given a connection before it was known to listen: it may have refused it.
    early: Workers,
    /// Workers that could not be written to: an offer may have returned.
    missed: Workers,
    /// How many `listening` events of a worker are outdated: its `close` was read in the same read.
    outdated: BTreeMap<WorkerId, usize>,
    /// Workers of which the beginning of a line was read.
    partial: Workers,
    /// Who had which connection, and the port it came to.
    handed: Connections<(WorkerId, u16)>,
    /// The ports that open connections came to.
    ports: Connections<u16>,
    owned: u64,
    turned_away: u64,
}

impl Fairness {
    /// The primary is told that a worker listens. Two servers of a worker at one place cannot be told apart.
    pub(crate) fn listening(&mut self, worker: WorkerId, address: &ListeningAddress, kernel: &Kernel) {
        let process = kernel.process(worker.into());
        if let Some(outdated) = self.outdated.get_mut(&worker) {
            *outdated -= 1;
            if *outdated == 0 {
                self.outdated.remove(&worker);
            }
            return;
        }
        let Ok(port @ 1..) = u16::try_from(address.port) else { return };
        if process.hostile || process.options.get_serialization() != Serialization::Json {
            return;
        }
        let place = (address.address.clone(), port);
        let has_one = self.handed.iter().any(|(_, (with, _))| *with == worker);
        let waits = (!self.early.remove(worker) && !has_one).then(Workers::default);
        if self.waiting.insert((place.clone(), worker), waits).is_some() {
            self.waiting.retain(|(at, _), _| *at != place);
        }
    }

    /// Whether what the primary reads says that a worker listens no longer, or has no end yet and may say so.
    pub(crate) fn concerns(&self, bytes: &[u8]) -> bool {
        !self.partial.0.is_empty() || !bytes.ends_with(b"\n") || CLOSE.find(bytes).is_some()
    }

    /// The primary has read such bytes.
    pub(crate) fn read(&mut self, worker: WorkerId, bytes: &[u8]) {
        let is_whole = bytes.ends_with(b"\n");
        let last = if is_whole { CLOSE.find_iter(bytes).last() } else { Some(bytes.len()) };
        // The rest of a line may be of one that listens.
        let begun = usize::from(self.partial.remove(worker) && last.is_some());
        let listening = LISTENING.find_iter(&bytes[..last.unwrap_or(0)]).count() + begun;
        if !is_whole {
            self.partial.insert(worker);
        }
        if listening > 0 {
            *self.outdated.entry(worker).or_default() += listening;
        }
        self.waiting.retain(|(_, waiting), _| *waiting != worker);
    }

    /// The primary could not write to a worker: perhaps it was an offer.
    pub(crate) fn not_reached(&mut self, worker: WorkerId) {
        self.missed.insert(worker);
        self.early.insert(worker);
    }

    /// The primary has nothing left to do, and these connections are open, in the order of their numbers.
    pub(crate) fn at_rest(
        &mut self,
        open: &[(SocketId, ConnectionState)],
        kernel: &Kernel,
        primary: &Primary,
    ) -> Result<(), String> {
        let ports = open.iter().filter_map(|(socket, _)| Some((*socket, port_of(kernel, *socket)?)));
        let known = std::mem::replace(&mut self.ports, ports.collect());
        self.closed(primary, &known)?;
        let handed = open.iter().filter_map(|(socket, standing)| match standing {
            ConnectionState::Handed(_, worker) => Some((*socket, (*worker, of(&self.ports, *socket)?))),
            ConnectionState::Queued(_) => None,
        });
        let handed = handed.collect();
        let before = std::mem::replace(&mut self.handed, handed);
        self.answered(&before, primary.ledger().owned());
        for worker in std::mem::take(&mut self.missed).iter() {
            let places = self.waiting.iter_mut().filter(|((_, who), _)| *who == worker);
            places.for_each(|(_, waits)| *waits = None);
        }
        let new = self.handed.iter().filter(|(socket, with)| of(&before, *socket) != Some(*with));
        let new: Vec<_> = new.map(|(_, with)| *with).collect();
        new.into_iter().try_for_each(|(worker, port)| self.given(primary, worker, port))
    }

    /// Connections were turned away, unless others were taken at the same time: then it is not known which.
    fn closed(&mut self, primary: &Primary, known: &[(SocketId, u16)]) -> Result<(), String> {
        let turned_away = primary.ledger().closed(CloseReason::NoListener);
        let before = std::mem::replace(&mut self.turned_away, turned_away);
        if before == turned_away || primary.ledger().owned() != self.owned {
            return Ok(());
        }
        for (_, port) in known.iter().filter(|(socket, _)| of(&self.ports, *socket).is_none()) {
            let there = || self.waiting.keys().filter(|((_, at), _)| at == port);
            let is_one_place = there().map(|(place, _)| place).collect::<BTreeSet<_>>().len() == 1;
            let worker = there().find(|(_, worker)| primary.worker(*worker).is_some_and(stays));
            if let Some((_, worker)) = worker.filter(|_| is_one_place) {
                return Err(format!(
                    "a connection to port {port} is turned away, and worker {worker} listens"
                ));
            }
        }
        Ok(())
    }

    /// Workers whose connection is their own now wait for another. Of connections that are gone for other reasons nothing
    /// follows, nor when there are such among them.
    fn answered(&mut self, before: &[(SocketId, (WorkerId, u16))], owned: u64) {
        let gone = before.iter().filter(|(socket, _)| of(&self.handed, *socket).is_none());
        let gone: Vec<_> = gone.map(|(_, with)| *with).collect();
        if owned - std::mem::replace(&mut self.owned, owned) != gone.len() as u64 {
            return;
        }
        for (worker, port) in gone {
            for (((_, at), who), waits) in &mut self.waiting {
                if (*at, *who) == (port, worker) {
                    waits.get_or_insert_default();
                }
            }
        }
    }

    /// A worker has been given a connection.
    fn given(&mut self, primary: &Primary, to: WorkerId, port: u16) -> Result<(), String> {
        let mut places = self.waiting.keys().filter(|((_, at), who)| (*at, *who) == (port, to));
        let (Some((place, _)), None) = (places.next().cloned(), places.next()) else {
            self.early.insert(to);
            return Ok(());
        };
        self.waiting.insert((place.clone(), to), None);
        let there = (place.clone(), WorkerId(0))..=(place, WorkerId(u64::MAX));
        for ((_, worker), waits) in self.waiting.range_mut(there) {
            let Some(passed) = waits else { continue };
            if primary.worker(*worker).is_some_and(stays) && !passed.insert(to) {
                return Err(format!(
                    "worker {to} has got two connections while worker {worker} waited for one"
                ));
            }
        }
        Ok(())
    }
}

/// A set of workers: there are as many of these sets as workers, and they are looked at for every connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Workers(Vec<u64>);

impl Workers {
    /// Whether it was not there before.
    fn insert(&mut self, worker: WorkerId) -> bool {
        let (word, bit) = Workers::place(worker);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }

    /// Whether it was there.
    fn remove(&mut self, worker: WorkerId) -> bool {
        let (word, bit) = Workers::place(worker);
        let Some(word) = self.0.get_mut(word) else { return false };
        let was_there = *word & bit != 0;
        *word &= !bit;
        // One set looks one way.
        self.0.truncate(self.0.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1));
        was_there
    }

    fn iter(&self) -> impl Iterator<Item = WorkerId> {
        let workers =
            (0_u64..).zip(&self.0).flat_map(|(word, bits)| (0..64).map(move |bit| (word, bit, *bits)));
        workers.filter(|(_, bit, bits)| bits >> bit & 1 == 1).map(|(word, bit, _)| WorkerId(word * 64 + bit))
    }

    fn place(WorkerId(worker): WorkerId) -> (usize, u64) {
        (usize::try_from(worker / 64).expect("few workers"), 1 << (worker % 64))
    }
}

/// What is known of a connection.
fn of<T: Copy>(connections: &[(SocketId, T)], socket: SocketId) -> Option<T> {
    let at = connections.binary_search_by_key(&socket, |(socket, _)| *socket).ok()?;
    Some(connections[at].1)
}

fn port_of(kernel: &Kernel, socket: SocketId) -> Option<u16> {
    let client = kernel.client_behind(Pid::PRIMARY, socket)?;
    kernel.client(client).to.as_ref()?.ip().map(|at| at.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Schedule;
    use cluster_core::{AddressType, Call, Settings};

    const ONE: WorkerId = WorkerId(1);
    const TWO: WorkerId = WorkerId(2);

    #[test]
    fn who_has_refused_before_it_is_known_to_listen_is_not_free() {
        let mut primary = Primary::new(Settings::default());
        for _ in [ONE, TWO] {
            primary.fork().expect("nothing impossible was set up");
        }
        let mut kernel = Kernel::new(100);
        for worker in [ONE, TWO] {
            let spawn = Call::Spawn { worker, options: cluster_core::SpawnOptions::new(), env: Vec::new() };
            kernel.perform(Pid::PRIMARY, spawn, &mut Schedule::quiet());
        }
        let waiting = [(((None, 80), ONE), Some(Workers::default()))].into();
        let mut fairness = Fairness { waiting, ..Fairness::default() };
        assert_eq!(fairness.given(&primary, TWO, 80), Ok(()), "it is given back");
        let address = ListeningAddress { address: None, port: 80, address_type: AddressType::V4, fd: None };
        fairness.listening(TWO, &address, &kernel);
        for _ in 0..2 {
            assert_eq!(fairness.given(&primary, ONE, 80), Ok(()));
        }
    }

    #[test]
    fn a_second_connection_is_seen_while_another_waits_for_its_first() {
        let mut primary = Primary::new(Settings::default());
        for _ in [ONE, TWO] {
            primary.fork().expect("nothing impossible was set up");
        }
        let mut fairness = Fairness::default();
        let waits = |worker| (((None, 80), worker), Some(Workers::default()));
        fairness.waiting = [ONE, TWO].map(waits).into();
        assert_eq!(fairness.given(&primary, TWO, 80), Ok(()));
        assert!(fairness.clone().given(&primary, TWO, 80).is_err());
        assert_eq!(fairness.given(&primary, ONE, 80), Ok(()));
        assert_eq!(fairness.given(&primary, TWO, 80), Ok(()), "nobody waits, as far as is known");
    }
}
