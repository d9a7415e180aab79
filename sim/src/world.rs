//! A whole run as a value: processes, kernel, driver and schedule, moved one step at a time.
//!
//! A step is one enabled thing; what it does is in `take`. A world knows nothing of what is right: the checks do; nor of
//! what is chosen: the schedule.

use std::hash::{BuildHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cluster_core::{Call, Settings};
use foldhash::fast::FixedState;

use crate::check::{Check, Checks, Failure};
use crate::cow::CowArc;
use crate::fault::Faults;
use crate::kernel::process_table::Pid;
use crate::kernel::ready::{IndexSet, Ready, StepStatus};
use crate::kernel::{Kernel, Readiness, Step};
use crate::livelock::{self, LivelockDetector};
use crate::observations::{Observation, ObservationLog};
use crate::program::{Actor, Program};
use crate::replay::TraceHasher;
use crate::running_process::{NextAction, RunningProcess, TransitionCache};
use crate::schedule::Schedule;
use crate::trace::Trace;

mod execute;
mod footprint;

/// What a socket buffer holds in each direction, in bytes, unless told otherwise. Linux: 212,992.
const CHANNEL_BYTES: usize = 212_992;

/// A run that has not come to rest after so many steps never will.
const STEP_LIMIT: u64 = 100_000;

/// A primary, its workers, their clients, and everything between them.
#[derive(Debug, Clone)]
pub struct World<P> {
    start: CowArc<Start<P>>,
    pub(crate) kernel: Kernel,
    pub(crate) running: Vec<Option<CowArc<RunningProcess<P>>>>,
    driver: CowArc<P>,
    pub(crate) log: ObservationLog,
    schedule: Schedule,
    checks: CowArc<Checks>,
    trace_hasher: TraceHasher,
    trace: Option<Trace>,
    enabled: Enabled,
    transitions: Option<TransitionCache<P>>,
    livelock: LivelockDetector,
    #[cfg(test)]
    pub(crate) planted_bug: Option<crate::planted_bugs::PlantedBug>,
}

/// What a run begins with, and what stays as it is.
#[derive(Debug, Clone)]
struct Start<P> {
    scenario: Arc<str>,
    program: P,
    settings: Settings,
}

/// The state, without how it came about: two worlds with one hash go on alike.
impl<P: Hash> Hash for World<P> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let World { kernel, running, driver, log, schedule, .. } = self;
        (kernel, running, driver, log, schedule.faults()).hash(state);
    }
}

impl<P: Program> World<P> {
    /// A world in which the primary is about to begin, on a quiet schedule, without faults.
    pub fn new(program: P, settings: Settings) -> Self {
        let mut world = World {
            driver: program.clone().into(),
            start: Start { scenario: "unnamed".into(), program, settings }.into(),
            kernel: Kernel::new(CHANNEL_BYTES),
            running: vec![None],
            log: ObservationLog::default(),
            schedule: Schedule::quiet(),
            checks: CowArc::default(),
            trace_hasher: TraceHasher::new(),
            trace: None,
            enabled: Enabled::default(),
            transitions: None,
            livelock: LivelockDetector::default(),
            #[cfg(test)]
            planted_bug: None,
        };
        world.drive(P::driver_start);
        world
    }

    /// The same world on another schedule. The faults that can strike stay the same.
    #[must_use]
    pub fn on(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule.with_faults(*self.schedule.faults());
        self
    }

    /// The same world, in which these faults can strike.
    #[must_use]
    pub fn with_faults(mut self, faults: Faults) -> Self {
        self.schedule = self.schedule.with_faults(faults);
        self
    }

    /// The name of the scenario, for the replay line.
    ///
    /// # Panics
    ///
    /// There is a colon or a line break in it: the line could not be read.
    #[must_use]
    pub fn named(mut self, scenario: impl Into<Arc<str>>) -> Self {
        let name = scenario.into();
        assert!(!name.contains([':', '\n', '\r']), "a name stands between colons, in one line: {name:?}");
        self.start.scenario = name;
        self
    }

    /// Channels hold so many bytes in each direction.
    #[must_use]
    pub fn with_channel_bytes(mut self, bytes: usize) -> Self {
        self.kernel.set_capacity(bytes);
        self
    }

    /// Keeps a readable trace of every step.
    #[must_use]
    pub fn traced(mut self) -> Self {
        self.trace = Some(Trace::default());
        self
    }

    /// Runs to the end: until nothing can happen any more, with the checks after every step and at the end.
    ///
    /// # Errors
    ///
    /// The first check that fails, with the line that replays the run. A broken assertion, of a machine or of the program, is
    /// one of them.
    pub fn run(&mut self) -> Result<(), Box<Failure>> {
        self.guarded(World::run_to_the_end)
    }

