//! Searching the runs of a world. Is there a schedule under which every observer sees exactly this? Do the checks hold
//! on every schedule there is?
//!
//! Both are questions to one depth-first search, which is in `search`; here they are asked and answered.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::check::Failure;
use crate::event::Actor;
use crate::observations::Observation;
use crate::program::Program;
use crate::schedule::Schedule;
use crate::world::World;

mod beam;
mod forecast;
mod guided;
mod search;
mod sleep;
mod stack;
mod visited;

use beam::{Beam, BeamHeuristic};
use guided::{Guided, Haste, Reads};
use search::{Goal, Granularity, Order, Outcome, Search};

/// What each observer saw, or shall see, in its own order.
pub type Observed = BTreeMap<Actor, Vec<String>>;

/// The answer to a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// Under these choices: [`Schedule::replay`] shows it.
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
    /// Every run was tried in which nothing but its death comes between an input of a process and the end of its reaction.
    pub reactions: bool,
}

/// An observation that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The observer.
    pub observer: Actor,
    /// What it saw; `None`: nothing more happens.
    pub found: Option<String>,
    /// What it should see; `None`: nothing more.
    pub wanted: Option<String>,
}

/// What was covered by [`every`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coverage {
    /// How many different worlds were seen in which there was a choice.
    pub worlds: usize,
    /// The number of distinct worlds without an enabled step.
    pub ends: usize,
    /// How many steps were taken between them.
    pub transitions: u64,
    /// Bytes of memory for the visited worlds.
    pub bytes: usize,
    /// The bound that ended it; `None`: that was all, every step of every process in every order, and every fault that is
    /// armed, wherever it can strike.
    pub cut: Option<Bound>,
}

impl Coverage {
    /// Whether that was all.
    pub fn is_complete(&self) -> bool {
        self.cut.is_none()
    }
}

/// Counts, and the word: complete, or what cut it.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Coverage { worlds, ends, transitions, bytes, cut } = self;
        let states = worlds + ends;
        let each = bytes / states.max(1);
        write!(f, "{states} states ({ends} ends), {transitions} transitions, {each} bytes a state: ")?;
        match cut {
            None => f.write_str("complete"),
            Some(Bound::States) => f.write_str("bounded by the number of states"),
            Some(Bound::Memory) => f.write_str("bounded by memory"),
            Some(Bound::Stopped) => f.write_str("bounded, since it was stopped"),
        }
    }
}

/// What cuts a search that outgrows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The number of worlds.
    States,
    /// [`Budget::in_bytes`].
    Memory,
    /// [`Budget::until`].
    Stopped,
}

/// The bounds of a search. The result names the bound that ended the search.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    states: usize,
    bytes: usize,
    stop: Option<&'static AtomicBool>,
    seen: Option<&'static AtomicUsize>,
}

/// A number of worlds, in 4 GiB.
impl From<usize> for Budget {
    fn from(states: usize) -> Self {
        Budget { states, bytes: 4 << 30, stop: None, seen: None }
    }
}

impl Budget {
    /// Limits the memory for visited worlds. A search needs some megabytes more, independent of its length.
    #[must_use]
    pub fn in_bytes(self, bytes: usize) -> Self {
        Budget { bytes, ..self }
    }

    /// The same, until this is set.
    #[must_use]
    pub fn until(self, stop: &'static AtomicBool) -> Self {
        Budget { stop: Some(stop), ..self }
    }

    /// The same, and it is written here how many worlds were seen. [`reaches`] makes several searches, and each begins at 0.
    #[must_use]
    pub fn counted_in(self, seen: &'static AtomicUsize) -> Self {
        Budget { seen: Some(seen), ..self }
    }

    /// Whether what [`until`](Budget::until) names is set.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    fn count(&self, states: usize) {
        if let Some(seen) = self.seen {
            seen.store(states, Ordering::Relaxed);
        }
    }

    /// The exhausted bound after this number of states and bytes.
    fn spent(&self, states: usize, bytes: usize) -> Option<Bound> {
        if self.is_stopped() {
            return Some(Bound::Stopped);
        }
        if states >= self.states {
            return Some(Bound::States);
        }
        (bytes >= self.bytes).then_some(Bound::Memory)
    }

    /// The remaining budget after this number of worlds.
    fn less(self, states: usize) -> Self {
        Budget { states: self.states.saturating_sub(states), ..self }
    }
}

/// Everything each observer saw in a run.
pub fn observed<'a>(observations: impl Iterator<Item = &'a Observation>) -> Observed {
    let mut observed = Observed::new();
    for Observation { observer, text } in observations {
        observed.entry(*observer).or_default().push(text.to_string());
    }
    observed
}

/// The guided searches in order, each with its share of the budget: one in this number of worlds.
const HASTES: [(Haste, usize); 7] = [
    (Haste { reads: Reads::OneByOne, primary: true, finished: true, prunes: true }, 16),
    (Haste { reads: Reads::Never, primary: true, finished: false, prunes: true }, 16),
    (Haste { reads: Reads::Never, primary: true, finished: false, prunes: false }, 8),
    (Haste { reads: Reads::OneByOne, primary: true, finished: true, prunes: false }, 8),
    (Haste { reads: Reads::Never, primary: true, finished: true, prunes: true }, 8),
    (Haste { reads: Reads::Observed, primary: true, finished: false, prunes: false }, 16),
    (Haste { reads: Reads::Never, primary: false, finished: false, prunes: false }, 8),
];

/// The beams that are tried before everything is, and how many paths each keeps.
const BEAMS: [(BeamHeuristic, usize); 4] = [
    (BeamHeuristic::Eager, 16),
    (BeamHeuristic::Lazy, 16),
    (BeamHeuristic::Any, 64),
    (BeamHeuristic::Lazy, 256),
];

