//! The table of handles, by id, by key and by listening socket. The distribution of connections is in
//! `distribution`.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::counters::Counter;
use crate::claims::first_false;
use crate::handle::Handle;
use crate::message::{HandleKey, QueryServer};
use crate::os::{HandleId, SocketId, WorkerId};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub(super) struct Handles {
    last: Counter,
    /// Boxed, because each node of the map reserves the memory of eleven values.
    rows: BTreeMap<HandleId, Box<Handle>>,
    keys: BTreeMap<HandleKey, HandleId>,
    listeners: BTreeMap<SocketId, HandleId>,
}

impl Handles {
    #[cfg(feature = "testing")]
    pub(super) fn count_after(&mut self, last: u64) {
        self.last.count_after(last);
    }

    pub(super) fn insert(&mut self, handle: Handle) -> HandleId {
        let id = HandleId(self.last.next());
        self.keys.insert(handle.key.clone(), id);
        self.rows.insert(id, Box::new(handle));
        id
    }

    pub(super) fn remove(&mut self, id: HandleId) -> Option<Handle> {
        let handle = self.rows.remove(&id)?;
        self.keys.remove(&handle.key);
        if let Some((socket, _)) = &handle.bound {
            self.listeners.remove(socket);
        }
        Some(*handle)
    }

    pub(super) fn get(&self, id: HandleId) -> Option<&Handle> {
        self.rows.get(&id).map(|handle| &**handle)
    }

    pub(super) fn get_mut(&mut self, id: HandleId) -> Option<&mut Handle> {
        self.rows.get_mut(&id).map(|handle| &mut **handle)
    }

    /// A handle that must be in the table.
    pub(super) fn live(&mut self, id: HandleId) -> &mut Handle {
        self.get_mut(id).unwrap_or_else(|| unreachable!("{id:?} was removed"))
    }

    pub(super) fn find(&self, key: &HandleKey) -> Option<HandleId> {
        self.keys.get(key).copied()
    }

    /// A handle at which the worker does not listen, with a key that differs from the key of the query only
    /// in the index. Node.js workers do not reuse the index of a failed attempt, so later servers of two
    /// workers may have different indexes. Since Node.js 22 these servers share the port nevertheless: the
    /// primary distinguishes indexes for port 0 alone.
    pub(super) fn with_other_index(&self, query: &QueryServer, worker: WorkerId) -> Option<HandleId> {
        if query.port == Some(0) {
            return None;
        }
        let prefix = query.key.without_index();
        let following = self.keys.range(HandleKey(prefix.to_owned())..);
        let similar = following.take_while(|(key, _)| key.0.starts_with(prefix));
        let mut same = similar.filter(|(key, _)| key.without_index() == prefix).map(|(_, id)| *id);
        same.find(|id| self.get(*id).is_some_and(|handle| !handle.has(worker)))
    }

    /// Records that the socket accepts for the handle.
    pub(super) fn listen(&mut self, socket: SocketId, id: HandleId) {
        self.listeners.insert(socket, id);
    }

    /// The handle of a listening socket.
    pub(super) fn at(&self, listener: SocketId) -> Option<HandleId> {
        self.listeners.get(&listener).copied()
    }

    /// The sockets that accept.
    pub(super) fn listeners(&self) -> impl Iterator<Item = SocketId> {
        self.listeners.keys().copied()
    }

    /// The first field that contradicts another field.
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        let is_found = |(id, handle): (HandleId, &Handle)| self.keys.get(&handle.key) == Some(&id);
        let accepts = |(socket, id): (&SocketId, &HandleId)| {
            self.get(*id).is_some_and(|handle| {
                handle.policy().is_some() && handle.bound.as_ref().is_some_and(|(bound, _)| bound == socket)
            })
        };
        first_false([
            ("handles.last", self.is_ahead_of(self.rows.last_key_value().map(|(id, _)| *id))),
            ("handles.keys", self.keys.len() == self.rows.len() && self.rows().all(is_found)),
            ("handles.listeners", self.listeners.iter().all(accepts)),
            ("handles.waiting", self.rows.values().all(|handle| handle.waits_once())),
        ])
    }

    /// Whether later handles will have greater ids.
    pub(super) fn is_ahead_of(&self, id: Option<HandleId>) -> bool {
        id.is_none_or(|id| id.0 <= self.last.last())
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (HandleId, &Handle)> + Clone {
        self.rows.iter().map(|(id, handle)| (*id, &**handle))
    }

    /// The keys at which a worker listens.
    pub(super) fn keys_of(&self, worker: WorkerId) -> BTreeSet<HandleKey> {
        let of_worker = self.rows.values().filter(|handle| handle.is_ready() && handle.has(worker));
        of_worker.map(|handle| handle.key.clone()).collect()
    }

    pub(super) fn all(&self, is_meant: impl Fn(&Handle) -> bool) -> Vec<HandleId> {
        self.rows.iter().filter(|(_, handle)| is_meant(handle)).map(|(id, _)| *id).collect()
    }

    /// Whether the worker has reached a limit of sockets. Without a limit nothing is counted: the count
    /// visits every socket, so a worker with thousands of sockets would delay the others.
    pub(super) fn has_reached(&self, worker: WorkerId, limit: usize) -> bool {
        let served = self.rows.values().filter(|handle| handle.has(worker));
        limit < usize::MAX && served.take(limit).count() == limit
    }
}
