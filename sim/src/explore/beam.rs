//! A search that goes forward on many paths at once and keeps the best of them. A path that took a wrong turn makes no
//! more of what is wanted, and falls behind, whatever the reason.
//!
//! A search without a result proves nothing.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::search::{Goal, Search, Turn, following};
use super::visited::Visited;
use crate::event::Actor;
use crate::program::Program;
use crate::world::World;

/// A path and where it leads.
struct Node<P> {
    world: World<P>,
    progress: Vec<usize>,
    path: Vec<u32>,
}

/// Which paths are the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BeamHeuristic {
    /// The paths with the most wanted observations.
    Eager,
    /// Those that have made most of what the primary is to see, and of these the ones in which others have done least:
    /// a worker that runs ahead may have gone where it should still be written to.
    Lazy,
    /// Those that have made most of what the primary is to see.
    Any,
}

impl BeamHeuristic {
    /// The less the better.
    fn of(self, progress: &[usize], primary: Option<usize>) -> (usize, usize) {
        let (all, told) = (progress.iter().sum::<usize>(), primary.map_or(0, |at| progress[at]));
        match self {
            BeamHeuristic::Eager => (usize::MAX - all, 0),
            BeamHeuristic::Lazy => (usize::MAX - told, all),
            BeamHeuristic::Any => (usize::MAX - told, 0),
        }
    }
}

/// See the module.
pub(super) struct Beam<'a> {
    search: Search<'a>,
    heuristic: BeamHeuristic,
    width: usize,
    seen: Visited,
}

impl<'a> Beam<'a> {
    /// Keeps `width` paths.
    pub(super) fn new(search: Search<'a>, heuristic: BeamHeuristic, width: usize) -> Self {
        Beam { search, heuristic, width, seen: Visited::new() }
    }

    /// The choices that lead to the goal, if it was found within the budget; and how many worlds were seen.
    pub(super) fn find<P: Program>(mut self, world: &World<P>) -> (Option<Vec<u32>>, usize) {
        let Goal::Seeing(wanted) = &self.search.goal else { return (None, 0) };
        let progress = vec![0; wanted.len()];
        let mut frontier = vec![Node { world: world.clone().searched(), progress, path: Vec::new() }];
        while !frontier.is_empty() && self.search.budget.spent(self.seen.len(), self.seen.bytes()).is_none() {
            let mut next = Vec::new();
            for node in frontier {
                if let Some(path) = self.expand(node, &mut next) {
                    return (Some(path), self.seen.len());
                }
            }
            frontier = self.best(next);
        }
        (None, self.seen.len())
    }

    /// Of equals, any: by a number that has nothing to do with how they came about.
    fn best<P: Program>(&self, mut nodes: Vec<Node<P>>) -> Vec<Node<P>> {
        if nodes.len() > self.width {
            let any = FixedState::with_seed(self.seen.len() as u64);
            let primary = self.search.observer(Actor::Primary);
            nodes.sort_by_cached_key(|node| {
                (self.heuristic.of(&node.progress, primary), any.hash_one(&node.path))
            });
            nodes.truncate(self.width);
        }
        nodes
    }

    /// Every way on from a node that leads to a new world; the path, if this one is at the goal.
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
                if turn == Turn::GoOn && self.seen.see(self.search.hash(&world, &progress), 0).is_none() {
                    next.push(Node { world, progress, path: self.search.path.clone() });
                }
            }
        }
        None
    }
}
