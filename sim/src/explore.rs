//! Searches of the runs of a world: for a schedule with a given trace ([`reaches`]), and for a failed check
//! on any schedule ([`exhaustive`], [`one_per_equivalence_class`]).

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
mod progress;
mod search;
mod sleep;
mod stack;
mod visited;

use beam::{Beam, BeamHeuristic};
use guided::{Guided, Haste, Reads};
use search::{Goal, Granularity, Order, Outcome, Search};

/// The observations of each observer, in the observer's order.
pub type Observed = BTreeMap<Actor, Vec<String>>;

/// The names of the objects in wanted observations, by observer, with an entry for each observation.
/// Observations with equal names concern the same object, observations with different names concern different
/// objects.
pub type Names = BTreeMap<Actor, Vec<Option<u32>>>;

/// The answer to a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// A schedule with these choices produces the trace. [`Schedule::replay`] repeats the run.
    Yes(Vec<u32>),
    /// No schedule produces the trace.
    No(Deepest),
    /// The budget ended the search.
    Unknown(Deepest),
}

/// The deepest point of a search.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deepest {
    /// The number of wanted observations up to this point.
    pub made: usize,
    /// The number of wanted observations.
    pub wanted: usize,
    /// The first observation that does not fit.
    pub misfit: Option<Misfit>,
    /// The choices that lead to the point.
    pub choices: Vec<u32>,
    /// The number of visited worlds.
    pub worlds: usize,
    /// Whether the search has tried every run of whole reactions (which only a signal interrupts).
    pub reactions: bool,
}

impl Deepest {
    /// The deeper point of two searches, with the sum of their worlds.
    fn or(self, other: Deepest) -> Deepest {
        let worlds = self.worlds + other.worlds;
        let deeper = if other.made > self.made || self.misfit.is_none() { other } else { self };
        Deepest { worlds, ..deeper }
    }
}

/// A mismatch between a run and the wanted trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The observer.
    pub observer: Actor,
    /// The observation; `None` if nothing more happens.
    pub found: Option<String>,
    /// The wanted observation; `None` if the trace ends.
    pub wanted: Option<String>,
}

/// The coverage of [`exhaustive`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coverage {
    /// The number of distinct worlds with a choice.
    pub worlds: usize,
    /// The number of distinct worlds without an enabled step.
    pub ends: usize,
    /// The number of steps between worlds.
    pub transitions: u64,
    /// The memory for visited worlds, in bytes.
    pub bytes: usize,
    /// The bound that ended the search. `None`: the search covered all steps in every order, and every armed
    /// fault at every point.
    pub cut: Option<Bound>,
}

impl Coverage {
    /// Whether the search covered everything.
    pub fn is_complete(&self) -> bool {
        self.cut.is_none()
    }
}

/// The counts, and either "complete" or the bound.
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
            Some(Bound::Stopped) => f.write_str("bounded by a stop"),
        }
    }
}

/// A limit at which a search ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The number of worlds.
    States,
    /// [`Budget::in_bytes`].
    Memory,
    /// [`Budget::until`].
    Stopped,
}

/// The bounds of a search. The result names the bound at which the search ended.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    states: usize,
    bytes: usize,
    stop: Option<&'static AtomicBool>,
    counter: Option<&'static AtomicUsize>,
}

/// A number of worlds, and 4 GiB of memory.
impl From<usize> for Budget {
    fn from(states: usize) -> Self {
        Budget { states, bytes: 4 << 30, stop: None, counter: None }
    }
}

impl Budget {
    /// Limits the memory for visited worlds. A search of any length needs some megabytes more.
    #[must_use]
    pub fn in_bytes(self, bytes: usize) -> Self {
        Budget { bytes, ..self }
    }

    /// Lowers the limit of worlds.
    #[must_use]
    pub fn at_most(self, states: usize) -> Self {
        Budget { states: self.states.min(states), ..self }
    }

    /// Ends the search when this flag is set.
    #[must_use]
    pub fn until(self, stop: &'static AtomicBool) -> Self {
        Budget { stop: Some(stop), ..self }
    }

    /// Stores the number of visited worlds in this counter. [`reaches`] makes several searches, and each
    /// search sets the counter to 0.
    #[must_use]
    pub fn counted_in(self, counter: &'static AtomicUsize) -> Self {
        Budget { counter: Some(counter), ..self }
    }