    /// Takes one step; `false` if nothing can happen any more. The checks at the end are not asked: [`World::run`] does.
    ///
    /// # Errors
    ///
    /// The check that fails after it.
    pub fn step(&mut self) -> Result<bool, Box<Failure>> {
        self.guarded(World::advance)
    }

    /// The checks that hold whenever the primary has nothing to do, and were only asked for when it had done something.
    pub(crate) fn inspect(&mut self) -> Result<(), Box<Failure>> {
        self.guarded(World::at_rest)
    }

    fn guarded<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, (Check, String)>,
    ) -> Result<T, Box<Failure>> {
        let found = catch_unwind(AssertUnwindSafe(|| act(self))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
            Err((Check::Assertion, text.to_owned()))
        });
        found.map_err(|(check, what)| {
            Box::new(Failure { check, what, step: self.steps(), replay: self.replay_line() })
        })
    }

    fn run_to_the_end(&mut self) -> Result<(), (Check, String)> {
        while self.advance()? {}
        let primary = self.running[0].as_ref().and_then(|running| running.primary());
        self.checks.at_the_end(&self.kernel, primary)
    }

    fn advance(&mut self) -> Result<bool, (Check, String)> {
        let n = if self.enabled.is_known { self.enabled.indexes.len() } else { self.refresh() };
        self.enabled.is_known = false;
        if n == 0 {
            return Ok(false);
        }
        if self.steps() >= STEP_LIMIT {
            return Err((Check::Liveness, format!("still not at rest after {STEP_LIMIT} steps")));
        }
        let World { kernel, enabled, running, schedule, .. } = self;
        let next = |step| hash_of_next(running, step);
        let chosen = schedule.choose_step(n, |at| step_at(&kernel.ready, enabled.indexes.nth(at)), next);
        let step = self.pick(chosen);
        self.trace_hasher.begin(step);
        let before = self.before();
        let is_noticed = self.is_noticed(step);
        let found = self.execute(step).and_then(|()| self.look(step));
        self.annotate(step, before);
        self.trace_hasher.end();
        found?;
        let is_progress = is_noticed || before.is_left_behind(self.log.len(), self.schedule.struck().len());
        if self.livelock.is_short_after(step, is_progress) {
            return Ok(true);
        }
        let (limit, livelock) = (livelock::LIMIT, &self.livelock);
        Err((
            Check::Liveness,
            format!(
                "never at rest: no program, client or observer notices anything of the last {limit} \
             steps, in which these repeat: {livelock}"
            ),
        ))
    }

    /// Whether a program or a client takes part in a step, or a process starts or ends.
    fn is_noticed(&self, step: Step) -> bool {
        match step {
            Step::Run(pid) => {
                let running = self.running.get(pid.index()).and_then(Option::as_ref);
                !matches!(running.and_then(|running| running.next.as_ref()), Some(NextAction::Call(_)))
            }
            Step::Read(..) | Step::Writable(..) | Step::Accept(..) | Step::Timer => false,
            Step::Start(_)
            | Step::Receive(..)
            | Step::Signal(..)
            | Step::Reap(_)
            | Step::CloseInherited(_)
            | Step::Continue(_)
            | Step::ClientAction(_)
            | Step::ClientEvent(_)
            | Step::DriverEvent => true,
        }
    }

    /// How many steps were taken.
    pub fn steps(&self) -> u64 {
        self.trace_hasher.steps()
    }

    /// What was observed, in the order in which it was written down.
    pub fn observations(&self) -> impl Iterator<Item = &Observation> {
        self.log.since(0)
    }

    /// The processes that live.
    pub fn running(&self) -> impl Iterator<Item = Actor> {
        let processes = (0..).map(Pid).zip(&self.kernel.processes);
        processes.filter(|(_, process)| process.is_alive()).map(|(pid, _)| pid.into())
    }

    /// The program of a process that lives, as it is now; `None` for any other, and for clients.
    pub fn program(&self, actor: Actor) -> Option<&P> {
        let pid = match actor {
            Actor::Primary => Pid::PRIMARY,
            Actor::Worker(worker) if worker.0 > 0 => worker.into(),
            Actor::Worker(_) | Actor::Client(_) => return None,
        };
        Some(&self.running.get(pid.index())?.as_ref()?.program)
    }

    /// The schedule, with every choice that was taken.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// A hash of everything that has happened, in order. The same on every machine and in every build.
    pub fn trace_hash(&self) -> u64 {
        self.trace_hasher.hash()
    }

    /// The trace, if it was asked for with [`World::traced`].
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    pub(crate) fn scenario(&self) -> &str {
        &self.start.scenario
    }

    /// One line that replays this run.
    pub fn replay_line(&self) -> String {
        self.trace_hasher.line(&self.start.scenario, &self.schedule)
    }

    /// The same world without what only a person asks for: many copies of it will be made.
    pub(crate) fn searched(mut self) -> Self {
        self.trace_hasher.stop();
        self.schedule.force(&[]);
        self.trace = None;
        self.transitions = Some(TransitionCache::default());
        self
    }

    /// Becomes a copy of another world of the same search, in the room it has.
    pub(crate) fn copy_from(&mut self, other: &World<P>) {
        let World {
            kernel,
            running,
            driver,
            log,
            schedule,
            checks,
            trace_hasher,
            enabled,
            livelock,
            // The same in all worlds of a search.
            start: _,
            trace: _,
            transitions: _,
            #[cfg(test)]
                planted_bug: _,
        } = other;
        self.kernel.copy_from(kernel);
        self.running.clone_from(running);
        self.driver.clone_from(driver);
        self.log.clone_from(log);
        self.schedule.copy_from(schedule);
        self.checks.clone_from(checks);
        self.trace_hasher.clone_from(trace_hasher);
        self.enabled.indexes.copy_from(&enabled.indexes);
        self.enabled.is_known = enabled.is_known;
        self.livelock.copy_from(livelock);
    }

    pub(crate) fn trace_hasher(&self) -> &TraceHasher {
        &self.trace_hasher
    }

    pub(crate) fn schedule_mut(&mut self) -> &mut Schedule {
        &mut self.schedule
    }

    pub(crate) fn checks(&self) -> &CowArc<Checks> {
        &self.checks
    }

    // ---- which step

    /// Counts the enabled steps and forgets those that never will be. Timers fire last.
    pub(crate) fn refresh(&mut self) -> usize {
        let mut ready = std::mem::take(&mut self.kernel.ready);
        let mut enabled = std::mem::take(&mut self.enabled.indexes);
        let touched = self.kernel.take_touched();
        ready.refresh(touched, self.can_hear(Pid::PRIMARY), |step| self.status(step), &mut enabled);
        if self.kernel.clock.next().is_some_and(|pid| self.can_hear(pid)) {
            enabled.add(ready.len());
        }
        self.kernel.ready = ready;
        self.enabled = Enabled { indexes: enabled, is_known: true };
        self.enabled.indexes.len()
    }

    /// How many steps were enabled at the last survey.
    pub(crate) fn enabled_len(&self) -> usize {
        self.enabled.indexes.len()
    }

    /// The `n`th enabled step of the last survey.
    pub(crate) fn enabled(&self, n: usize) -> Step {
        step_at(&self.kernel.ready, self.enabled.indexes.nth(n))
    }

    /// Whether the next thing a process does is to let its channel go: others notice when they write to it.
    pub(crate) fn is_about_to_close_channel(&self, pid: Pid) -> bool {
        let running = self.running.get(pid.index()).and_then(Option::as_ref);
        let next = running.and_then(|running| running.next.as_ref());
        matches!(
            next,
            Some(NextAction::Exit(_) | NextAction::Call(Call::Exit { .. } | Call::CloseChannel { .. }))
        )
    }

    /// Whether the `n`th enabled step can only go one way.
    pub(crate) fn is_certain(&self, n: usize) -> bool {
        let step = self.enabled(n);
        let is_many_reads = matches!(step, Step::Read(pid, id) if self.kernel.waiting_writes(pid, id) > 1);
        let is_many_ways = matches!(step, Step::ClientAction(client) if self.kernel.candidates(client) > 1);
        !is_many_reads && !is_many_ways && self.schedule.faults().is_none()
    }

    fn pick(&mut self, n: usize) -> Step {
        let at = self.enabled.indexes.nth(n);
        let step = step_at(&self.kernel.ready, at);
        if step != Step::Timer {
            self.kernel.ready.take(at);
        }
        step
    }

    /// What there is to see of a step. What the primary hears, many wait for: whether it is busy is not looked at here.
    fn status(&self, step: Step) -> StepStatus {
        let hearer = match step {
            Step::Read(pid, _) | Step::Writable(pid, _) | Step::Accept(pid, _) | Step::Receive(pid, _) => {
                Some(pid)
            }
            Step::Reap(_) => Some(Pid::PRIMARY),
            Step::Run(_)
            | Step::Start(_)
            | Step::Signal(..)
            | Step::CloseInherited(_)
            | Step::Continue(_)
            | Step::ClientAction(_)
            | Step::ClientEvent(_)
            | Step::DriverEvent
            | Step::Timer => None,
        };
        let by_primary = hearer == Some(Pid::PRIMARY);
        let is_stopped = matches!(step, Step::Run(pid) if self.kernel.is_stopped(pid));
        let waits = is_stopped || !by_primary && hearer.is_some_and(|pid| !self.can_hear(pid));
        let readiness = if waits { Readiness::Waiting } else { self.kernel.readiness(step) };
        StepStatus { readiness, by_primary, depends: self.kernel.dependencies(step) }
    }

    /// One input, drain, next input: a process that is not drained hears nothing, and neither does one that is stopped.
    fn can_hear(&self, pid: Pid) -> bool {
        let is_busy = self
            .running
            .get(pid.index())
            .and_then(Option::as_ref)
            .is_some_and(|running| running.next.is_some());
        !is_busy && !self.kernel.is_stopped(pid)
    }
}

