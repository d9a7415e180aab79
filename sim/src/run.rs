//! A run up to its end, and the search for a smaller run that also fails.
//!
//! A failed run is recorded as a script. Shrinking reduces the faults, the switches between processes, and
//! the lengths.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::check::Failure;
use crate::fault::Faults;
use crate::program::Program;
use crate::schedule::Schedule;
use crate::schedule::script::Script;
use crate::shrink::{Complexity, Cursor};
use crate::trace::Trace;
use crate::world::World;

/// The largest number of steps for all attempts to shrink one run. An attempt counts for at least as many
/// steps as its script has bursts.
pub(crate) const EFFORT: u64 = 3_000_000;

/// A run up to the end, or to the failed check.
#[derive(Clone)]
pub struct Run<P> {
    pub(crate) start: World<P>,
    world: World<P>,
    outcome: Result<(), Box<Failure>>,
    pub(crate) script: Script,
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
        // The result is known from the first run.
        let _ = again.run();
        again.trace().cloned().unwrap_or_default()
    }

    /// The number of the first rows that are those of a quiet machine without faults, up to the first action
    /// of a client, fault or observation.
    fn start_up(&self, trace: &Trace) -> usize {
        let rows = trace.start_up();
        let mut quiet = self.start.clone().with_faults(Faults::none()).on(Schedule::quiet()).traced();
        let is_short = |quiet: &World<P>| quiet.trace().is_some_and(|trace| trace.rows().len() < rows);
        // A failed check ends the quiet run as well.
        while is_short(&quiet) && quiet.step().is_ok_and(|is_taken| is_taken) {}
        quiet.trace().map_or(0, |quiet| trace.common(quiet)).min(rows)
    }

    /// Shrinks this failed run. Returns the smallest failing run that was found.
    #[must_use]
    pub fn shrunk(self, fails: impl FnMut(&Run<P>) -> bool) -> Self {
        self.shrunk_within(EFFORT, fails)
    }

    /// Shrinks with at most `effort` steps for all attempts.
    #[must_use]
    pub fn shrunk_within(self, effort: u64, mut fails: impl FnMut(&Run<P>) -> bool) -> Self {
        self.shrink(effort, None, &mut fails)
    }

    /// Shrinks until `stop` is set. Returns the smallest failing run that was found by then.
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
        let mut shrinker = Shrinker::new(self, effort, stop);
        while shrinker.try_script() {
            if fails(shrinker.current()) {
                shrinker.accept_script();
            } else {
                shrinker.reject();
            }
        }
        shrinker.best
    }
}

/// The replay line.
impl<P: Program> fmt::Debug for Run<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line())
    }
}

/// Every step and observation as a table with a column for each process, then the replay line. The table
/// omits a start that is the same in a run without faults. If no check has failed, the table also omits calls
/// and inputs after the last observation. The alternate form (`{:#}`) has every row.
impl<P: Program> fmt::Display for Run<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut trace = self.trace();
        if !f.alternate() {
            let start = self.start_up(&trace);
            trace.skip(start);
            let end = if self.outcome.is_ok() { trace.skip_end() } else { 0 };
            if start + end > 0 {
                writeln!(
                    f,
                    "omitted: {start} rows of the start, which is the same without faults, and {end} rows \
                     after the last observation; `{{:#}}` prints all rows"
                )?;
            }
        }
        writeln!(f, "{trace:#}")?;
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

/// The shrinking of one failed run, in its world.
pub(crate) struct Shrinker<P> {
    pub(crate) best: Run<P>,
    tried: Option<Run<P>>,
    cursor: Cursor,
    /// How many steps may still be taken.
    effort: u64,
    /// Stops shrinking once it is set.
    stop: Option<&'static AtomicBool>,
}

impl<P: Program> Shrinker<P> {
    pub(crate) fn new(best: Run<P>, effort: u64, stop: Option<&'static AtomicBool>) -> Self {
        Shrinker { best, tried: None, cursor: Cursor::default(), effort, stop }
    }

    /// The last tried run; before the first try, the best run.
    pub(crate) fn current(&self) -> &Run<P> {
        self.tried.as_ref().unwrap_or(&self.best)
    }

    /// Tries another run, whether it is less complex or not.
    #[cfg(feature = "proptest")]
    pub(crate) fn try_run(&mut self, run: Run<P>) {
        self.tried = Some(run);
    }

    /// The run tried last also fails, and becomes the best. Returns `false` if no run was tried.
    pub(crate) fn accept(&mut self) -> bool {
        let tried = self.tried.take();
        let is_accepted = tried.is_some();
        if let Some(tried) = tried {
            self.best = tried;
        }
        is_accepted
    }

    /// [`accept`](Shrinker::accept), for the run of a proposed script.
    pub(crate) fn accept_script(&mut self) {
        if self.accept() {
            self.cursor.accepted();
        }
    }

    /// The run tried last does not fail. Returns whether a run was tried.
    pub(crate) fn reject(&mut self) -> bool {
        self.tried.take().is_some()
    }

    /// Tries proposed scripts until one has a less complex run.
    pub(crate) fn try_script(&mut self) -> bool {
        while self.effort > 0 && !self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            let Some(script) = self.cursor.next(&self.best.script) else { break };
            // Counted because a proposal costs time in proportion to the script, even if the run is short.
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
