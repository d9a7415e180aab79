//! The depth-first search. A branch ends where the goal ends it, and at a world that was seen before with as much
//! observed. It does not know what its answers are used for.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;

use super::sleep::bit;
use super::stack::{Alternative, Position, SearchStack};
use super::visited::Visited;
use super::{Bound, Budget, Deepest, Misfit, Observed};
use crate::check::{Checks, Failure};
use crate::cow::{CowArc, Fingerprint, fingerprint};
use crate::event::Actor;
use crate::observations::Observation;
use crate::program::Program;
use crate::schedule::Choice;
use crate::step::Step;
use crate::world::World;

/// What is searched for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Goal<'a> {
    /// A run in which these observers see these lines, and no other observer any line.
    Seeing(Vec<(Actor, &'a [String])>),
    /// A run in which a check fails.
    Failing,
}

impl<'a> Goal<'a> {
    pub(super) fn seeing(wanted: &'a Observed) -> Self {
        Goal::Seeing(wanted.iter().map(|(&actor, texts)| (actor, texts.as_slice())).collect())
    }
}

/// What a branch may interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Granularity {
    /// Nothing but its death between an input of a process and the end of its reaction, and nothing that only a client
    /// or the driver observes is deferred.
    Reactions,
    /// Everything.
    Steps,
}

/// Which of the enabled steps is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// The quiet one.
    Oldest,
    /// What was caused last.
    Newest,
    /// Now this, now that; the number makes the difference.
    Mixed(u64),
}

impl Order {
    /// Pushes `n` steps, or the only one that counts; the first to be tried is pushed last.
    fn put(self, n: usize, only: Option<usize>, world: Fingerprint, order: &mut Vec<usize>) {
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

/// How a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// At its goal: the path leads there.
    Found,
    /// Everything was tried.
    Exhausted,
    /// At this bound of its budget.
    Cut(Bound),
}

#[derive(Debug)]
pub(super) struct Search<'a> {
    pub(super) goal: Goal<'a>,
    pub(super) budget: Budget,
    granularity: Granularity,
    order: Order,
    seen: Visited,
    ends: Visited,
    transitions: u64,
    /// Steps that commute are taken in one order only.
    sleeps: bool,
    /// Worlds that were seen before are not entered again.
    remembers: bool,
    /// How many runs came to their end, and how many were given up because they do what others do.
    runs: (u64, u64),
    /// What was found to be wrong.
    pub(super) failure: Option<Box<Failure>>,
    pub(super) path: Vec<u32>,
    pub(super) deepest: Deepest,
}

/// What a step comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    GoOn,
    DeadEnd,
    Goal,
}

impl<'a> Search<'a> {
    pub(super) fn new(goal: Goal<'a>, budget: Budget, granularity: Granularity, order: Order) -> Self {
        let (seen, ends) = (Visited::new(), Visited::new());
        let (path, deepest) = (Vec::new(), Deepest::default());
        let (sleeps, remembers) = (goal == Goal::Failing, true);
        Search {
            goal,
            budget,
            granularity,
            order,
            seen,
            ends,
            transitions: 0,
            sleeps,
            remembers,
            runs: (0, 0),
            failure: None,
            path,
            deepest,
        }
    }

    /// Takes each run by itself, whatever worlds it comes through.
    pub(super) fn forgetting(mut self) -> Self {
        self.remembers = false;
        self
    }

    /// How many runs came to their end, and how many were given up because they do what others do.
    pub(super) fn runs(&self) -> (u64, u64) {
        self.runs
    }

    /// How many worlds with a choice were seen.
    pub(super) fn worlds(&self) -> usize {
        self.seen.len()
    }

    /// How many different ends were seen.
    pub(super) fn ends(&self) -> usize {
        self.ends.len()
    }

    /// How many steps were taken from one of them to the next.
    pub(super) fn transitions(&self) -> u64 {
        self.transitions
    }

