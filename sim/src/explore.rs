//! Searching the runs of a world: is there a schedule under which every observer sees exactly this?
//!
//! Depth first, the quiet choice first. A branch ends at the first observation that is not the next one wanted, and at
//! a world that was seen before with as much observed. First only whole reactions are tried (a process that runs,
//! runs until it has nothing to do); if no run of that kind will do, every step of every process is. So a "no" is
//! a no to all schedules. It runs no faults but those that are armed in the world it is given.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;

use crate::journal::Observation;
use crate::kernel::Step;
use crate::program::{Actor, Program};
use crate::schedule::Choice;
use crate::world::World;

/// What each observer saw, or shall see, in its own order.
pub type Observed = BTreeMap<Actor, Vec<String>>;

/// The answer to a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// Under these choices: [`Schedule::replay`](crate::Schedule::replay) shows it.
    Yes(Vec<u32>),
    /// Under no schedule.
    No(Deepest),
    /// The budget was used up before either was known.
    Unknown(Deepest),
}

/// How far a search came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deepest {
    /// How many of the wanted observations were made.
    pub made: usize,
    /// How many are wanted.
    pub wanted: usize,
    /// What did not fit there.
    pub misfit: Option<Misfit>,
    /// The choices that lead there.
    pub choices: Vec<u32>,
    /// How many different worlds were seen.
    pub worlds: usize,
    /// Every run was tried in which nothing comes between an input of a process and the end of its reaction.
    pub reactions: bool,
}

/// An observation that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// Whose.
    pub observer: Actor,
    /// What it saw; `None`: nothing more happens.
    pub found: Option<String>,
    /// What it should see; `None`: nothing more.
    pub wanted: Option<String>,
}

/// Everything each observer saw in a run.
pub fn observed<'a>(observations: impl Iterator<Item = &'a Observation>) -> Observed {
    let mut observed = Observed::new();
    for Observation { observer, text } in observations {
        observed.entry(*observer).or_default().push(text.to_string());
    }
    observed
}

/// Searches for a run in which every observer sees exactly what is wanted, and then nothing more can happen.
/// The world is taken as it is, with the faults that are armed in its schedule; `budget` bounds the worlds that are
/// seen, which bounds time and memory.
///
/// A few short searches in different orders come first: where one order takes a wrong turn early and does not
/// notice, another often does not.
pub fn reaches<P: Program>(world: &World<P>, wanted: &Observed, budget: usize) -> Reached {
    let mut spent = 0;
    for order in [Order::Oldest, Order::Newest, Order::Mixed(1), Order::Mixed(2), Order::Mixed(3)] {
        let reached = Search::new(wanted, budget / 16, Grain::Reactions, order).run(world.clone());
        match reached {
            Reached::Yes(_) => return reached,
            Reached::Unknown(deepest) => spent += deepest.worlds,
            Reached::No(_) => break,
        }
    }
    let left = budget.saturating_sub(spent);
    let coarse = Search::new(wanted, left, Grain::Reactions, Order::Oldest).run(world.clone());
    let Reached::No(deepest) = coarse else { return coarse };
    let left = left.saturating_sub(deepest.worlds);
    let fine = Search::new(wanted, left, Grain::Steps, Order::Oldest).run(world.clone());
    match fine {
        Reached::Unknown(fine) => Reached::Unknown(Deepest { reactions: true, ..fine }),
        Reached::Yes(_) | Reached::No(_) => fine,
    }
}

/// What a branch may interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grain {
    /// Nothing between an input of a process and the end of its reaction, and nothing that only a client or the driver
    /// hears is put off.
    Reactions,
    /// Everything.
    Steps,
}

/// Which of the enabled steps is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// The quiet one.
    Oldest,
    /// What was caused last.
    Newest,
    /// Now this, now that; the number makes the difference.
    Mixed(u64),
}

impl Order {
    /// So many steps, the first to be tried last.
    fn of(self, n: u32, world: u64) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n).rev().collect();
        match self {
            Order::Oldest => {}
            Order::Newest => order.reverse(),
            Order::Mixed(number) => {
                order.sort_by_key(|at| FixedState::with_seed(number).hash_one((at, world)));
            }
        }
        order
    }
}

struct Search<'a> {
    wanted: Vec<(Actor, &'a [String])>,
    budget: usize,
    grain: Grain,
    order: Order,
    seen: HashSet<u64, FixedState>,
    path: Vec<u32>,
    deepest: Deepest,
}

/// A world with steps that were not tried yet.
struct Branch<P> {
    world: World<P>,
    progress: Vec<usize>,
    /// How long the path to it is.
    base: usize,
    /// Which steps; the next to be tried is the last.
    steps: Vec<u32>,
    /// Whether which step it is was a choice at all, and is the first that is recorded.
    chose: bool,
    /// The same step again, with other choices inside.
    again: Option<Vec<u32>>,
}

impl<P> Branch<P> {
    fn next(&mut self) -> Option<Vec<u32>> {
        self.again
            .take()
            .or_else(|| self.steps.pop().map(|step| if self.chose { vec![step] } else { Vec::new() }))
    }
}

impl<'a> Search<'a> {
    fn new(wanted: &'a Observed, budget: usize, grain: Grain, order: Order) -> Self {
        let total = wanted.values().map(Vec::len).sum();
        Search {
            wanted: wanted.iter().map(|(&actor, texts)| (actor, texts.as_slice())).collect(),
            budget,
            grain,
            order,
            seen: HashSet::default(),
            path: Vec::new(),
            deepest: Deepest { wanted: total, ..Deepest::default() },
        }
    }

