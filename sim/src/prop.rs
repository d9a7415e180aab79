//! Random runs that shrink: a proptest strategy, and a search with an explained counterexample.
//!
//! A seed draws a run: how often a process continues, and which faults are armed, is drawn once a run. A failed run is
//! recorded as a script and shrunk: first its world, as far as the strategy of the worlds can; then faults, switches
//! between processes, and lengths. The checks and the caller decide what fails.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::strategy::{Just, NewTree, Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};

use crate::check::Failure;
use crate::diagram::{About, Diagram};
use crate::program::Program;
use crate::schedule::Schedule;
use crate::schedule::script::Script;
use crate::shrink::{Complexity, Cursor};
use crate::trace::Trace;
use crate::world::World;

/// The greatest number of steps of all attempts to shrink one run. An attempt counts at least as many steps as its
/// script has bursts.
const EFFORT: u64 = 3_000_000;

/// A run up to the end, or to the failed check.
#[derive(Clone)]
pub struct Run<P> {
    start: World<P>,
    world: World<P>,
    outcome: Result<(), Box<Failure>>,
    script: Script,
    complexity: Complexity,
}

impl<P: Program> Run<P> {
    /// Runs a world on a schedule.
    pub fn new(start: World<P>, schedule: Schedule) -> Self {
        let mut world = start.clone().on(schedule.described());
        let outcome = world.run();
        let recorder = world.schedule().recorder().cloned().unwrap_or_default();
        let script = recorder.clone().script();
        let complexity = Complexity::of(&recorder, &script, world.steps());
        Run { start, world, outcome, script, complexity }
    }

    /// The world at the end.
    pub fn world(&self) -> &World<P> {
        &self.world
    }

    /// The outcome of the checks.
    ///
    /// # Errors
    ///
    /// The first failed check.
    pub fn outcome(&self) -> Result<(), Box<Failure>> {
        self.outcome.clone()
    }

    /// The number of faults that struck.
    pub fn faults(&self) -> usize {
        self.complexity.faults
    }

    /// The number of steps that a quiet machine would have taken later.
    pub fn switches(&self) -> u32 {
        self.complexity.switches
    }

    /// The number of reactions that another process interrupted.
    pub fn preemptions(&self) -> u32 {
        self.complexity.preemptions
    }

    /// The replay line.
    pub fn line(&self) -> String {
        self.world.replay_line()
    }

    /// The trace of every step, from a replay.
    pub fn trace(&self) -> Trace {
        let choices = self.world.schedule().taken().iter().map(|choice| choice.value).collect();
        let schedule = Schedule::replay(choices);
        let mut again = self.start.clone().on(schedule).traced();
        // The outcome is known.
        let _ = again.run();
        again.trace().cloned().unwrap_or_default()
    }

    /// Shrinks this failed run: returns the smallest failing run found.
    #[must_use]
    pub fn shrunk(self, fails: impl FnMut(&Run<P>) -> bool) -> Self {
        self.shrunk_within(EFFORT, fails)
    }

    /// Shrinks with at most `effort` steps for all attempts.
    #[must_use]
    pub fn shrunk_within(self, effort: u64, mut fails: impl FnMut(&Run<P>) -> bool) -> Self {
        self.shrink(effort, None, &mut fails)
    }

    /// Shrinks until `stop` is set; returns the smallest run found by then.
    #[must_use]
    pub fn shrunk_until(self, stop: &'static AtomicBool, mut fails: impl FnMut(&Run<P>) -> bool) -> Self {
        self.shrink(EFFORT, Some(stop), &mut fails)
    }

    fn shrink(
        self,
        effort: u64,
        stop: Option<&'static AtomicBool>,
        fails: &mut dyn FnMut(&Run<P>) -> bool,
    ) -> Self {
        let worlds: Option<Just<World<P>>> = None;
        let mut tree = RunTree { worlds, best: self, tried: None, cursor: Cursor::default(), effort, stop };
        let mut continues = tree.simplify();
        while continues {
            continues = if fails(&tree.current()) { tree.simplify() } else { tree.complicate() };
        }
        tree.best
    }
}

/// The replay line.
impl<P: Program> fmt::Debug for Run<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line())
    }
}

/// Every step and observation as a table with a column for each process, then the replay line.
impl<P: Program> fmt::Display for Run<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:#}", self.trace())?;
        writeln!(
            f,
            "*: a program receives an event; !: a fault strikes; a step without a visible effect has no row"
        )?;
        writeln!(f, "faults: {}", self.faults())?;
        writeln!(f, "switches (steps ahead of their turn): {}", self.switches())?;
        writeln!(f, "preemptions (a process interrupted in a reaction): {}", self.preemptions())?;
        f.write_str(&self.line())
    }
}

/// Random runs of these worlds, each with the faults armed in its world.
///
/// In a property a run prints as the replay line; `{run}` is the table.
pub fn runs<S>(worlds: S) -> Runs<S> {
    Runs { worlds }
}

/// See [`runs`].
#[derive(Debug, Clone)]
pub struct Runs<S> {
    worlds: S,
}

impl<P: Program, S: Strategy<Value = World<P>>> Strategy for Runs<S> {
    type Tree = RunTree<S::Tree, P>;
    type Value = Run<P>;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let worlds = self.worlds.new_tree(runner)?;
        let seed = proptest::num::u64::ANY.new_tree(runner)?.current();
        let mut start = worlds.current();
        if seed % 2 == 1 {
            let faults = start.schedule().armed().thinned(seed);
            start = start.with_faults(faults);
        }
        let best = Run::new(start, Schedule::seed(seed));
        Ok(RunTree {
            worlds: Some(worlds),
            best,
            tried: None,
            cursor: Cursor::default(),
            effort: EFFORT,
            stop: None,
        })
    }
}