    /// Whether the flag of [`until`](Budget::until) is set.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    fn count(&self, states: usize) {
        if let Some(counter) = self.counter {
            counter.store(states, Ordering::Relaxed);
        }
    }

    /// The bound that is exhausted after this number of states and bytes.
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

/// The observations of a run, by observer.
pub fn observed<'a>(observations: impl Iterator<Item = &'a Observation>) -> Observed {
    let mut observed = Observed::new();
    for Observation { observer, text, .. } in observations {
        observed.entry(*observer).or_default().push(text.to_string());
    }
    observed
}

/// The guided searches in order. Each has a part of the budget, by a divisor.
const HASTES: [(Haste, usize); 7] = [
    (Haste { reads: Reads::OneByOne, primary: true, finished: true, prunes: true }, 16),
    (Haste { reads: Reads::Never, primary: true, finished: false, prunes: true }, 16),
    (Haste { reads: Reads::Never, primary: true, finished: false, prunes: false }, 8),
    (Haste { reads: Reads::OneByOne, primary: true, finished: true, prunes: false }, 8),
    (Haste { reads: Reads::Never, primary: true, finished: true, prunes: true }, 8),
    (Haste { reads: Reads::Observed, primary: true, finished: false, prunes: false }, 16),
    (Haste { reads: Reads::Never, primary: false, finished: false, prunes: false }, 8),
];

/// The beam searches after the guided searches, each with its width.
const BEAMS: [(BeamHeuristic, usize); 4] = [
    (BeamHeuristic::Eager, 16),
    (BeamHeuristic::Lazy, 16),
    (BeamHeuristic::Any, 64),
    (BeamHeuristic::Lazy, 256),
];

/// Searches for a run in which every observer records exactly the wanted observations, and after which no
/// step is enabled. The search includes the faults armed in the schedule of the world. `budget` limits the
/// number of visited worlds, and so time and memory.
///
/// Short guided searches, beam searches, and depth-first searches in different orders are first: each kind
/// recovers from other wrong choices. Two complete searches follow: first with whole reactions, interrupted
/// only by signals, then with single steps. So [`Reached::No`] covers all schedules.
pub fn reaches<P: Program>(world: &World<P>, wanted: &Observed, budget: impl Into<Budget>) -> Reached {
    reaches_named(world, wanted, &Names::new(), budget)
}

/// [`reaches`], with names for the objects of observations: see
/// [`Process::observe_object`](crate::Process::observe_object). A wrong object ends a branch of the search
/// before any observer notices.
pub fn reaches_named<P: Program>(
    world: &World<P>,
    wanted: &Observed,
    names: &Names,
    budget: impl Into<Budget>,
) -> Reached {
    let new = |budget, granularity, order| {
        Search::new(Goal::observing(wanted), budget, granularity, order).naming(names)
    };
    let search = |budget, granularity, order| reach(world, new(budget, granularity, order));
    let mut left = budget.into();
    let mut nearest = Deepest::default();
    let all = left.states;
    let short = Budget { states: all / 16, ..left };
    for (haste, part) in HASTES {
        let budget = Budget { states: all / part, ..left };
        let search = new(budget, Granularity::Reactions, Order::Oldest);
        let (found, deepest) = Guided::new(search, haste).find(world);
        if let Some(choices) = found {
            return Reached::Yes(choices);
        }
        left = left.less(deepest.worlds);
        nearest = nearest.or(deepest);
    }
    for (heuristic, width) in BEAMS {
        let search = new(short, Granularity::Reactions, Order::Oldest);
        let (found, deepest) = Beam::new(search, heuristic, width).find(world);
        if let Some(choices) = found {
            return Reached::Yes(choices);
        }
        left = left.less(deepest.worlds);
        nearest = nearest.or(deepest);
    }
    for order in [Order::Oldest, Order::Newest, Order::Mixed(1), Order::Mixed(2), Order::Mixed(3)] {
        match search(short, Granularity::Reactions, order) {
            Reached::Unknown(deepest) => {
                left = left.less(deepest.worlds);
                nearest = nearest.or(deepest);
            }
            Reached::No(_) => break,
            Reached::Yes(choices) => return Reached::Yes(choices),
        }
    }
    let deepest = match search(left, Granularity::Reactions, Order::Oldest) {
        Reached::No(deepest) => deepest,
        Reached::Unknown(deepest) => return Reached::Unknown(nearest.or(deepest)),
        Reached::Yes(choices) => return Reached::Yes(choices),
    };
    match search(left.less(deepest.worlds), Granularity::Steps, Order::Oldest) {
        Reached::Unknown(fine) => Reached::Unknown(Deepest { reactions: true, ..nearest.or(fine) }),
        Reached::Yes(choices) => Reached::Yes(choices),
        Reached::No(deepest) => Reached::No(deepest),
    }
}

