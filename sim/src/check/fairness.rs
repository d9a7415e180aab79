//! Fairness. Under round robin, consider the workers of an address that are free all the time: no such worker
//! receives a second connection before all have received a connection. Under every policy, no connection is
//! refused while a worker listens.
//!
//! The check compares the ledger of an idle primary with the ledger at the previous check, and uses only
//! facts that a worker has reported to the primary. A worker that has refused a connection, or is in an
//! uncertain state, counts as busy until the next accepted connection. A lame duck of a supervisor is never
//! free.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use cluster_core::{
    CloseReason, ConnectionState, ListeningAddress, Primary, Serialization, SocketId, WorkerId, WorkerInfo,
};
use memchr::memmem::Finder;

use super::liveness::is_expected_to_run;
use crate::kernel::Kernel;
use crate::step::Pid;

/// Part of the message that a worker sends when a server is closed.
static CLOSE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""act":"close""#));
/// Part of the message that a worker sends when a server listens.
static LISTENING: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""act":"listening""#));

/// The host and the port at which a worker listens, as the worker has reported.
type HostPort = (Option<String>, u16);

/// A value for each of several connections, in id order.
pub(crate) type Connections<T> = Vec<(SocketId, T)>;

/// The free workers, and the ledger at the previous check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Fairness {
    /// For each worker and address: the workers that have received a connection there since this worker
    /// became free. `None`: the worker is not known to be free.
    free: BTreeMap<(HostPort, WorkerId), Option<Workers>>,
    /// Workers that were offered a connection before they reported a listening server, and may have refused
    /// the connection.
    early: Workers,
    /// Workers to which a write has failed: perhaps an offer, which then returned to the queue.
    missed: Workers,
    /// For each worker, the number of future `listening` events to ignore: the read of the event also
    /// contained the `close` of the same server.
    outdated: BTreeMap<WorkerId, usize>,
    /// Workers from which the primary has read an incomplete line.
    partial: Workers,
    /// The connections handed off and not acknowledged, each with its worker and port.
    handed: Connections<(WorkerId, u16)>,
    /// The ports of the open connections.
    ports: Connections<u16>,
    owned: u64,
    refused: u64,
}

impl Fairness {
    /// The primary is about to receive `listening`. Two servers of one worker at the same address cannot be
    /// distinguished.
    pub(crate) fn listening(&mut self, worker: WorkerId, address: &ListeningAddress, kernel: &Kernel) {
        let process = kernel.processes.get(worker.into());
        if let Some(outdated) = self.outdated.get_mut(&worker) {
            *outdated -= 1;
            if *outdated == 0 {
                self.outdated.remove(&worker);
            }
            return;
        }
        let Ok(port @ 1..) = u16::try_from(address.port) else { return };
        if process.hostile || process.options.serialization.unwrap_or_default() != Serialization::Json {
            return;
        }
        let place = (address.address.clone(), port);
        let has_one = self.handed.iter().any(|(_, (with, _))| *with == worker);
        let waits = (!self.early.remove(worker) && !has_one).then(Workers::default);
        if self.free.insert((place.clone(), worker), waits).is_some() {
            self.free.retain(|(at, _), _| *at != place);
        }
    }

    /// Whether the bytes may report a closed server: the bytes contain `close`, end with an incomplete line,
    /// or begin with the rest of an earlier line.
    pub(crate) fn concerns(&self, bytes: &[u8]) -> bool {
        !self.partial.0.is_empty() || !bytes.ends_with(b"\n") || CLOSE.find(bytes).is_some()
    }

    /// The primary has read bytes.
    pub(crate) fn read(&mut self, worker: WorkerId, bytes: &[u8]) {
        let is_whole = bytes.ends_with(b"\n");
        let last = if is_whole { CLOSE.find_iter(bytes).last() } else { Some(bytes.len()) };
        // The rest of an incomplete line may contain `listening`.
        let begun = usize::from(self.partial.remove(worker) && last.is_some());
        let listening = LISTENING.find_iter(&bytes[..last.unwrap_or(0)]).count() + begun;
        if !is_whole {
            self.partial.insert(worker);
        }
        if listening > 0 {
            *self.outdated.entry(worker).or_default() += listening;
        }
        self.free.retain(|(_, waiting), _| *waiting != worker);
    }

