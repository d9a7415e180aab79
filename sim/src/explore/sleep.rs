//! Sleep sets: which steps of a world need not be taken, since what follows from them is seen where they were taken
//! earlier. They spare a search transitions, and no world. Footprints decide which steps depend on each other.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::visited::Steps;
use crate::kernel::footprint::Footprint;
use crate::step::Step;

/// Steps that need not be taken: what follows from them is seen elsewhere, where they were taken before others that do
/// not touch what they touch.
#[derive(Debug, Default)]
pub(super) struct Sleep(Vec<(Step, Footprint)>);

impl Clone for Sleep {
    fn clone(&self) -> Self {
        Sleep(self.0.clone())
    }

    /// In the room it has.
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

    /// A step was done: dependent steps sleep no longer.
    pub(super) fn wake(&mut self, done: Footprint) {
        self.0.retain(|(_, asleep)| asleep.is_independent_of(done));
    }

    pub(super) fn steps(&self) -> Steps {
        self.0.iter().fold(0, |steps, &(step, _)| steps | bit(step))
    }

    /// Without those that were once awake.
    pub(super) fn keep(&mut self, steps: Steps) {
        self.0.retain(|&(step, _)| bit(step) & steps != 0);
    }
}

/// A bit for this step. Another may have the same.
pub(super) fn bit(step: Step) -> Steps {
    let bit = FixedState::default().hash_one(step) % u64::from(Steps::BITS);
    1 << bit
}