    fn run<P: Program>(mut self, world: World<P>) -> Reached {
        let progress = vec![0; self.wanted.len()];
        let mut branches: Vec<Branch<P>> = Vec::new();
        let mut found = self.follow(world, progress, &mut branches);
        while !found && self.seen.len() < self.budget {
            let Some(branch) = branches.last_mut() else {
                self.deepest.worlds = self.seen.len();
                return Reached::No(self.deepest);
            };
            let Some(choices) = branch.next() else {
                branches.pop();
                continue;
            };
            self.path.truncate(branch.base);
            let (mut world, mut progress) = (branch.world.clone(), branch.progress.clone());
            let went_on = self.step(&mut world, &mut progress, &choices);
            branch.again = following(world.schedule().taken(), usize::from(branch.chose));
            found = went_on && self.follow(world, progress, &mut branches);
        }
        self.deepest.worlds = self.seen.len();
        if found { Reached::Yes(self.path) } else { Reached::Unknown(self.deepest) }
    }

    /// Goes on while there is no choice, to the next branch. Whether this is the end that is wanted.
    fn follow<P: Program>(
        &mut self,
        mut world: World<P>,
        mut progress: Vec<usize>,
        branches: &mut Vec<Branch<P>>,
    ) -> bool {
        loop {
            let n = world.survey();
            if n == 0 {
                return self.is_complete(&progress);
            }
            let only = if n == 1 { Some(0) } else { self.settled(&world, n) };
            if let Some(only) = only.filter(|&only| world.is_certain(only)) {
                let choices = [u32::try_from(only).expect("few steps are enabled")];
                if !self.step(&mut world, &mut progress, &choices) {
                    return false;
                }
                continue;
            }
            let hash = FixedState::default().hash_one(Seen(&world, &progress));
            if self.seen.insert(hash) {
                let n = u32::try_from(n).expect("few steps are enabled");
                let steps = match only {
                    Some(only) => vec![u32::try_from(only).expect("few steps are enabled")],
                    None => self.order.of(n, hash),
                };
                let base = self.path.len();
                branches.push(Branch { world, progress, base, steps, chose: n > 1, again: None });
            }
            return false;
        }
    }

    /// A step that is taken at once, before all others.
    fn settled<P: Program>(&self, world: &World<P>, n: usize) -> Option<usize> {
        let is_settled = |&at: &usize| match world.enabled(at) {
            Step::Run(_) | Step::Hear | Step::Meet(_) => true,
            Step::Act(client) => !world.kernel.is_about_to_connect(client),
            Step::Start(_)
            | Step::Read(..)
            | Step::Writable(..)
            | Step::Accept(..)
            | Step::Receive(..)
            | Step::Die(..)
            | Step::Reap(_)
            | Step::LetGo(_)
            | Step::Fire => false,
        };
        (0..n).find(is_settled).filter(|_| self.grain == Grain::Reactions)
    }

    /// Takes one step. Whether everything it made observers see is wanted.
    fn step<P: Program>(&mut self, world: &mut World<P>, progress: &mut [usize], choices: &[u32]) -> bool {
        let before = world.journal.len();
        world.schedule_mut().force(choices);
        let went_well = world.step().is_ok();
        self.path.extend(world.schedule().taken().iter().map(|choice| choice.value));
        let fits = world.journal.since(before).all(|observation| self.fits(observation, progress));
        world.journal.forget();
        went_well && fits
    }

    fn fits(&mut self, observation: &Observation, progress: &mut [usize]) -> bool {
        let observer = observation.observer;
        let at = self.wanted.iter().position(|&(actor, _)| actor == observer);
        let wanted = at.and_then(|at| self.wanted[at].1.get(progress[at]));
        if let (Some(at), true) = (at, wanted.is_some_and(|wanted| *wanted == observation.text)) {
            progress[at] += 1;
            return true;
        }
        let misfit = Misfit { observer, found: Some(observation.text.to_string()), wanted: wanted.cloned() };
        self.reached(progress, misfit);
        false
    }

    /// Nothing more happens: is that all?
    fn is_complete(&mut self, progress: &[usize]) -> bool {
        let missing = self.wanted.iter().zip(progress).find_map(|(&(observer, texts), &made)| {
            let wanted = Some(texts.get(made)?.clone());
            Some(Misfit { observer, found: None, wanted })
        });
        let Some(misfit) = missing else { return true };
        self.reached(progress, misfit);
        false
    }

    fn reached(&mut self, progress: &[usize], misfit: Misfit) {
        let made = progress.iter().sum();
        if made > self.deepest.made || self.deepest.misfit.is_none() {
            self.deepest.made = made;
            self.deepest.misfit = Some(misfit);
            self.deepest.choices.clone_from(&self.path);
        }
    }
}

/// What makes two points of a search the same.
#[derive(Hash)]
struct Seen<'a, P: Hash>(&'a World<P>, &'a [usize]);

/// The choices after these, as in counting, while the first `fixed` stand: the last one that can be larger is.
fn following(taken: &[Choice], fixed: usize) -> Option<Vec<u32>> {
    let last = taken.iter().rposition(|choice| choice.value + 1 < choice.of).filter(|&last| last >= fixed)?;
    let mut next: Vec<u32> = taken[..=last].iter().map(|choice| choice.value).collect();
    next[last] += 1;
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

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
