//! The depth-first search. A branch ends at the goal, at a dead end, or at a world that was visited with the
//! same progress.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;

use super::progress::Progress;
use super::sleep::bit;
use super::stack::{Alternative, Position, SearchStack};
use super::visited::Visited;
use super::{Bound, Budget, Coverage, Deepest, Misfit, Names, Observed};
use crate::check::{Checks, Failure};
use crate::cow::{CowArc, Fingerprint, fingerprint};
use crate::event::Actor;
use crate::observations::Observation;
use crate::program::Program;
use crate::schedule::Choice;
use crate::step::Step;
use crate::world::World;

/// The goal of a search.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Goal<'a> {
    /// A run in which the observers record exactly these lines, and no other observer records a line.
    Observing(Vec<(Actor, &'a [String])>),
    /// A run in which a check fails.
    FailedCheck,
}

impl<'a> Goal<'a> {
    pub(super) fn observing(wanted: &'a Observed) -> Self {
        Goal::Observing(wanted.iter().map(|(&actor, texts)| (actor, texts.as_slice())).collect())
    }
}

/// The unit that no other step interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Granularity {
    /// A whole reaction of a process to an input; only a signal interrupts a reaction. Steps of a client or
    /// of the driver that affect no process are taken at once.
    Reactions,
    /// Each step of the world.
    Steps,
}

/// The order in which a search tries the enabled steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// First the step of a quiet machine.
    Oldest,
    /// First the most recently enabled step.
    Newest,
    /// Random, by a seed.
    Mixed(u64),
}

impl Order {
    /// Writes the indexes of `n` steps to `order`, or only the index `only`. The search tries the last index
    /// first.
    fn arrange(self, n: usize, only: Option<usize>, world: Fingerprint, order: &mut Vec<usize>) {
        order.clear();
        order.extend(only.map_or(0..n, |only| only..only + 1).rev());
        match self {
            Order::Oldest => {}
            Order::Newest => order.reverse(),
            Order::Mixed(number) => {
                order.sort_by_key(|at| FixedState::with_seed(number).hash_one((at, world)));
            }
        }
    }
}

/// The end of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The search reached its goal; the path has the choices.
    Found,
    /// Every run was tried.
    Exhausted,
    /// The budget ended the search.
    Cut(Bound),
}

/// Whether the run with these choices, which ends without an enabled step, is the goal.
pub(super) type Judge<'a> = &'a mut dyn FnMut(&[u32]) -> bool;

/// A search with goal, bounds and records.
pub(super) struct Search<'a> {
    pub(super) goal: Goal<'a>,
    /// The names in the wanted observations.
    names: Option<&'a Names>,
    pub(super) budget: Budget,
    granularity: Granularity,
    order: Order,
    visited: Visited,
    ends: Visited,
    transitions: u64,
    /// Whether independent steps are taken in one order only.
    uses_sleep_sets: bool,
    /// Whether a branch ends at a world that was visited before.
    remembers: bool,
    judge: Option<Judge<'a>>,
    /// The numbers of complete and of redundant runs.
    runs: (u64, u64),
    /// The failed check.
    pub(super) failure: Option<Box<Failure>>,
    pub(super) path: Vec<u32>,
    pub(super) deepest: Deepest,
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Continue,
    DeadEnd,
    Goal,
}

impl<'a> Search<'a> {
    pub(super) fn new(goal: Goal<'a>, budget: Budget, granularity: Granularity, order: Order) -> Self {
        let (visited, ends) = (Visited::new(), Visited::new());
        let (path, deepest) = (Vec::new(), Deepest::default());
        let (uses_sleep_sets, remembers) = (goal == Goal::FailedCheck, true);
        Search {
            goal,
            names: None,
            budget,
            granularity,
            order,
            visited,
            ends,
            transitions: 0,
            uses_sleep_sets,
            remembers,
            judge: None,
            runs: (0, 0),
            failure: None,
            path,
            deepest,
        }
    }

    /// Also compares the objects of observations, by these names.
    pub(super) fn naming(mut self, names: &'a Names) -> Self {
        self.names = (!names.is_empty()).then_some(names);
        self
    }

    /// Does not end a branch at a visited world, so that the search takes every run.
    pub(super) fn forgetting(mut self) -> Self {
        self.remembers = false;
        self
    }

    /// Also judges the first run to each final state. Final states with different observations of a process
    /// or client, killed processes or holders of connections are different.
    #[cfg(feature = "simulation")]
    pub(super) fn judged_by(mut self, judge: Judge<'a>) -> Self {
        self.judge = Some(judge);
        self
    }

