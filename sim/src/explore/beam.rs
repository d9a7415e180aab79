//! The beam search: extends many paths by one step at a time, and keeps the best paths. A path with a wrong
//! step makes no further progress, and is dropped.
//!
//! If the search finds nothing, this proves nothing.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::Deepest;
use super::progress::Progress;
use super::search::{Goal, Search, Turn, following};
use super::visited::Visited;
use crate::event::Actor;
use crate::program::Program;
use crate::world::World;

/// A path, and the world at its end.
struct Node<P> {
    world: World<P>,
    progress: Progress,
    path: Vec<u32>,
}

/// The comparison of paths: each variant names the better paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BeamHeuristic {
    /// The paths with the most wanted observations.
    Eager,
    /// The paths with the most wanted observations of the primary, and among these the paths with the fewest
    /// observations of other observers: a worker that runs ahead may have missed a later message.
    Lazy,
    /// The paths with the most wanted observations of the primary.
    Any,
}

impl BeamHeuristic {
    /// Smaller is better.
    fn of(self, progress: &Progress, primary: Option<usize>) -> (usize, usize) {
        let (all, by_primary) = (progress.total(), primary.map_or(0, |at| progress.of(at)));
        match self {
            BeamHeuristic::Eager => (usize::MAX - all, 0),
            BeamHeuristic::Lazy => (usize::MAX - by_primary, all),
            BeamHeuristic::Any => (usize::MAX - by_primary, 0),
        }
    }
}

/// A beam search with its measure and its width.
pub(super) struct Beam<'a> {
    search: Search<'a>,
    heuristic: BeamHeuristic,
    width: usize,
    visited: Visited,
}

impl<'a> Beam<'a> {
    /// Keeps `width` paths.
    pub(super) fn new(search: Search<'a>, heuristic: BeamHeuristic, width: usize) -> Self {
        Beam { search, heuristic, width, visited: Visited::new() }
    }

    /// The choices that lead to the goal, if found within the budget; and the deepest point, with the number
    /// of visited worlds.
    pub(super) fn find<P: Program>(mut self, world: &World<P>) -> (Option<Vec<u32>>, Deepest) {
        let Goal::Observing(wanted) = &self.search.goal else { return (None, Deepest::default()) };
        let progress = Progress::new(wanted.len());
        let mut frontier = vec![Node { world: world.clone().searched(), progress, path: Vec::new() }];
        while !frontier.is_empty()
            && self.search.budget.spent(self.visited.len(), self.visited.bytes()).is_none()
        {
            let mut next = Vec::new();
            for node in frontier {
                if let Some(path) = self.expand(node, &mut next) {
                    return (Some(path), self.search.take_deepest(self.visited.len()));
                }
            }
            frontier = self.best(next);
        }
        (None, self.search.take_deepest(self.visited.len()))
    }

    /// Keeps the best paths. A hash decides between paths of the same measure.
    fn best<P: Program>(&self, mut nodes: Vec<Node<P>>) -> Vec<Node<P>> {
        if nodes.len() > self.width {
            let any = FixedState::with_seed(self.visited.len() as u64);
            let primary = self.search.observer(Actor::Primary);
            nodes.sort_by_cached_key(|node| {
                (self.heuristic.of(&node.progress, primary), any.hash_one(&node.path))
            });
            nodes.truncate(self.width);
        }
        nodes
    }

    /// Adds every successor of a node, if its world is new. Returns the path of a successor at the goal.
    fn expand<P: Program>(&mut self, mut node: Node<P>, next: &mut Vec<Node<P>>) -> Option<Vec<u32>> {
        let n = node.world.refresh();
        if n == 0 {
            let Node { mut world, progress, path } = node;
            return (self.search.end(&mut world, &progress) == Turn::Goal).then_some(path);
        }
        let only = if n == 1 { Some(0) } else { self.search.settled(&node.world, n) };
        let steps = only.map_or(0..n, |only| only..only + 1);
        for step in steps {
            let mut again = Some(vec![u32::try_from(step).expect("few steps are enabled")]);
            while let Some(choices) = again {
                let (mut world, mut progress) = (node.world.clone(), node.progress.clone());
                self.search.path.clone_from(&node.path);
                let turn = self.search.step(&mut world, &mut progress, &choices);
                again = following(world.schedule().taken(), usize::from(n > 1));
                if turn == Turn::Continue
                    && self.visited.visit(self.search.hash(&world, &progress), 0).is_none()
                {
                    next.push(Node { world, progress, path: self.search.path.clone() });
                }
            }
        }
        None
    }
}
