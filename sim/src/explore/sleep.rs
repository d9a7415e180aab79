//! Sleep sets: the redundant steps of a world. Another branch of the search takes each redundant step
//! earlier, and covers everything that follows. Sleep sets save transitions, but no worlds. Footprints decide
//! whether two steps are independent.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::visited::Steps;
use crate::kernel::object_set::Footprint;
use crate::step::Step;

/// Redundant steps, with their footprints. Another branch takes each of them before steps with disjoint
/// footprints.
#[derive(Debug, Default)]
pub(super) struct Sleep(Vec<(Step, Footprint)>);

impl Clone for Sleep {
    fn clone(&self) -> Self {
        Sleep(self.0.clone())
    }

    /// Reuses the allocation.
    fn clone_from(&mut self, other: &Self) {
        self.0.clone_from(&other.0);
    }
}

impl Sleep {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, step: Step, done: Footprint) {
        self.0.push((step, done));
    }

    pub(super) fn has(&self, step: Step) -> bool {
        self.0.iter().any(|&(other, _)| other == step)
    }

    /// Wakes the steps that depend on the step that was taken.
    pub(super) fn wake(&mut self, done: Footprint) {
        self.0.retain(|(_, asleep)| asleep.is_independent_of(done));
    }

    pub(super) fn steps(&self) -> Steps {
        self.0.iter().fold(0, |steps, &(step, _)| steps | bit(step))
    }

    /// Keeps only steps in this bit set: the steps that slept at every earlier visit.
    pub(super) fn keep(&mut self, steps: Steps) {
        self.0.retain(|&(step, _)| bit(step) & steps != 0);
    }
}

/// The bit of a step. Two steps can have the same bit.
pub(super) fn bit(step: Step) -> Steps {
    let bit = FixedState::default().hash_one(step) % u64::from(Steps::BITS);
    1 << bit
}