    /// The numbers of complete and of redundant runs. Other runs cover a redundant run.
    pub(super) fn runs(&self) -> (u64, u64) {
        self.runs
    }

    /// The number of visited worlds with a choice.
    pub(super) fn worlds(&self) -> usize {
        self.visited.len()
    }

    /// The counts of the search.
    pub(super) fn coverage(&self, cut: Option<Bound>) -> Coverage {
        let (worlds, ends, bytes) = (self.worlds(), self.ends.len(), self.bytes());
        Coverage { worlds, ends, transitions: self.transitions, bytes, cut }
    }

    /// The index of an observer in the progress.
    pub(super) fn observer(&self, observer: Actor) -> Option<usize> {
        let Goal::Observing(wanted) = &self.goal else { return None };
        wanted.iter().position(|&(actor, _)| actor == observer)
    }

    /// The memory of the fingerprints, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.visited.bytes() + self.ends.bytes()
    }

    fn spent(&self) -> Option<Bound> {
        let runs = usize::try_from(self.runs.0 + self.runs.1).unwrap_or(usize::MAX);
        let worlds = if self.remembers { self.worlds() } else { runs };
        self.budget.count(worlds);
        self.budget.spent(worlds, self.bytes())
    }

    /// Searches depth first until the goal, the end or a bound.
    pub(super) fn walk<P: Program>(&mut self, world: &World<P>) -> Outcome {
        let observers = if let Goal::Observing(wanted) = &self.goal { wanted.len() } else { 0 };
        let mut stack = SearchStack::new(world.clone().searched(), observers);
        let mut turn = self.follow(&mut stack);
        while turn != Turn::Goal {
            let Some(branch) = stack.last_branch() else { return Outcome::Exhausted };
            if let Some(spent) = self.spent() {
                return Outcome::Cut(spent);
            }
            if let Some(next) = branch.next() {
                self.path.truncate(branch.base);
                turn = self.branch_off(&next, &mut stack);
            } else {
                stack.remove_last_branch();
            }
        }
        Outcome::Found
    }

    /// Takes the deepest point out, with the number of visited worlds.
    pub(super) fn take_deepest(&mut self, worlds: usize) -> Deepest {
        let wanted = if let Goal::Observing(wanted) = &self.goal { wanted.as_slice() } else { &[] };
        let wanted = wanted.iter().map(|(_, texts)| texts.len()).sum();
        Deepest { wanted, worlds, ..std::mem::take(&mut self.deepest) }
    }

    /// Takes a step from the last branch, and follows the run.
    fn branch_off<P: Program>(&mut self, next: &Alternative, stack: &mut SearchStack<P>) -> Turn {
        let (Position { world, progress, sleep }, branch) = stack.return_to_last_branch();
        let step = branch.position.world.enabled(if branch.chose { next.choices()[0] as usize } else { 0 });
        let turn = self.step(world, progress, next.choices());
        branch.again = following(world.schedule().taken(), usize::from(branch.chose));
        if turn != Turn::Continue {
            return turn;
        }
        if self.uses_sleep_sets {
            let done = world.footprint(step, &branch.position.world);
            sleep.wake(done);
            if let Alternative::Step(_) = next {
                if branch.position.sleep.has(step) {
                    // Only further outcomes of the same step are new.
                    return Turn::DeadEnd;
                }
                branch.position.sleep.add(step, done);
            }
        }
        self.follow(stack)
    }

    /// Takes steps that have no alternatives, up to the next branch or to an end.
    fn follow<P: Program>(&mut self, stack: &mut SearchStack<P>) -> Turn {
        loop {
            let Position { world, progress, sleep } = &mut *stack.here;
            let n = world.refresh();
            if n == 0 {
                return self.end(world, progress);
            }
            let only = if n == 1 { Some(0) } else { self.settled(world, n) };
            let Some(only) = only.filter(|&only| world.is_certain(only)) else {
                return self.branch(n, only, stack);
            };
            let step = world.enabled(only);
            if sleep.has(step) {
                self.runs.1 += 1;
                return Turn::DeadEnd;
            }
            let (has_sleeping, choices) = (!sleep.is_empty(), Alternative::step(only));
            if has_sleeping {
                stack.save_world();
            }
            let Position { world, progress, .. } = &mut *stack.here;
            let turn = self.step(world, progress, choices.choices());
            if turn != Turn::Continue {
                return turn;
            }
            if has_sleeping {
                let done = stack.here.world.footprint(step, stack.saved_world());
                stack.here.sleep.wake(done);
            }
        }
    }

    /// Adds a branch at a world with a choice, unless every step is redundant.
    fn branch<P: Program>(&mut self, n: usize, only: Option<usize>, stack: &mut SearchStack<P>) -> Turn {
        let (Position { world, progress, sleep }, steps) = (&mut *stack.here, &mut stack.steps);
        let hash = self.hash(world, progress);
        let slept = if self.remembers { self.visited.visit(hash, sleep.steps()) } else { None };
        if slept.is_none() && self.goal == Goal::FailedCheck && self.fails(world.inspect()) {
            return Turn::Goal;
        }
        self.order.arrange(n, only, hash, steps);
        if let Some(slept) = slept {
            sleep.keep(slept);
            steps.retain(|&at| bit(world.enabled(at)) & slept != 0 && !sleep.has(world.enabled(at)));
        } else {
            steps.retain(|&at| !sleep.has(world.enabled(at)) || !world.is_certain(at));
        }
        if !steps.is_empty() {
            stack.branch(self.path.len(), n > 1);
        } else if slept.is_none() {
            self.runs.1 += 1;
        }
        Turn::DeadEnd
    }

    fn fails<T>(&mut self, outcome: Result<T, Box<Failure>>) -> bool {
        self.failure = outcome.err();
        self.failure.is_some()
    }

    pub(super) fn hash<P: Program>(&self, world: &World<P>, progress: &Progress) -> Fingerprint {
        let checks = matches!(self.goal, Goal::FailedCheck).then(|| world.checks());
        let point = PointIdentity(world, progress, checks);
        if self.judge.is_some() { fingerprint(&(point, world.past())) } else { fingerprint(&point) }
    }

    /// The step that the search takes before all others, if any.
    pub(super) fn settled<P: Program>(&self, world: &World<P>, n: usize) -> Option<usize> {
        if self.granularity != Granularity::Reactions {
            return None;
        }
        let is_dying =
            |pid| (0..n).any(|at| matches!(world.enabled(at), Step::Signal(dying, _) if dying == pid));
        let is_settled = |&at: &usize| match world.enabled(at) {
            Step::Run(pid) => !is_dying(pid) && !world.state.running.is_about_to_close_channel(pid),
            Step::DriverEvent | Step::ClientEvent(_) => true,
            Step::ClientAction(client) => !world.state.kernel.network.clients.looks_up_sockets(client),
            Step::Start(_)
            | Step::Read(..)
            | Step::Writable(..)
            | Step::Accept(..)
            | Step::Receive(..)
            | Step::Signal(..)
            | Step::Reap(_)
            | Step::CloseInherited(_)
            | Step::Continue(_)
            | Step::Timer => false,
        };
        (0..n).find(is_settled)
    }

    pub(super) fn step<P: Program>(
        &mut self,
        world: &mut World<P>,
        progress: &mut Progress,
        choices: &[u32],
    ) -> Turn {
        let before = world.state.log.len();
        self.transitions += 1;
        world.schedule_mut().force(choices);
        let passes = !self.fails(world.step());
        self.path.extend(world.schedule().taken().iter().map(|choice| choice.value));
        let fits = world.state.log.since(before).all(|observation| self.fits(observation, progress));
        world.state.log.discard_read();
        match (&self.goal, passes && fits) {
            (_, true) => Turn::Continue,
            (Goal::Observing(_), false) => Turn::DeadEnd,
            (Goal::FailedCheck, false) => Turn::Goal,
        }
    }

    fn fits(&mut self, observation: &Observation, progress: &mut Progress) -> bool {
        let Goal::Observing(wanted) = &self.goal else { return true };
        let observer = observation.observer;
        let at = self.observer(observer);
        let wanted = at.and_then(|at| wanted[at].1.get(progress.of(at)));
        let mut remark = "";
        if let (Some(at), true) = (at, wanted.is_some_and(|wanted| *wanted == observation.text)) {
            if self.is_named(observation, progress.of(at), progress) {
                progress.advance(at);
                return true;
            }
            remark = " (of another object)";
        }
        let found = Some(format!("{}{remark}", observation.text));
        let misfit = Misfit { observer, found, wanted: wanted.cloned() };
        self.record_deepest(progress, misfit);
        false
    }

    /// Whether the object of an observation has the name in the wanted observation.
    fn is_named(&self, observation: &Observation, number: usize, progress: &mut Progress) -> bool {
        let Some(object) = observation.object else { return true };
        let by_observer = self.names.and_then(|names| names.get(&observation.observer));
        let name = by_observer.and_then(|names| names.get(number).copied().flatten());
        name.is_none_or(|name| progress.binds(name, object))
    }

    /// Compares a world without enabled steps with the goal.
    pub(super) fn end<P: Program>(&mut self, world: &mut World<P>, progress: &Progress) -> Turn {
        let Goal::Observing(wanted) = &self.goal else {
            let is_new = self.ends.visit(self.hash(world, progress), 0).is_none();
            self.runs.0 += 1;
            let fails = is_new
                && (self.fails(world.run()) || self.judge.as_mut().is_some_and(|judge| judge(&self.path)));
            return if fails { Turn::Goal } else { Turn::DeadEnd };
        };
        let missing = wanted.iter().zip(progress.all()).find_map(|(&(observer, texts), &made)| {
            let wanted = Some(texts.get(made)?.clone());
            Some(Misfit { observer, found: None, wanted })
        });
        let Some(misfit) = missing else { return Turn::Goal };
        self.record_deepest(progress, misfit);
        Turn::DeadEnd
    }

    fn record_deepest(&mut self, progress: &Progress, misfit: Misfit) {
        let made = progress.total();
        if made > self.deepest.made || self.deepest.misfit.is_none() {
            self.deepest.made = made;
            self.deepest.misfit = Some(misfit);
            self.deepest.choices.clone_from(&self.path);
        }
    }
}