/// Where the enabled steps stand among the ready ones.
#[derive(Debug, Clone, Default)]
struct Enabled {
    indexes: IndexSet,
    /// Nothing has happened since they were found.
    is_known: bool,
}

/// The ready steps, and behind them the timer.
fn step_at(ready: &Ready, at: usize) -> Step {
    ready.get(at).unwrap_or(Step::Timer)
}

/// What a process is about to do, if this is a step of one.
fn hash_of_next<P>(running: &[Option<CowArc<RunningProcess<P>>>], step: Step) -> u64 {
    let Step::Run(pid) = step else { return 0 };
    let running = running.get(pid.index()).and_then(Option::as_ref);
    FixedState::default().hash_one(running.and_then(|running| running.next.as_ref()))
}

#[cfg(test)]
mod tests {
    use cluster_core::{BindAddress, WorkerId};

    use super::*;
    use crate::prop::Run;
    use crate::{Driver, Fault, Process, SocketEvent};

    /// A primary with a socket of its own, which has something to do at whatever comes there.
    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    struct Own;

    impl Program for Own {
        fn primary_start(&mut self, primary: &mut cluster_core::Primary, process: &mut Process<'_>) {
            let address = BindAddress::Tcp { host: None, port: 0, ipv6_only: false, reuse_port: false };
            let (_, at) = process.open(&address, Some(8)).expect("it is free");
            process.notify_driver(at.port().to_string());
            primary.fork().expect("nothing impossible was set up");
        }