    /// Where the progress of an observer is counted.
    pub(super) fn observer(&self, observer: Actor) -> Option<usize> {
        let Goal::Seeing(wanted) = &self.goal else { return None };
        wanted.iter().position(|&(actor, _)| actor == observer)
    }

    /// What the fingerprints take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.seen.bytes() + self.ends.bytes()
    }

    fn spent(&self) -> Option<Bound> {
        let runs = usize::try_from(self.runs.0 + self.runs.1).unwrap_or(usize::MAX);
        let worlds = if self.remembers { self.worlds() } else { runs };
        self.budget.count(worlds);
        self.budget.spent(worlds, self.bytes())
    }

    pub(super) fn walk<P: Program>(&mut self, world: &World<P>) -> Outcome {
        let observers = if let Goal::Seeing(wanted) = &self.goal { wanted.len() } else { 0 };
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
                stack.leave_last_branch();
            }
        }
        Outcome::Found
    }

    /// Takes a step from the last branch, and goes on.
    fn branch_off<P: Program>(&mut self, next: &Alternative, stack: &mut SearchStack<P>) -> Turn {
        let (Position { world, progress, sleep }, branch) = stack.return_to_last_branch();
        let step = branch.position.world.enabled(if branch.chose { next.choices()[0] as usize } else { 0 });
        let turn = self.step(world, progress, next.choices());
        branch.again = following(world.schedule().taken(), usize::from(branch.chose));
        if turn != Turn::GoOn {
            return turn;
        }
        if self.sleeps {
            let done = world.footprint(step, &branch.position.world);
            sleep.wake(done);
            if let Alternative::Step(_) = next {
                if branch.position.sleep.has(step) {
                    // Only what else may come of it is new.
                    return Turn::DeadEnd;
                }
                branch.position.sleep.add(step, done);
            }
        }
        self.follow(stack)
    }

    /// Goes on while there is no choice, to the next branch or to an end.
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
            let (sleeps, choices) = (!sleep.is_empty(), Alternative::step(only));
            if sleeps {
                stack.mark();
            }
            let Position { world, progress, .. } = &mut *stack.here;
            let turn = self.step(world, progress, choices.choices());
            if turn != Turn::GoOn {
                return turn;
            }
            if sleeps {
                let done = stack.here.world.footprint(step, stack.before());
                stack.here.sleep.wake(done);
            }
        }
    }

    /// Remembers a world with a choice, if there is something new to be tried.
    fn branch<P: Program>(&mut self, n: usize, only: Option<usize>, stack: &mut SearchStack<P>) -> Turn {
        let (Position { world, progress, sleep }, steps) = (&mut *stack.here, &mut stack.steps);
        let hash = self.hash(world, progress);
        let slept = if self.remembers { self.seen.see(hash, sleep.steps()) } else { None };
        if slept.is_none() && self.goal == Goal::Failing && self.fails(world.inspect()) {
            return Turn::Goal;
        }
        self.order.put(n, only, hash, steps);
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

    pub(super) fn hash<P: Program>(&self, world: &World<P>, progress: &[usize]) -> Fingerprint {
        let checks = matches!(self.goal, Goal::Failing).then(|| world.checks());
        fingerprint(&Seen(world, progress, checks))
    }

    /// A step that is taken at once, before all others.
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
        progress: &mut [usize],
        choices: &[u32],
    ) -> Turn {
        let before = world.state.log.len();
        self.transitions += 1;
        world.schedule_mut().force(choices);
        let went_well = !self.fails(world.step());
        self.path.extend(world.schedule().taken().iter().map(|choice| choice.value));
        let fits = world.state.log.since(before).all(|observation| self.fits(observation, progress));
        world.state.log.discard_read();
        match (&self.goal, went_well && fits) {
            (_, true) => Turn::GoOn,
            (Goal::Seeing(_), false) => Turn::DeadEnd,
            (Goal::Failing, false) => Turn::Goal,
        }
    }

    fn fits(&mut self, observation: &Observation, progress: &mut [usize]) -> bool {
        let Goal::Seeing(wanted) = &self.goal else { return true };
        let observer = observation.observer;
        let at = self.observer(observer);
        let wanted = at.and_then(|at| wanted[at].1.get(progress[at]));
        if let (Some(at), true) = (at, wanted.is_some_and(|wanted| *wanted == observation.text)) {
            progress[at] += 1;
            return true;
        }
        let misfit = Misfit { observer, found: Some(observation.text.to_string()), wanted: wanted.cloned() };
        self.came_to(progress, misfit);
        false
    }

    /// Nothing more happens.
    pub(super) fn end<P: Program>(&mut self, world: &mut World<P>, progress: &[usize]) -> Turn {
        let Goal::Seeing(wanted) = &self.goal else {
            let is_new = self.ends.see(self.hash(world, progress), 0).is_none();
            self.runs.0 += 1;
            return if is_new && self.fails(world.run()) { Turn::Goal } else { Turn::DeadEnd };
        };
        let missing = wanted.iter().zip(progress).find_map(|(&(observer, texts), &made)| {
            let wanted = Some(texts.get(made)?.clone());
            Some(Misfit { observer, found: None, wanted })
        });
        let Some(misfit) = missing else { return Turn::Goal };
        self.came_to(progress, misfit);
        Turn::DeadEnd
    }

    fn came_to(&mut self, progress: &[usize], misfit: Misfit) {
        let made = progress.iter().sum();
        if made > self.deepest.made || self.deepest.misfit.is_none() {
            self.deepest.made = made;
            self.deepest.misfit = Some(misfit);
            self.deepest.choices.clone_from(&self.path);
        }
    }
}

