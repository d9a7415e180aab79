//! The contradictions of the workers of a deserialized primary.

use alloc::collections::BTreeMap;

use super::Peers;
use crate::channel::MachineStep;
use crate::claims::first_false;
use crate::os::{SocketId, WorkerId};

/// The first field that contradicts another field.
pub(in crate::primary) fn contradiction(peers: &Peers) -> Option<&'static str> {
    let channels = peers.workers.iter();
    let mut channels = channels.map(|(worker, entry)| entry.channel.contradiction((*worker).into()));
    let is_known = |worker: &WorkerId| peers.workers.contains_key(worker);
    let mut in_flight = BTreeMap::new();
    for socket in flights(peers) {
        *in_flight.entry(socket).or_default() += 1;
    }
    channels.find_map(|contradiction| contradiction).or_else(|| {
        first_false([
            ("offers.next", peers.offers.is_ahead()),
            ("offers.awaited", offers(peers).all(|(_, worker)| is_known(&worker))),
            ("steps.paused", peers.steps.is_pause_within()),
            ("steps", peers.steps.all().filter_map(MachineStep::of_worker).all(|worker| is_known(&worker))),
            ("in_flight", peers.in_flight.cover(&in_flight)),
            ("disconnecting", peers.disconnecting.iter().flatten().all(is_known)),
        ])
    })
}

/// The sockets in flight, of the program's messages: each once per copy.
fn flights(peers: &Peers) -> impl Iterator<Item = SocketId> {
    let sent = peers.workers.values().flat_map(|entry| entry.channel.in_flight());
    let ended = peers.steps.all().filter_map(|step| match step {
        MachineStep::Channel(_, step) => step.ends_flight(),
        MachineStep::Call(_) | MachineStep::Own(_) => None,
    });
    sent.chain(ended)
}

/// The connections for which an answer is outstanding, each with the worker.
pub(in crate::primary) fn offers(peers: &Peers) -> impl Iterator<Item = (SocketId, WorkerId)> {
    peers.offers.awaited().map(|(channel, socket)| (*socket, WorkerId(channel.0)))
}

pub(in crate::primary) fn last_worker(peers: &Peers) -> Option<WorkerId> {
    peers.workers.last_key_value().map(|(worker, _)| *worker)
}
