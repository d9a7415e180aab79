//! Random runs that shrink: a proptest strategy, and a search with an explained counterexample.
//!
//! A seed determines a run: every choice, and once for each run how often a process continues and which
//! faults are armed. A failed run is shrunk: first the world, as far as the strategy of the worlds can, then
//! the run. The checks and the caller decide which runs fail.

use std::fmt;

use proptest::strategy::{NewTree, Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};

use crate::line::{Line, ParseError};
use crate::program::Program;
use crate::run::{EFFORT, Shrinker};
use crate::schedule::Schedule;
use crate::world::World;

pub use crate::run::Run;

/// A strategy for random runs of these worlds. The faults armed in a world are armed in its runs.
///
/// In the output of a property, `{run:?}` is the replay line and `{run}` is the table.
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
        let shrinker = Shrinker::new(Run::new(start, Schedule::seed(seed)), EFFORT, None);
        Ok(RunTree { worlds: Some(worlds), shrinker })
    }
}

/// A run, and how it shrinks.
pub struct RunTree<T, P> {
    /// The worlds, as long as a simpler world may exist.
    worlds: Option<T>,
    shrinker: Shrinker<P>,
}

impl<T, P: Program> fmt::Debug for RunTree<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunTree").field("current", self.shrinker.current()).finish_non_exhaustive()
    }
}

impl<P: Program, T: ValueTree<Value = World<P>>> RunTree<T, P> {
    /// Tries the same script in another world.
    fn try_world(&mut self, is_another: bool) -> bool {
        let Some(worlds) = self.worlds.as_ref().filter(|_| is_another) else {
            self.worlds = None;
            return self.shrinker.try_script();
        };
        let best = &self.shrinker.best;
        let start = worlds.current().with_faults(best.start.schedule().armed());
        let run = Run::new(start, Schedule::script(best.script.clone()));
        self.shrinker.try_run(run);
        true
    }
}

impl<P: Program, T: ValueTree<Value = World<P>>> ValueTree for RunTree<T, P> {
    type Value = Run<P>;

    fn current(&self) -> Run<P> {
        self.shrinker.current().clone()
    }

    /// The current run fails as well, and becomes the best.
    fn simplify(&mut self) -> bool {
        if self.worlds.is_none() {
            self.shrinker.accept_script();
        } else {
            self.shrinker.accept();
        }
        let is_another = self.worlds.as_mut().is_some_and(T::simplify);
        self.try_world(is_another)
    }

    /// The current run does not fail: returns to the best run, and tries its next proposal.
    fn complicate(&mut self) -> bool {
        if !self.shrinker.reject() {
            return false;
        }
        let is_another = self.worlds.as_mut().is_some_and(T::complicate);
        self.try_world(is_another)
    }
}

/// A violation, and the smallest run that was found with the violation.
#[derive(Clone)]
pub struct Counterexample<P: Program> {
    /// The violation.
    pub what: String,
    /// The run; `None`: the strategy produced no world.
    pub run: Option<Run<P>>,
}

impl<P: Program> Counterexample<P> {
    /// A page for a browser with a sequence diagram of the run, in one file. `None`: there is no run.
    #[cfg(feature = "diagram")]
    pub fn page(&self) -> Option<String> {
        let run = self.run.as_ref()?;
        let about = crate::diagram::About {
            name: run.world().scenario().to_owned(),
            line: run.line(),
            faulty: vec![self.what.clone()],
            step: run.outcome().err().map(|failure| failure.step),
            ..crate::diagram::About::default()
        };
        Some(crate::diagram::Diagram::of(about, &run.trace()).page())
    }
}

/// The violation, a call of [`replay`] for a test, the run as a table, and the replay line.
impl<P: Program> fmt::Display for Counterexample<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counterexample { what, run } = self;
        match run {
            Some(run) => {
                let line = run.line();
                writeln!(
                    f,
                    "{what}\nreplay: cluster_sim::prop::replay({line:?}, world, property).unwrap();\n"
                )?;
                fmt::Display::fmt(run, f)
            }
            None => f.write_str(what),
        }
    }
}

/// The same as `Display`, because a test prints this form of an unwrapped error.
impl<P: Program> fmt::Debug for Counterexample<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<P: Program> std::error::Error for Counterexample<P> {}

/// Searches for a run of these worlds in which a check fails or `property` returns an error, and shrinks the
/// run.
///
/// The property receives the final world: the running processes ([`World::running`]), the observations
/// ([`World::observations`]), and the programs of the running processes ([`World::program`]). A kill may also
/// have struck the primary, so the property must accept a dead primary.
///
/// Every call runs the same runs. `PROPTEST_CASES` sets a quarter of their number, because a run is cheap,
/// and `PROPTEST_RNG_SEED` sets the seed.
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
    let test = |run: Run<P>| judge(&run, &property).map_err(TestCaseError::fail);
    TestRunner::new(config()).run(&runs(worlds), test).map_err(|error| {
        Box::new(match error {
            TestError::Fail(what, run) => Counterexample { what: what.to_string(), run: Some(run) },
            TestError::Abort(what) => Counterexample { what: what.to_string(), run: None },
        })
    })
}

/// Repeats the run of a replay line in `world`, and judges the run as [`check`] does. A failure of `check`
/// prints this call, with `world` and `property` in the place of the arguments of the test.
///
/// The line determines the armed faults and the choices. After a change of the program, the run may differ
/// from the recorded run, and is judged nevertheless.
///
/// # Errors
///
/// The run fails, or the text is no replay line.
pub fn replay<P: Program>(
    line: &str,
    world: World<P>,
    property: impl Fn(&World<P>) -> Result<(), String>,
) -> Result<(), Box<Counterexample<P>>> {
    let failure = |what, run| Box::new(Counterexample { what, run });
    let line: Line = line.parse().map_err(|error: ParseError| failure(error.to_string(), None))?;
    let run = Run::new(world.with_faults(line.faults()), line.schedule());
    judge(&run, property).map_err(|what| failure(what, Some(run)))
}

/// The first failed check, or the violation of the property.
pub(crate) fn judge<P: Program>(
    run: &Run<P>,
    property: impl Fn(&World<P>) -> Result<(), String>,
) -> Result<(), String> {
    match run.outcome() {
        Err(failure) => Err(failure.summary()),
        Ok(()) => property(run.world()),
    }
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
