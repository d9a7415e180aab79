//! Where a search stands, and the branches behind it to which it comes back. Worlds that it is done with are kept for
//! their room: to make a new one for each step costs more than what the step does. It decides nothing.

use super::sleep::Sleep;
use crate::program::Program;
use crate::world::World;

/// A world, how much of what is wanted was observed on the way to it, and what need not be tried there.
#[derive(Debug, Clone)]
pub(super) struct Position<P> {
    pub(super) world: World<P>,
    pub(super) progress: Vec<usize>,
    pub(super) sleep: Sleep,
}

impl<P: Program> Position<P> {
    fn copy_from(&mut self, Position { world, progress, sleep }: &Position<P>) {
        self.world.copy_from(world);
        self.progress.clone_from(progress);
        self.sleep.clone_from(sleep);
    }
}

/// A position with steps that were not tried yet.
#[derive(Debug)]
pub(super) struct Branch<P> {
    pub(super) position: Box<Position<P>>,
    /// How long the path to it is.
    pub(super) base: usize,
    /// Which steps; the next to be tried is the last.
    pub(super) steps: Vec<usize>,
    /// Whether which step it is was a choice at all, and is the first that is recorded.
    pub(super) chose: bool,
    /// The same step again, with other choices inside.
    pub(super) again: Option<Vec<u32>>,
}

impl<P> Branch<P> {
    pub(super) fn next(&mut self) -> Option<Alternative> {
        self.again.take().map(Alternative::Again).or_else(|| self.steps.pop().map(Alternative::step))
    }
}

/// What is tried next at a branch: a step, perhaps with choices inside.
#[derive(Debug)]
pub(super) enum Alternative {
    Step(u32),
    Again(Vec<u32>),
}

impl Alternative {
    /// Where there is only one step, nothing is chosen, and a 0 does no harm.
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

/// See the module.
#[derive(Debug)]
pub(super) struct SearchStack<P> {
    pub(super) here: Box<Position<P>>,
    /// Which steps are to be tried here.
    pub(super) steps: Vec<usize>,
    /// The world one step earlier, while there is no choice.
    before: Box<World<P>>,
    branches: Vec<Branch<P>>,
    spare: Vec<Branch<P>>,
}

impl<P: Program> SearchStack<P> {
    pub(super) fn new(world: World<P>, observers: usize) -> Self {
        let before = Box::new(world.clone());
        let here = Position { world, progress: vec![0; observers], sleep: Sleep::default() };
        SearchStack {
            here: Box::new(here),
            steps: Vec::new(),
            before,
            branches: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// The branch to go on from.
    pub(super) fn last_branch(&mut self) -> Option<&mut Branch<P>> {
        self.branches.last_mut()
    }

    /// Goes back to the last branch.
    pub(super) fn return_to_last_branch(&mut self) -> (&mut Position<P>, &mut Branch<P>) {
        let branch = self.branches.last_mut().expect("there is a branch to go on from");
        self.here.copy_from(&branch.position);
        (&mut self.here, branch)
    }

    /// Everything was tried at the last branch.
    pub(super) fn leave_last_branch(&mut self) {
        self.spare.extend(self.branches.pop());
    }

    /// Remembers the world, which a step is about to change.
    pub(super) fn mark(&mut self) {
        self.before.copy_from(&self.here.world);
    }

    /// The world as it was at the mark.
    pub(super) fn before(&self) -> &World<P> {
        &self.before
    }

    /// Some steps are to be tried here; the path to here is so long.
    pub(super) fn branch(&mut self, base: usize, chose: bool) {
        let spare = self.spare.pop();
        let (position, steps) =
            spare.map_or_else(|| (self.here.clone(), Vec::new()), |spare| (spare.position, spare.steps));
        let position = std::mem::replace(&mut self.here, position);
        let steps = std::mem::replace(&mut self.steps, steps);
        self.branches.push(Branch { position, base, steps, chose, again: None });
    }
}
