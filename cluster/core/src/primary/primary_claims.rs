//! The contradictions of a deserialized primary: the claims of each part, and claims about two parts.

use alloc::collections::BTreeSet;

use super::Primary;
use super::distribution::Distribution;
use super::own_step::Step;
use super::peers::peers_claims;
use crate::channel::MachineStep;
use crate::claims::first_false;
use crate::ledger::ConnectionState;
use crate::os::{SocketId, TimerId, WorkerId};

/// The first field on which a later input could panic. `last_timer` is the last timer of the owner.
pub(crate) fn contradiction(primary: &Primary, last_timer: Option<TimerId>) -> Option<&'static str> {
    let Primary { setup, peers, distribution } = primary;
    let offers: BTreeSet<(SocketId, WorkerId)> = peers_claims::offers(peers).collect();
    let is_bound = |step: &MachineStep<Step>| {
        let handle = step.of_bound().and_then(|handle| distribution.handles.get(handle));
        handle.is_none_or(|handle| handle.bound.is_some())
    };
    peers_claims::contradiction(peers).or_else(|| of_distribution(distribution)).or_else(|| {
        first_false([
            ("setup.workers", setup.is_ahead_of(peers_claims::last_worker(peers))),
            ("timer_actions.last", distribution.timer_actions.is_ahead_of(last_timer)),
            (
                "offers",
                offers.len() == peers_claims::offers(peers).count()
                    && offers.into_iter().eq(handed(distribution)),
            ),
            ("steps.answer_queries", peers.steps.all().all(is_bound)),
        ])
    })
}

fn handed(distribution: &Distribution) -> impl Iterator<Item = (SocketId, WorkerId)> {
    distribution.ledger.open().filter_map(|(socket, state)| match state {
        ConnectionState::Queued(_) => None,
        ConnectionState::Handed(_, worker) => Some((socket, worker)),
    })
}

/// Whether each connection of the ledger is in one queue, or is handed off by a handle that accepts.
fn of_distribution(
    Distribution { handles, ledger, timer_actions, .. }: &Distribution,
) -> Option<&'static str> {
    let accepting = handles.rows().filter_map(|(id, handle)| Some((id, handle.policy()?)));
    let in_queues: BTreeSet<(SocketId, ConnectionState)> = accepting
        .clone()
        .flat_map(|(id, policy)| {
            let queued = policy.connections().into_iter();
            queued.map(move |socket| (socket, ConnectionState::Queued(id)))
        })
        .collect();
    let queued = ledger.open().filter(|(_, state)| matches!(state, ConnectionState::Queued(_)));
    let lengths: usize = accepting.map(|(_, policy)| policy.queued()).sum();
    let accepts = |id| handles.get(id).is_none_or(|handle| handle.policy().is_some());
    let ids = ledger.open().map(|(_, state)| state.handle());
    ledger.contradiction().or_else(|| handles.contradiction()).or_else(|| {
        first_false([
            ("handles.last", handles.is_ahead_of(ids.clone().max())),
            ("timer_actions.last", timer_actions.is_ahead_of(timer_actions.last_pending())),
            ("ledger.open", in_queues.iter().copied().eq(queued)),
            ("handles.queue", in_queues.len() == lengths),
            ("handles.sharing", ids.clone().all(accepts)),
        ])
    })
}