        fn primary_socket(
            &mut self,
            primary: &mut cluster_core::Primary,
            process: &mut Process<'_>,
            event: SocketEvent,
        ) {
            let _ = primary.send(WorkerId(1), "something came");
            if let SocketEvent::Ended { connection, .. } = event {
                process.close(connection);
            }
        }

        fn notified(&mut self, driver: &mut Driver<'_>, _: Actor, port: &str) {
            let client = driver.connect(port.parse().expect("it is a port"));
            driver.send(client, b"one");
            driver.send(client, b"two");
            driver.end(client);
        }
    }

    #[test]
    fn faults_stay_armed_on_another_schedule() {
        let kill = Faults::only(&[Fault::Kill]);
        let world = || World::new(Own, Settings::default());
        assert_eq!(world().with_faults(kill).on(Schedule::seed(1)).schedule().armed(), kill);
        assert_eq!(world().on(Schedule::seed(1)).with_faults(kill).schedule().armed(), kill);
        assert_eq!(Run::new(world().with_faults(kill), Schedule::seed(1)).world().schedule().armed(), kill);
    }

    #[test]
    fn the_programs_of_those_who_live_can_be_seen() {
        let mut world = World::new(Own, Settings::default());
        let worker = |number| Actor::Worker(WorkerId(number));
        assert!(world.program(Actor::Primary).is_none(), "it has not begun");
        while world.program(worker(1)).is_none() {
            assert!(world.step().expect("every check holds"), "a worker is forked");
        }
        assert!(world.program(Actor::Primary).is_some());
        for actor in [worker(0), worker(2), worker(u64::MAX), Actor::Client(crate::ClientId(1))] {
            assert!(world.program(actor).is_none(), "{actor}");
        }
    }

    #[test]
    #[should_panic(expected = "a name stands between colons")]
    fn a_name_that_breaks_its_line_is_refused() {
        let _ = World::new(Own, Settings::default()).named("a:b");
    }

    /// What is seen of a step is compared at each survey with what there is to see.
    #[test]
    fn what_comes_while_the_primary_is_busy_is_seen_when_it_is_not() {
        for seed in 0..200 {
            let mut world = World::new(Own, Settings::default()).on(Schedule::seed(seed));
            world.run().expect("every check holds");
        }
    }
}