/// A run and its shrinking.
pub struct RunTree<T, P> {
    /// The worlds, while they can be simplified.
    worlds: Option<T>,
    best: Run<P>,
    tried: Option<Run<P>>,
    cursor: Cursor,
    effort: u64,
    /// Stops shrinking once it is set.
    stop: Option<&'static AtomicBool>,
}

impl<T, P: Program> fmt::Debug for RunTree<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunTree")
            .field("best", &self.best)
            .field("tried", &self.tried)
            .finish_non_exhaustive()
    }
}

impl<P: Program, T: ValueTree<Value = World<P>>> RunTree<T, P> {
    /// Tries the same script in another world.
    fn try_world(&mut self, is_another: bool) -> bool {
        let Some(worlds) = self.worlds.as_ref().filter(|_| is_another) else {
            self.worlds = None;
            return self.try_script();
        };
        let start = worlds.current().with_faults(self.best.start.schedule().armed());
        self.tried = Some(Run::new(start, Schedule::script(self.best.script.clone())));
        true
    }

    /// Tries the next script with a less complex run.
    fn try_script(&mut self) -> bool {
        while self.effort > 0 && !self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            let Some(script) = self.cursor.next(&self.best.script) else { break };
            // Proposing a script costs time in proportion to the script, even for a short run.
            let proposed = script.bursts.len() as u64;
            let run = Run::new(self.best.start.clone(), Schedule::script(script));
            self.effort = self.effort.saturating_sub(run.world.steps().max(proposed));
            if run.complexity < self.best.complexity {
                self.tried = Some(run);
                return true;
            }
        }
        false
    }
}

impl<P: Program, T: ValueTree<Value = World<P>>> ValueTree for RunTree<T, P> {
    type Value = Run<P>;

    fn current(&self) -> Run<P> {
        self.tried.as_ref().unwrap_or(&self.best).clone()
    }

    /// The current run fails, too: it becomes the best.
    fn simplify(&mut self) -> bool {
        if let Some(tried) = self.tried.take() {
            self.best = tried;
            if self.worlds.is_none() {
                self.cursor.accepted();
            }
        }
        let is_another = self.worlds.as_mut().is_some_and(T::simplify);
        self.try_world(is_another)
    }

    /// The current run does not fail: back to the best, and to its next proposal.
    fn complicate(&mut self) -> bool {
        if self.tried.take().is_none() {
            return false;
        }
        let is_another = self.worlds.as_mut().is_some_and(T::complicate);
        self.try_world(is_another)
    }
}

/// A violation, and the smallest run found with the violation.
#[derive(Clone)]
pub struct Counterexample<P: Program> {
    /// The violation.
    pub what: String,
    /// The run; `None`: the strategy produced no world.
    pub run: Option<Run<P>>,
}

impl<P: Program> Counterexample<P> {
    /// A page with a sequence diagram of the run: one file for a browser, without references. `None`: there is no run.
    pub fn page(&self) -> Option<String> {
        let run = self.run.as_ref()?;
        let about = About {
            name: run.world.scenario().to_owned(),
            line: run.line(),
            faulty: vec![self.what.clone()],
            step: run.outcome.as_ref().err().map(|failure| failure.step),
            ..About::default()
        };
        Some(Diagram::of(about, &run.trace()).page())
    }
}

/// The violation, the run as a table, and the replay line.
impl<P: Program> fmt::Display for Counterexample<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counterexample { what, run } = self;
        match run {
            Some(run) => write!(f, "{what}\n\n{run}"),
            None => f.write_str(what),
        }
    }
}

/// As displayed, because tests print this form of an unwrapped error.
impl<P: Program> fmt::Debug for Counterexample<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<P: Program> std::error::Error for Counterexample<P> {}

/// Searches for a run of these worlds in which a check fails or `property` returns an error, and shrinks the run.
///
/// The property receives the final world: the running processes ([`World::running`]), the observations
/// ([`World::observations`]), and the programs of the running processes ([`World::program`]). A kill may have struck
/// the primary, too: the property must allow for that.
///
/// The runs are the same every time. `PROPTEST_CASES` sets a quarter of their number, since a run is cheap, and
/// `PROPTEST_RNG_SEED` the seed.
///
/// # Errors
///
/// The smallest run found.
pub fn check<P, S>(
    worlds: S,
    property: impl Fn(&World<P>) -> Result<(), String>,
) -> Result<(), Box<Counterexample<P>>>
where
    P: Program,
    S: Strategy<Value = World<P>>,
{
    let test = |run: Run<P>| match &run.outcome {
        Err(failure) => Err(failure.summary()),
        Ok(()) => property(&run.world),
    };
    let test = |run| test(run).map_err(TestCaseError::fail);
    TestRunner::new(config()).run(&runs(worlds), test).map_err(|error| {
        Box::new(match error {
            TestError::Fail(what, run) => Counterexample { what: what.to_string(), run: Some(run) },
            TestError::Abort(what) => Counterexample { what: what.to_string(), run: None },
        })
    })
}

fn config() -> Config {
    let default = Config::default();
    let rng_seed = match default.rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        RngSeed::Fixed(seed) => RngSeed::Fixed(seed),
    };
    Config {
        cases: default.cases.saturating_mul(4),
        max_shrink_iters: u32::MAX - 1,
        failure_persistence: None,
        rng_seed,
        ..default
    }
}