    /// Records a failed write to a worker: the write may have been an offer.
    pub(crate) fn write_failed(&mut self, worker: WorkerId) {
        self.missed.insert(worker);
        self.early.insert(worker);
    }

    /// Checks the refused connections of an idle primary. `open` are the open connections, in id order.
    /// Returns the connections handed off since the last check, each with its worker and port.
    pub(crate) fn at_rest(
        &mut self,
        open: &[(SocketId, ConnectionState)],
        kernel: &Kernel,
        primary: &Primary,
    ) -> Result<Connections<(WorkerId, u16)>, String> {
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
            let places = self.free.iter_mut().filter(|((_, listening), _)| *listening == worker);
            places.for_each(|(_, waits)| *waits = None);
        }
        let new = self.handed.iter().filter(|(socket, with)| of(&before, *socket) != Some(*with));
        Ok(new.copied().collect())
    }

    /// The workers known to listen at the address of this worker, if the worker listens at one address of the
    /// port.
    pub(crate) fn listening_with(&self, worker: WorkerId, port: u16) -> impl Iterator<Item = WorkerId> {
        let place = self.only_place(worker, port);
        let there = self.free.keys().filter(move |(at, _)| Some(at) == place.as_ref());
        there.map(|(_, worker)| *worker)
    }

    /// The address of the port at which the worker listens. `None`: the worker is not known to listen at the
    /// port, or listens at two such addresses.
    fn only_place(&self, worker: WorkerId, port: u16) -> Option<HostPort> {
        let mut places = self.free.keys().filter(|((_, at), listening)| (*at, *listening) == (port, worker));
        let (place, _) = places.next()?;
        places.next().is_none().then(|| place.clone())
    }

    /// The workers known to be free, each with the port.
    pub(crate) fn free(&self) -> BTreeSet<(WorkerId, u16)> {
        let free = self.free.iter().filter(|(_, waits)| waits.is_some());
        free.map(|(((_, port), worker), _)| (*worker, *port)).collect()
    }

    /// The other workers known to be free at the address of this worker.
    pub(crate) fn free_with(&self, to: WorkerId, port: u16) -> impl Iterator<Item = WorkerId> {
        let place = self.only_place(to, port);
        let free = self.free.iter().filter(|(_, waits)| waits.is_some());
        let there = free.filter(move |((at, _), _)| Some(at) == place.as_ref());
        there.map(|((_, worker), _)| *worker).filter(move |worker| *worker != to)
    }

    /// Checks the refused connections. Refused connections cannot be identified when other connections were
    /// acknowledged at the same time.
    fn closed(&mut self, primary: &Primary, known: &[(SocketId, u16)]) -> Result<(), String> {
        let refused = primary.ledger().closed(CloseReason::NoListener);
        let before = std::mem::replace(&mut self.refused, refused);
        if before == refused || primary.ledger().owned() != self.owned {
            return Ok(());
        }
        for (_, port) in known.iter().filter(|(socket, _)| of(&self.ports, *socket).is_none()) {
            let there = || self.free.keys().filter(|((_, at), _)| at == port);
            let is_one_place = there().map(|(place, _)| place).collect::<BTreeSet<_>>().len() == 1;
            let worker = there().find(|(_, worker)| primary.worker(*worker).is_some_and(may_receive));
            if let Some((_, worker)) = worker.filter(|_| is_one_place) {
                return Err(format!("a connection to port {port} was refused while worker {worker} listens"));
            }
        }
        Ok(())
    }

    /// Marks workers as free after an acknowledgement. Marks none if connections have also disappeared for
    /// other reasons: then the acknowledged connections are unknown.
    fn answered(&mut self, before: &[(SocketId, (WorkerId, u16))], owned: u64) {
        let acknowledged = before.iter().filter(|(socket, _)| of(&self.handed, *socket).is_none());
        let acknowledged: Vec<_> = acknowledged.map(|(_, with)| *with).collect();
        if owned - std::mem::replace(&mut self.owned, owned) != acknowledged.len() as u64 {
            return;
        }
        for (worker, port) in acknowledged {
            for (((_, at), listening), waits) in &mut self.free {
                if (*at, *listening) == (port, worker) {
                    waits.get_or_insert_default();
                }
            }
        }
    }

    /// A connection was handed to a worker. `takes_turns`: under round robin.
    pub(crate) fn given(
        &mut self,
        primary: &Primary,
        to: WorkerId,
        port: u16,
        takes_turns: bool,
    ) -> Result<(), String> {
        let Some(place) = self.only_place(to, port) else {
            self.early.insert(to);
            return Ok(());
        };
        self.free.insert((place.clone(), to), None);
        let there = (place.clone(), WorkerId(0))..=(place, WorkerId(u64::MAX));
        for ((_, worker), waits) in self.free.range_mut(there) {
            let Some(passed) = waits else { continue };
            let is_able = primary.worker(*worker).is_some_and(may_receive);
            if takes_turns && is_able && !passed.insert(to) {
                return Err(format!(
                    "worker {to} received two connections while worker {worker} was free and received none"
                ));
            }
        }
        Ok(())
    }
}

