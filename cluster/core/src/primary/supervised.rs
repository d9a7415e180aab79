//! The operations of a primary that only a supervisor uses.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::distribution::Distribution;
use super::peers::Peers;
use super::retained_channels;
use super::setup::Setup;
use super::{Primary, WorkerInfo};
use crate::handle::Handle;
use crate::handle::policy::Seat;
use crate::ledger::ConnectionState;
use crate::message::{ChannelMessage, HandleKey, Supervision};
use crate::os::{TimerId, WorkerId};
use crate::primary::ForkError;
use crate::settings::SchedulingPolicy;

/// A primary under a supervisor.
pub(crate) struct Supervised<'a> {
    setup: &'a Setup,
    peers: &'a mut Peers,
    distribution: &'a mut Distribution,
}

impl Primary {
    pub(crate) fn supervised(&mut self) -> Supervised<'_> {
        Supervised { setup: &self.setup, peers: &mut self.peers, distribution: &mut self.distribution }
    }
}

/// Whether workers accept by themselves, from shared sockets.
pub(crate) fn shares_sockets(primary: &Primary) -> bool {
    primary.setup.settings.policy == SchedulingPolicy::Shared
}

impl Supervised<'_> {
    pub(crate) fn next_timer(&mut self) -> TimerId {
        self.distribution.next_timer()
    }

    /// Checks that the spawn options can start a worker.
    pub(crate) fn check_spawn(&self) -> Result<(), ForkError> {
        self.setup.checked_options().map(|_| ())
    }

    /// Assigns a slot to the worker. To a policy, all workers of a slot are the same.
    pub(crate) fn assign_slot(&mut self, worker: WorkerId, slot: u32) {
        if let Some(entry) = self.peers.entry(worker) {
            entry.seat = Seat::of_slot(slot);
        }
    }

    /// Makes the worker a lame duck: the worker receives no further connection, its program receives the
    /// message of a lame duck, and the queries for sockets get no answer.
    pub(crate) fn lame_duck(&mut self, worker: WorkerId) {
        let Some(entry) = self.peers.entry(worker) else { return };
        entry.info.lame_duck = true;
        self.command(|peers, distribution| {
            peers.send(worker, ChannelMessage::Supervision(Supervision::LameDuck), None);
            distribution.remove_from_handles(worker, peers);
        });
    }

    /// Asks a worker for the number of the open connections. Returns the number of the question.
    pub(crate) fn ping(&mut self, worker: WorkerId) -> u64 {
        self.command(|peers, _| peers.ping(worker))
    }

    /// The keys at which a worker listens.
    pub(crate) fn keys_of(&self, worker: WorkerId) -> BTreeSet<HandleKey> {
        self.distribution.handles.keys_of(worker)
    }

    /// Accepts no further connection. Connections in the queue are still handed off.
    pub(crate) fn stop_accepting(&mut self) {
        self.command(|peers, distribution| distribution.stop_accepting(peers));
    }

    /// Whether no handed-off connection waits for an acknowledgement, and no queued connection has a worker
    /// that could take it.
    pub(crate) fn all_acknowledged(&self) -> bool {
        let Distribution { ledger, handles, .. } = &*self.distribution;
        ledger.open().all(|(_, state)| match state {
            ConnectionState::Queued(id) => handles.get(id).is_none_or(Handle::is_unused),
            ConnectionState::Handed(..) => false,
        })
    }

    /// Closes every socket at which no worker listens and from which no accepted connection is open. False:
    /// no socket was closed.
    pub(crate) fn close_listeners(&mut self) -> bool {
        self.command(|peers, distribution| distribution.close_idle_handles(peers))
    }

    /// Closes the channels of exited workers. False: no exited worker has an open channel.
    pub(crate) fn abandon_retained_channels(&mut self) -> bool {
        let exited: Vec<WorkerId> = self.peers.all(WorkerInfo::is_dead).collect();
        self.command(|peers, _| {
            exited.iter().filter(|worker| retained_channels::close(**worker, peers)).count() > 0
        })
    }

    fn command<T>(&mut self, act: impl FnOnce(&mut Peers, &mut Distribution) -> T) -> T {
        let scope = self.peers.steps.enter_command();
        let result = act(self.peers, self.distribution);
        self.peers.steps.end_scope(scope);
        result
    }
}
