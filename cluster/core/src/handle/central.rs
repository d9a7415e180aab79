//! One queue of connections for all workers of a handle. Whenever a connection is queued and a worker is
//! ready, the rule of the policy chooses the worker.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::choice::Choice;
use super::custom::Custom;
use super::places::Places;
use super::policy::{Handoff, Loads, Policy, Question, Seat};
use crate::ascending_map::make_room;
use crate::os::{SocketId, WorkerId};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Central {
    places: Places,
    /// The connections that wait for a worker. Node: `handles`.
    queue: VecDeque<SocketId>,
    choice: Choice,
}

impl Central {
    pub(super) fn new(choice: Choice) -> Self {
        Central { places: Places::default(), queue: VecDeque::new(), choice }
    }
}

impl Policy for Central {
    fn add(&mut self, worker: WorkerId, seat: Seat, places: u32) {
        self.places.add(worker, seat, places);
        if let Some(weighted) = self.choice.weighted_mut() {
            weighted.add(worker);
        }
    }

    fn remove(&mut self, worker: WorkerId) {
        self.places.remove(worker);
        if let Some(weighted) = self.choice.weighted_mut() {
            weighted.remove(worker);
        }
    }

    fn has(&self, worker: WorkerId) -> bool {
        self.places.has(worker)
    }

    fn is_unused(&self) -> bool {
        self.places.is_empty()
    }

    fn push(&mut self, connection: SocketId, client: Option<IpAddr>) {
        if let Some(custom) = self.choice.custom_mut() {
            custom.push(connection, client);
        }
        make_room(&mut self.queue);
        self.queue.push_back(connection);
    }

    fn requeue(&mut self, worker: WorkerId, connection: SocketId) {
        self.places.pause(worker);
        self.queue.push_back(connection);
    }

    fn connections(&self) -> Vec<SocketId> {
        self.queue.iter().copied().collect()
    }

    fn queued(&self) -> usize {
        self.queue.len()
    }

    fn taken(&mut self, connection: SocketId) {
        if let Some(custom) = self.choice.custom_mut() {
            custom.forget(connection);
        }
    }

    fn answered(&mut self, worker: WorkerId) {
        self.places.answered(worker);
    }

    fn pass_over(&mut self, worker: WorkerId) {
        self.places.pause(worker);
    }

    /// Hands the first queued connection to the worker that the rule chooses.
    fn next(&mut self, loads: &dyn Loads) -> Option<Handoff> {
        let first = *self.queue.front()?;
        let worker = self.choice.choose(first, &self.places, loads)?;
        let connection = self.queue.pop_front()?;
        self.places.hand(worker);
        Some(Handoff { worker, connection })
    }

    fn reads_loads(&self) -> bool {
        self.choice.reads_loads()
    }

    fn question(&mut self, loads: &dyn Loads) -> Option<Question> {
        let first = *self.queue.front()?;
        self.choice.custom_mut()?.question(first, &self.places, loads)
    }

    fn chosen(&mut self, connection: SocketId, worker: WorkerId) {
        if let Some(custom) = self.choice.custom_mut() {
            custom.chosen(connection, worker);
        }
    }

    fn warm(&mut self, worker: WorkerId) {
        if let Some(weighted) = self.choice.weighted_mut() {
            weighted.warm(worker);
        }
    }

    fn warming_ms(&self, worker: WorkerId) -> Option<u64> {
        self.choice.weighted()?.warming_ms(worker)
    }

    fn drain(&mut self) -> Vec<SocketId> {
        if let Some(custom) = self.choice.custom_mut() {
            *custom = Custom::default();
        }
        core::mem::take(&mut self.queue).into()
    }
}

#[cfg(test)]
mod tests;