/// The identity of a point of a search. The state of the checks is part of it only in a search for failed
/// checks.
#[derive(Hash)]
struct PointIdentity<'a, P: Hash>(&'a World<P>, &'a Progress, Option<&'a CowArc<Checks>>);

/// The choices that take the enabled step `at` of `n`, followed by the choices within the step. If only one
/// step is enabled, there is no choice between steps.
pub(super) fn choices(n: usize, at: usize, inside: &[u32]) -> Vec<u32> {
    let step = u32::try_from(at).expect("few steps are enabled");
    let step = (n > 1).then_some(step);
    step.into_iter().chain(inside.iter().copied()).collect()
}

/// The next choices in counting order, with the first `fixed` choices unchanged.
pub(super) fn following(taken: &[Choice], fixed: usize) -> Option<Vec<u32>> {
    let last = taken.iter().rposition(|choice| choice.value + 1 < choice.of).filter(|&last| last >= fixed)?;
    let mut next: Vec<u32> = taken[..=last].iter().map(|choice| choice.value).collect();
    next[last] += 1;
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::{RandomProgram, Scenario};
    use crate::{Fault, Faults};

    /// Sleep sets save transitions, but the search still visits every world.
    #[test]
    fn sleep_sets_lose_no_world() {
        let kill = Faults::only(&[Fault::Kill]).limit(1);
        for (name, faults) in
            [("plan-2-0-.d1-s", Faults::none()), ("plan-1-1--cl", Faults::none()), ("plan-1-1-.d1-d", kill)]
        {
            let scenario: Scenario<RandomProgram> = name.parse().expect("a name of a scenario");
            let world = scenario.world().with_faults(faults);
            let [reduced, whole] = [true, false].map(|uses_sleep_sets| {
                let mut search =
                    Search::new(Goal::FailedCheck, 200_000.into(), Granularity::Steps, Order::Oldest);
                search.uses_sleep_sets = uses_sleep_sets;
                assert_eq!(search.walk(&world), Outcome::Exhausted, "{name}");
                search
            });
            assert_eq!((reduced.worlds(), reduced.ends.len()), (whole.worlds(), whole.ends.len()), "{name}");
            // With faults a sleeping step is taken after all, because a fault can strike in the step.
            assert!(!faults.is_none() || reduced.transitions < whole.transitions, "{name}");
        }
    }

    #[test]
    fn following_counts_through_choices() {
        let choice = |value, of| Choice { value, of };
        assert_eq!(following(&[choice(0, 2), choice(1, 2)], 0), Some(vec![1]));
        assert_eq!(following(&[choice(0, 2), choice(0, 3)], 1), Some(vec![0, 1]));
        assert_eq!(following(&[choice(0, 2), choice(1, 2)], 1), None);
        assert_eq!(following(&[choice(1, 2)], 0), None);
        assert_eq!(following(&[], 0), None);
    }
}