/// What makes two points of a search the same. What the checks remember counts where they are asked.
#[derive(Hash)]
struct Seen<'a, P: Hash>(&'a World<P>, &'a [usize], Option<&'a CowArc<Checks>>);

/// The choices that take the enabled step `at` of `n`, and the choices inside it. One step alone is no choice.
pub(super) fn choices(n: usize, at: usize, inside: &[u32]) -> Vec<u32> {
    let step = u32::try_from(at).expect("few steps are enabled");
    let step = (n > 1).then_some(step);
    step.into_iter().chain(inside.iter().copied()).collect()
}

/// The choices after these, as in counting, while the first `fixed` stand: the last one that can be larger is.
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

    /// The reduction leaves out transitions and no world.
    #[test]
    fn what_commutes_is_taken_once_and_every_world_is_seen() {
        let kill = Faults::only(&[Fault::Kill]).limit(1);
        for (name, faults) in
            [("plan-2-0-.d1-s", Faults::none()), ("plan-1-1--cl", Faults::none()), ("plan-1-1-.d1-d", kill)]
        {
            let scenario: Scenario<RandomProgram> = name.parse().expect("it is a name");
            let world = scenario.world().with_faults(faults);
            let [reduced, whole] = [true, false].map(|sleeps| {
                let mut search =
                    Search::new(Goal::Failing, 200_000.into(), Granularity::Steps, Order::Oldest);
                search.sleeps = sleeps;
                assert_eq!(search.walk(&world), Outcome::Exhausted, "{name}");
                search
            });
            assert_eq!((reduced.worlds(), reduced.ends()), (whole.worlds(), whole.ends()), "{name}");
            // A fault may strike where nothing else is new: so the step is taken, and only what did not strike is dropped.
            assert!(!faults.is_none() || reduced.transitions() < whole.transitions(), "{name}");
        }
    }

    #[test]
    fn choices_are_counted_through() {
        let choice = |value, of| Choice { value, of };
        assert_eq!(following(&[choice(0, 2), choice(1, 2)], 0), Some(vec![1]));
        assert_eq!(following(&[choice(0, 2), choice(0, 3)], 1), Some(vec![0, 1]));
        assert_eq!(following(&[choice(0, 2), choice(1, 2)], 1), None);
        assert_eq!(following(&[choice(1, 2)], 0), None);
        assert_eq!(following(&[], 0), None);
    }
}
