//! Random runs that shrink: a proptest strategy, and a search that explains what it finds.
//!
//! A run is drawn by a seed: how often a process goes on, and which faults exist, is drawn once a run. One that fails is
//! written down as a script and shrunk as one: first its world, as that world's own strategy can; then faults, switches
//! between processes, and lengths. What is right is said by the checks and by the caller, not here.

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

/// How many steps all attempts at shrinking one run may take together. An attempt counts as at least its script is long.
const EFFORT: u64 = 3_000_000;

/// A run that has come to its end, or to the check that failed.
#[derive(Clone)]
pub struct Run<P> {
    start: World<P>,
    world: World<P>,
    outcome: Result<(), Box<Failure>>,
    script: Script,
    complexity: Complexity,
}

impl<P: Program> Run<P> {
    /// Runs this world on this schedule.
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

    /// What the checks say.
    ///
    /// # Errors
    ///
    /// The first check that failed.
    pub fn outcome(&self) -> Result<(), Box<Failure>> {
        self.outcome.clone()
    }

    /// How many faults struck.
    pub fn faults(&self) -> usize {
        self.complexity.faults
    }

    /// How often something happened before what a quiet machine would have done.
    pub fn switches(&self) -> u32 {
        self.complexity.switches
    }

    /// How often something came between an input of a process and the end of its reaction.
    pub fn preemptions(&self) -> u32 {
        self.complexity.preemptions
    }

    /// The line that replays it.
    pub fn line(&self) -> String {
        self.world.replay_line()
    }

    /// Every step. For this it runs once more.
    pub fn trace(&self) -> Trace {
        let choices = self.world.schedule().taken().iter().map(|choice| choice.value).collect();
        let schedule = Schedule::replay(choices);
        let mut again = self.start.clone().on(schedule).traced();
        // How it ends is known.
        let _ = again.run();
        again.trace().cloned().unwrap_or_default()
    }

    /// The smallest run that is found of those that fail, too. This one does.
    #[must_use]
    pub fn shrunk(self, fails: impl FnMut(&Run<P>) -> bool) -> Self {
        self.shrunk_within(EFFORT, fails)
    }

    /// The same; all attempts together take at most so many steps.
    #[must_use]
    pub fn shrunk_within(self, effort: u64, mut fails: impl FnMut(&Run<P>) -> bool) -> Self {
        self.shrink(effort, None, &mut fails)
    }

    /// As [`shrunk`](Run::shrunk), until this is set: the smallest run that was found by then.
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
        let mut goes_on = tree.simplify();
        while goes_on {
            goes_on = if fails(&tree.current()) { tree.simplify() } else { tree.complicate() };
        }
        tree.best
    }
}

/// The line that replays it.
impl<P: Program> fmt::Debug for Run<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line())
    }
}

/// Every step as a table, one column a process, with what programs have written down; then the line that replays it.
impl<P: Program> fmt::Display for Run<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:#}", self.trace())?;
        writeln!(f, "* a program hears, ! a fault strikes; a step that shows nothing has no row")?;
        writeln!(f, "faults: {}", self.faults())?;
        writeln!(f, "switches, where something came before its turn: {}", self.switches())?;
        writeln!(f, "interruptions of a process in the middle of a reaction: {}", self.preemptions())?;
        f.write_str(&self.line())
    }
}

/// Random runs of these worlds, each with the faults that are armed in it.
///
/// In a property of your own a run prints as the line that replays it; `{run}` is the table.
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

/// A run and what it can be shrunk to.
pub struct RunTree<T, P> {
    /// Until its worlds are as simple as they can be.
    worlds: Option<T>,
    best: Run<P>,
    tried: Option<Run<P>>,
    cursor: Cursor,
    effort: u64,
    /// Nothing more is tried once this is set.
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
    /// The same script in another world.
    fn try_world(&mut self, is_another: bool) -> bool {
        let Some(worlds) = self.worlds.as_ref().filter(|_| is_another) else {
            self.worlds = None;
            return self.try_script();
        };
        let start = worlds.current().with_faults(self.best.start.schedule().armed());
        self.tried = Some(Run::new(start, Schedule::script(self.best.script.clone())));
        true
    }

    /// The next script that makes a smaller run of this world.
    fn try_script(&mut self) -> bool {
        while self.effort > 0 && !self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            let Some(script) = self.cursor.next(&self.best.script) else { break };
            // To propose a script takes time in proportion to its length, however short its run is.
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

    /// The current run fails too: it is the best now.
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

    /// The current run does not fail: back to the best, and on from there.
    fn complicate(&mut self) -> bool {
        if self.tried.take().is_none() {
            return false;
        }
        let is_another = self.worlds.as_mut().is_some_and(T::complicate);
        self.try_world(is_another)
    }
}

/// What is wrong, and the smallest run that was found to show it.
#[derive(Clone)]
pub struct Counterexample<P: Program> {
    /// What is wrong.
    pub what: String,
    /// The run; `None`: there was none, since the strategy gave no worlds.
    pub run: Option<Run<P>>,
}

impl<P: Program> Counterexample<P> {
    /// A sequence diagram of the run, to be clicked through in a browser: one file that needs nothing else. `None`: there is
    /// no run.
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

/// What is wrong, the run as a table, and last the line that replays it.
impl<P: Program> fmt::Display for Counterexample<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counterexample { what, run } = self;
        match run {
            Some(run) => write!(f, "{what}\n\n{run}"),
            None => f.write_str(what),
        }
    }
}

/// As it is displayed: tests that unwrap it print it so.
impl<P: Program> fmt::Debug for Counterexample<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<P: Program> std::error::Error for Counterexample<P> {}

/// Looks for a run of these worlds in which a check fails, or to which `property` says no; and shrinks it.
///
/// The property sees the world when nothing can happen any more: who lives ([`World::living`]), what was written down
/// ([`World::observations`]), and what the programs of those who live have come to ([`World::program`]). A kill may have struck
/// the primary, too: let the property say what holds then.
///
/// The runs are the same every time. `PROPTEST_CASES` says how many (four times as many: a run is cheap), and
/// `PROPTEST_RNG_SEED` which.
///
/// # Errors
///
/// The smallest run that was found.
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