/// Searches for a run in which every observer sees exactly what is wanted, and then nothing more can happen.
/// The world is taken as it is, with the faults that are armed in its schedule; `budget` bounds the worlds that are
/// seen, which bounds time and memory.
///
/// First only whole reactions are tried: a process that runs, runs until it has nothing to do, or dies. If no run of that kind
/// will do, every step of every process is; so a "no" is a no to all schedules. A few short searches in different
/// orders come before: where one order takes a wrong turn early and does not notice, another often does not.
pub fn reaches<P: Program>(world: &World<P>, wanted: &Observed, budget: impl Into<Budget>) -> Reached {
    let search = |budget, granularity, order| {
        reach(world, wanted, Search::new(Goal::seeing(wanted), budget, granularity, order))
    };
    let mut left = budget.into();
    let all = left.states;
    let short = Budget { states: all / 16, ..left };
    for (haste, part) in HASTES {
        let budget = Budget { states: all / part, ..left };
        let search = Search::new(Goal::seeing(wanted), budget, Granularity::Reactions, Order::Oldest);
        let (found, worlds) = Guided::new(search, haste).find(world);
        if let Some(choices) = found {
            return Reached::Yes(choices);
        }
        left = left.less(worlds);
    }
    for (heuristic, width) in BEAMS {
        let search = Search::new(Goal::seeing(wanted), short, Granularity::Reactions, Order::Oldest);
        let (found, worlds) = Beam::new(search, heuristic, width).find(world);
        if let Some(choices) = found {
            return Reached::Yes(choices);
        }
        left = left.less(worlds);
    }
    for order in [Order::Oldest, Order::Newest, Order::Mixed(1), Order::Mixed(2), Order::Mixed(3)] {
        match search(short, Granularity::Reactions, order) {
            Reached::Unknown(deepest) => left = left.less(deepest.worlds),
            Reached::No(_) => break,
            Reached::Yes(choices) => return Reached::Yes(choices),
        }
    }
    let coarse = search(left, Granularity::Reactions, Order::Oldest);
    let Reached::No(deepest) = coarse else { return coarse };
    match search(left.less(deepest.worlds), Granularity::Steps, Order::Oldest) {
        Reached::Unknown(fine) => Reached::Unknown(Deepest { reactions: true, ..fine }),
        Reached::Yes(choices) => Reached::Yes(choices),
        Reached::No(deepest) => Reached::No(deepest),
    }
}

fn reach<P: Program>(world: &World<P>, wanted: &Observed, mut search: Search<'_>) -> Reached {
    let outcome = search.walk(world);
    let deepest = Deepest {
        wanted: wanted.values().map(Vec::len).sum(),
        worlds: search.worlds(),
        ..std::mem::take(&mut search.deepest)
    };
    match outcome {
        Outcome::Found => Reached::Yes(search.path),
        Outcome::Exhausted => Reached::No(deepest),
        Outcome::Cut(_) => Reached::Unknown(deepest),
    }
}

/// Tries every run of a world, with the checks after every step and at every end. `budget` bounds the worlds that are
/// seen.
///
/// # Errors
///
/// The first check that fails, with the line that replays the run.
pub fn every<P: Program>(world: &World<P>, budget: impl Into<Budget>) -> Result<Coverage, Box<Failure>> {
    let mut search = Search::new(Goal::Failing, budget.into(), Granularity::Steps, Order::Oldest);
    let outcome = search.walk(world);
    if let Some(failure) = search.failure.take() {
        return Err(named(*failure, world, &search).into());
    }
    let (cut, worlds, ends) = (bound(outcome), search.worlds(), search.ends());
    Ok(Coverage { worlds, ends, transitions: search.transitions(), bytes: search.bytes(), cut })
}

/// How many runs [`schedules`] has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedules {
    /// Runs that came to their end. No two of them differ only in the order of steps that commute.
    pub complete: u64,
    /// Runs that were given up on the way, since all they could still do had been done by others.
    pub redundant: u64,
    /// What ended it; `None`: those were all.
    pub cut: Option<Bound>,
}

/// Takes one run of each kind, where two runs are of one kind if they differ only in the order of steps that commute.
/// No world is remembered but the ends, so this is for programs with few kinds of runs and long ones. `budget` bounds the runs that are
/// taken.
///
/// # Errors
///
/// The first check that fails, with the line that replays the run.
pub fn schedules<P: Program>(world: &World<P>, budget: impl Into<Budget>) -> Result<Schedules, Box<Failure>> {
    let mut search =
        Search::new(Goal::Failing, budget.into(), Granularity::Steps, Order::Newest).forgetting();
    let outcome = search.walk(world);
    if let Some(failure) = search.failure.take() {
        return Err(named(*failure, world, &search).into());
    }
    let (complete, redundant) = search.runs();
    Ok(Schedules { complete, redundant, cut: bound(outcome) })
}

fn bound(outcome: Outcome) -> Option<Bound> {
    match outcome {
        Outcome::Exhausted | Outcome::Found => None,
        Outcome::Cut(bound) => Some(bound),
    }
}

/// Of a failure that was found and did not come again on the same schedule.
pub const UNLIKE_ITSELF: &str = "The same choices a second time did not lead there: something that the program does is not \
    decided by its inputs (a clock, a random number, the order of a hash map, a static)";

/// A failure of a search, with a line: a search writes none.
fn named<P: Program>(mut found: Failure, world: &World<P>, search: &Search<'_>) -> Failure {
    let schedule = Schedule::replay(search.path.clone());
    let mut world = world.clone().on(schedule);
    if let Err(failure) = world.run() {
        return *failure;
    }
    found.what = format!("{}. {UNLIKE_ITSELF}", found.what);
    found.replay = world.replay_line();
    found
}