/// A set of workers, in a compact form: there are as many sets as workers, and each handed-off connection
/// reads every set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Workers(Vec<u64>);

impl Workers {
    /// Returns whether the worker was not in the set.
    fn insert(&mut self, worker: WorkerId) -> bool {
        let (word, bit) = Workers::place(worker);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }

    /// Returns whether the worker was in the set.
    fn remove(&mut self, worker: WorkerId) -> bool {
        let (word, bit) = Workers::place(worker);
        let Some(word) = self.0.get_mut(word) else { return false };
        let was_there = *word & bit != 0;
        *word &= !bit;
        // Equal sets have equal representations.
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

/// The value of one connection.
fn of<T: Copy>(connections: &[(SocketId, T)], socket: SocketId) -> Option<T> {
    let at = connections.binary_search_by_key(&socket, |(socket, _)| *socket).ok()?;
    Some(connections[at].1)
}

/// Whether the primary can hand connections to a worker.
pub(super) fn may_receive(worker: &WorkerInfo) -> bool {
    is_expected_to_run(worker) && !worker.is_lame_duck()
}

fn port_of(kernel: &Kernel, socket: SocketId) -> Option<u16> {
    let client = kernel.client_behind(Pid::PRIMARY, socket)?;
    kernel.network.clients.get(client).to.as_ref()?.ip().map(|at| at.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Schedule;
    use cluster_core::{AddressType, Call, Settings};

    const ONE: WorkerId = WorkerId(1);
    const TWO: WorkerId = WorkerId(2);

    #[test]
    fn early_refusal_leaves_a_worker_busy() {
        let mut primary = Primary::new(Settings::default());
        for _ in [ONE, TWO] {
            primary.fork().expect("the settings are valid");
        }
        let mut kernel = Kernel::new(100);
        for worker in [ONE, TWO] {
            let spawn = Call::Spawn { worker, options: cluster_core::SpawnOptions::new(), env: Vec::new() };
            kernel.perform(Pid::PRIMARY, spawn, &mut Schedule::quiet());
        }
        let free = [(((None, 80), ONE), Some(Workers::default()))].into();
        let mut fairness = Fairness { free, ..Fairness::default() };
        assert_eq!(fairness.given(&primary, TWO, 80, true), Ok(()), "the worker refuses");
        let address = ListeningAddress { address: None, port: 80, address_type: AddressType::V4, fd: None };
        fairness.listening(TWO, &address, &kernel);
        for _ in 0..2 {
            assert_eq!(fairness.given(&primary, ONE, 80, true), Ok(()));
        }
    }

    #[test]
    fn second_connection_before_a_first_fails() {
        let mut primary = Primary::new(Settings::default());
        for _ in [ONE, TWO] {
            primary.fork().expect("the settings are valid");
        }
        let mut fairness = Fairness::default();
        let waits = |worker| (((None, 80), worker), Some(Workers::default()));
        fairness.free = [ONE, TWO].map(waits).into();
        assert_eq!(fairness.given(&primary, TWO, 80, true), Ok(()));
        assert!(fairness.clone().given(&primary, TWO, 80, true).is_err());
        assert_eq!(fairness.given(&primary, ONE, 80, true), Ok(()));
        assert_eq!(fairness.given(&primary, TWO, 80, true), Ok(()), "no worker is known to be free");
    }
}