fn reach<P: Program>(world: &World<P>, mut search: Search<'_>) -> Reached {
    let outcome = search.walk(world);
    let deepest = search.take_deepest(search.worlds());
    match outcome {
        Outcome::Found => Reached::Yes(search.path),
        Outcome::Exhausted => Reached::No(deepest),
        Outcome::Cut(_) => Reached::Unknown(deepest),
    }
}

/// Tries every run of a world, with the checks after every step and at every end. `budget` bounds the number
/// of visited worlds.
///
/// # Errors
///
/// The first failed check, with the line that replays the run.
pub fn exhaustive<P: Program>(world: &World<P>, budget: impl Into<Budget>) -> Result<Coverage, Box<Failure>> {
    let mut search = Search::new(Goal::FailedCheck, budget.into(), Granularity::Steps, Order::Oldest);
    let outcome = search.walk(world);
    if let Some(failure) = search.failure.take() {
        return Err(with_replay_line(*failure, world, &search).into());
    }
    Ok(search.coverage(bound(outcome)))
}

/// As [`exhaustive`], with a judge of each final state.
///
/// # Errors
///
/// The choices of the run with a failed check, or of the run for which `fails` returns true.
#[cfg(feature = "simulation")]
pub(crate) fn exhaustive_with<P: Program>(
    world: &World<P>,
    budget: Budget,
    fails: &mut dyn FnMut(&[u32]) -> bool,
) -> Result<Coverage, Vec<u32>> {
    let search = Search::new(Goal::FailedCheck, budget, Granularity::Steps, Order::Oldest);
    let mut search = search.judged_by(fails);
    match search.walk(world) {
        Outcome::Found => Err(search.path),
        outcome @ (Outcome::Exhausted | Outcome::Cut(_)) => Ok(search.coverage(bound(outcome))),
    }
}

/// The numbers of runs of [`one_per_equivalence_class`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedules {
    /// The number of complete runs. No two of them differ only in the order of independent steps.
    pub complete: u64,
    /// The number of runs that ended early, because other runs cover all their continuations.
    pub redundant: u64,
    /// The bound that ended the search; `None` if every class was covered.
    pub cut: Option<Bound>,
}

/// Takes one run of each equivalence class: two runs are equivalent if they differ only in the order of
/// independent steps. Only final states are stored, so the search suits programs with few classes of long
/// runs. `budget` limits the number of runs.
///
/// # Errors
///
/// The first failed check, with the line that replays the run.
pub fn one_per_equivalence_class<P: Program>(
    world: &World<P>,
    budget: impl Into<Budget>,
) -> Result<Schedules, Box<Failure>> {
    let mut search =
        Search::new(Goal::FailedCheck, budget.into(), Granularity::Steps, Order::Newest).forgetting();
    let outcome = search.walk(world);
    if let Some(failure) = search.failure.take() {
        return Err(with_replay_line(*failure, world, &search).into());
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

/// The explanation if the choices of a failure do not lead to the failure again.
pub const UNLIKE_ITSELF: &str = "The same choices did not repeat the failure: an action of the program does not depend on \
    its inputs alone (a clock, a random number, the order of a hash map, a static)";

/// Adds the replay line to a failure of a search.
fn with_replay_line<P: Program>(mut found: Failure, world: &World<P>, search: &Search<'_>) -> Failure {
    let schedule = Schedule::replay(search.path.clone());
    let mut world = world.clone().on(schedule);
    if let Err(failure) = world.run() {
        return *failure;
    }
    found.what = format!("{}. {UNLIKE_ITSELF}", found.what);
    found.replay = world.replay_line();
    found
}
