//! The current position of a depth-first search, and the branches on the path. Finished worlds are reused,
//! because an allocation costs more than a step. The stack makes no decision.

use super::progress::Progress;
use super::sleep::Sleep;
use crate::program::Program;
use crate::world::World;

/// A world, the progress of each observer on the path, and the sleeping steps.
#[derive(Debug, Clone)]
pub(super) struct Position<P> {
    pub(super) world: World<P>,
    pub(super) progress: Progress,
    pub(super) sleep: Sleep,
}

impl<P: Program> Position<P> {
    fn copy_from(&mut self, Position { world, progress, sleep }: &Position<P>) {
        self.world.copy_from(world);
        self.progress.clone_from(progress);
        self.sleep.clone_from(sleep);
    }
}

/// A position at which not all steps were tried.
#[derive(Debug)]
pub(super) struct Branch<P> {
    pub(super) position: Box<Position<P>>,
    /// The length of the path to the position.
    pub(super) base: usize,
    /// The indexes of the untried steps. The last index is next.
    pub(super) steps: Vec<usize>,
    /// Whether several steps were enabled; then the first recorded choice is the choice of the step.
    pub(super) chose: bool,
    /// The next choices for the current step, if it has another outcome.
    pub(super) again: Option<Vec<u32>>,
}

impl<P> Branch<P> {
    pub(super) fn next(&mut self) -> Option<Alternative> {
        self.again.take().map(Alternative::Again).or_else(|| self.steps.pop().map(Alternative::step))
    }
}

/// What to try next at a branch: another step, or other choices within the same step.
#[derive(Debug)]
pub(super) enum Alternative {
    Step(u32),
    Again(Vec<u32>),
}

impl Alternative {
    /// Another step. If only one step is enabled, no choice is recorded, and its index 0 is ignored.
    pub(super) fn step(step: usize) -> Self {
        Alternative::Step(u32::try_from(step).expect("few steps are enabled"))
    }

    pub(super) fn choices(&self) -> &[u32] {
        match self {
            Alternative::Step(step) => std::slice::from_ref(step),
            Alternative::Again(choices) => choices,
        }
    }
}

/// The current position, and the branches on the path.
#[derive(Debug)]
pub(super) struct SearchStack<P> {
    pub(super) here: Box<Position<P>>,
    /// Indexes of the steps to try at the current position.
    pub(super) steps: Vec<usize>,
    /// The world before the last step that had no alternatives.
    before: Box<World<P>>,
    branches: Vec<Branch<P>>,
    spare: Vec<Branch<P>>,
}

impl<P: Program> SearchStack<P> {
    pub(super) fn new(world: World<P>, observers: usize) -> Self {
        let before = Box::new(world.clone());
        let here = Position { world, progress: Progress::new(observers), sleep: Sleep::default() };
        SearchStack {
            here: Box::new(here),
            steps: Vec::new(),
            before,
            branches: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// The last branch, if any.
    pub(super) fn last_branch(&mut self) -> Option<&mut Branch<P>> {
        self.branches.last_mut()
    }

    /// Makes the position of the last branch current.
    pub(super) fn return_to_last_branch(&mut self) -> (&mut Position<P>, &mut Branch<P>) {
        let branch = self.branches.last_mut().expect("a branch is on the stack");
        self.here.copy_from(&branch.position);
        (&mut self.here, branch)
    }

    /// Removes the last branch, which is exhausted.
    pub(super) fn remove_last_branch(&mut self) {
        self.spare.extend(self.branches.pop());
    }

    /// Saves the current world before a step.
    pub(super) fn save_world(&mut self) {
        self.before.copy_from(&self.here.world);
    }

    /// The last saved world.
    pub(super) fn saved_world(&self) -> &World<P> {
        &self.before
    }

    /// Adds a branch at the current position, with the length of its path and the steps to try.
    pub(super) fn branch(&mut self, base: usize, chose: bool) {
        let spare = self.spare.pop();
        let (position, steps) =
            spare.map_or_else(|| (self.here.clone(), Vec::new()), |spare| (spare.position, spare.steps));
        let position = std::mem::replace(&mut self.here, position);
        let steps = std::mem::replace(&mut self.steps, steps);
        self.branches.push(Branch { position, base, steps, chose, again: None });
    }
}
