//! A whole run as a value: processes, kernel, driver and schedule, advanced one step at a time.
//!
//! `execute` has the effect of a step. The checks decide whether a world is right, and the schedule decides
//! which step is next.

use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cluster_core::{Settings, SupervisorSettings};

use crate::check::{Check, Checks, Failure};
use crate::cow::CowArc;
use crate::event::{Actor, ClientId};
use crate::fault::Faults;
use crate::kernel::Kernel;
use crate::line::Line;
use crate::livelock::{self, LivelockDetector};
use crate::observations::{Observation, ObservationLog};
use crate::program::Program;
use crate::running_process::{MachineSettings, NextAction, RunningProcesses};
use crate::schedule::Schedule;
use crate::step::{Pid, Step};
use crate::trace::Trace;
use crate::trace_hash::TraceHasher;

mod enabled;
mod execute;
mod footprint;
mod history;

use enabled::Enabled;
use history::History;

/// The default capacity of a socket buffer in each direction, in bytes. Linux has the same: 212,992.
const CHANNEL_BYTES: usize = 212_992;

/// A run with this many steps counts as endless.
const STEP_LIMIT: u64 = 100_000;

/// A primary, its workers, their clients, and everything between them.
#[derive(Debug, Clone)]
pub struct World<P> {
    pub(crate) state: State<P>,
    enabled: Enabled,
    livelock: LivelockDetector,
}

/// The state of a run and its history.
#[derive(Debug, Clone)]
pub(crate) struct State<P> {
    start: CowArc<Start<P>>,
    pub(crate) kernel: Kernel,
    pub(crate) running: RunningProcesses<P>,
    driver: CowArc<P>,
    pub(crate) log: ObservationLog,
    schedule: Schedule,
    checks: CowArc<Checks>,
    history: History,
    #[cfg(test)]
    pub(crate) planted_bug: Option<crate::planted_bugs::PlantedBug>,
    #[cfg(test)]
    pub(crate) planted_loss: Option<fn(String) -> String>,
    /// A planted change of every input of a machine.
    #[cfg(test)]
    pub(crate) planted_input: Option<fn(&mut cluster_core::OsEvent)>,
}

/// The part of a world that never changes.
#[derive(Debug, Clone)]
struct Start<P> {
    scenario: Arc<str>,
    program: P,
    machines: MachineSettings,
    /// See [`World::with_patient_timers`].
    patient_timers: bool,
}

/// The hash covers the state without its history: worlds with equal hashes have equal futures.
impl<P: Hash> Hash for World<P> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let State { kernel, running, driver, log, schedule, .. } = &self.state;
        (kernel, running, driver, log, schedule.faults()).hash(state);
    }
}

impl<P: Program> World<P> {
    /// A world before the start of the primary, with a quiet schedule and without faults.
    pub fn new(program: P, settings: Settings) -> Self {
        World::with_machines(program, MachineSettings::of_primary(settings))
    }

    /// A world with a supervised primary: the program receives [`Program::supervisor_start`] and
    /// [`Program::supervisor_event`]. Workers have the default serialization and the default limits.
    ///
    /// # Panics
    ///
    /// When the primary starts, if the settings contradict each other.
    pub fn supervised(program: P, supervision: SupervisorSettings) -> Self {
        World::with_machines(program, MachineSettings::of_supervisor(supervision))
    }

    pub(crate) fn with_machines(program: P, machines: MachineSettings) -> Self {
        let mut state = State {
            driver: program.clone().into(),
            start: Start { scenario: "unnamed".into(), program, machines, patient_timers: false }.into(),
            kernel: Kernel::new(CHANNEL_BYTES),
            running: RunningProcesses::new(),
            log: ObservationLog::default(),
            schedule: Schedule::quiet(),
            checks: CowArc::default(),
            history: History::new(),
            #[cfg(test)]
            planted_bug: None,
            #[cfg(test)]
            planted_loss: None,
            #[cfg(test)]
            planted_input: None,
        };
        state.drive(P::driver_start);
        World { state, enabled: Enabled::default(), livelock: LivelockDetector::default() }
    }

    /// The same world with another schedule and the same armed faults.
    #[must_use]
    pub fn on(mut self, schedule: Schedule) -> Self {
        self.state.schedule = schedule.with_faults(*self.state.schedule.faults());
        self
    }

    /// The same world with these faults armed.
    #[must_use]
    pub fn with_faults(mut self, faults: Faults) -> Self {
        self.state.schedule = self.state.schedule.with_faults(faults);
        self
    }

    /// Sets the scenario name of the replay line.
    ///
    /// # Panics
    ///
    /// If the name contains a colon or a line break, which the replay line could not hold.
    #[must_use]
    pub fn named(mut self, scenario: impl Into<Arc<str>>) -> Self {
        let name = scenario.into();
        assert!(
            !name.contains([':', '\n', '\r']),
            "a scenario name has neither colons nor line breaks: {name:?}"
        );
        self.state.start.scenario = name;
        self
    }

    /// Sets the capacity of a channel in each direction, in bytes.
    #[must_use]
    pub fn with_channel_bytes(mut self, bytes: usize) -> Self {
        self.state.kernel.channels.set_capacity(bytes);
        self
    }

    /// Lets time pass only when no other step is enabled. Otherwise a timer may fire at any moment, as on a
    /// machine under load, so a supervisor may find every start late.
    #[must_use]
    pub fn with_patient_timers(mut self) -> Self {
        self.state.start.patient_timers = true;
        self
    }

    /// Records a trace of every step.
    #[must_use]
    pub fn traced(mut self) -> Self {
        self.state.history.record();
        self
    }

    /// Runs until no step is enabled, with the checks after every step and in the final state.
    ///
    /// # Errors
    ///
    /// The first failed check, with the replay line. A failed assertion of a machine or of the program
    /// counts as a failed check.
    pub fn run(&mut self) -> Result<(), Box<Failure>> {
        self.guarded(run_to_the_end)
    }

    /// Takes one step. Returns `false` if no step is enabled. Does not check the final state, unlike
    /// [`World::run`].
    ///
    /// # Errors
    ///
    /// The check that fails after the step.
    pub fn step(&mut self) -> Result<bool, Box<Failure>> {
        self.guarded(World::advance)
    }

    /// Runs the checks of an idle primary, which otherwise run only after a step of the primary.
    pub(crate) fn inspect(&mut self) -> Result<(), Box<Failure>> {
        self.guarded(|world| world.state.at_rest())
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

    fn advance(&mut self) -> Result<bool, (Check, String)> {
        let n = self.enabled.consume(&mut self.state);
        if n == 0 {
            return Ok(false);
        }
        if self.steps() >= STEP_LIMIT {
            return Err((Check::Liveness, format!("steps are still enabled after {STEP_LIMIT} steps")));
        }
        let State { kernel, running, schedule, .. } = &mut self.state;
        let step_at = |n| self.enabled.step(kernel, n);
        let chosen = schedule.choose_step(n, step_at, |step| running.hash_of_next(step));
        let step = self.enabled.pick(kernel, chosen);
        let is_progress = self.state.take(step)?;
        if self.livelock.is_short_after(step, is_progress) {
            return Ok(true);
        }
        let (limit, livelock) = (livelock::LIMIT, &self.livelock);
        Err((
            Check::Liveness,
            format!(
                "endless: no program, client or observer notices any of the last {limit} \
             steps, in which these repeat: {livelock}"
            ),
        ))
    }

    /// The number of steps taken.
    pub fn steps(&self) -> u64 {
        self.trace_hasher().steps()
    }

    /// The observations, oldest first.
    pub fn observations(&self) -> impl Iterator<Item = &Observation> {
        self.state.log.since(0)
    }

    /// The processes that are running.
    pub fn running(&self) -> impl Iterator<Item = Actor> {
        let processes = self.state.kernel.processes.iter();
        processes.filter(|(_, process)| process.is_alive()).map(|(pid, _)| pid.into())
    }

    /// The process that has the connection of a client, or had it last: the worker with the program that has
    /// received the connection, otherwise the primary.
    pub fn holder(&self, client: ClientId) -> Actor {
        self.state.history.holder(client).into()
    }

    /// Whether SIGKILL has ended a process.
    pub fn is_killed(&self, actor: Actor) -> bool {
        self.state.history.killed().any(|pid| Actor::from(pid) == actor)
    }

    /// The present program of a running process. `None` for other processes and for clients.
    pub fn program(&self, actor: Actor) -> Option<&P> {
        let pid = match actor {
            Actor::Primary => Pid::PRIMARY,
            Actor::Worker(worker) if worker.0 > 0 => worker.into(),
            Actor::Worker(_) | Actor::Client(_) => return None,
        };
        Some(&self.state.running.get(pid)?.program)
    }

    /// The schedule, with every choice taken.
    pub fn schedule(&self) -> &Schedule {
        &self.state.schedule
    }

    /// A hash of the history of the run, the same on every machine and in every build.
    pub fn trace_hash(&self) -> u64 {
        self.trace_hasher().hash()
    }

    /// The trace, if [`World::traced`] was called.
    pub fn trace(&self) -> Option<&Trace> {
        self.state.history.trace()
    }

    #[cfg(all(feature = "diagram", feature = "proptest"))]
    pub(crate) fn scenario(&self) -> &str {
        &self.state.start.scenario
    }

    /// The replay line.
    pub fn replay_line(&self) -> String {
        Line::of(&self.state.start.scenario, &self.state.schedule, self.trace_hasher()).to_string()
    }

    /// The client under which the driver records the observations of a client.
    pub(crate) fn observer_of_client(&self, client: ClientId) -> ClientId {
        self.state.driver.observer_of_client(client)
    }

    /// The same world without trace, choices and hash, for a search that makes many copies.
    pub(crate) fn searched(mut self) -> Self {
        self.state.history.stop();
        self.state.schedule.force(&[]);
        self.state.running.cache_transitions();
        self
    }

    /// Copies another world of the same search, and reuses the memory of `self`.
    pub(crate) fn copy_from(&mut self, other: &World<P>) {
        self.state.copy_from(&other.state);
        self.enabled.copy_from(&other.enabled);
        self.livelock.copy_from(&other.livelock);
    }

    pub(crate) fn trace_hasher(&self) -> &TraceHasher {
        self.state.history.hasher()
    }

    /// The past that a property can read beside the observations: the holders of connections, and the kills.
    pub(crate) fn past(&self) -> impl Hash {
        self.state.history.past()
    }

    pub(crate) fn schedule_mut(&mut self) -> &mut Schedule {
        &mut self.state.schedule
    }

    pub(crate) fn checks(&self) -> &CowArc<Checks> {
        &self.state.checks
    }
}

fn run_to_the_end<P: Program>(world: &mut World<P>) -> Result<(), (Check, String)> {
    while world.advance()? {}
    let State { kernel, running, checks, .. } = &world.state;
    checks.at_the_end(kernel, running.primary().map(|(primary, _)| primary))?;
    match running.supervisor() {
        Some(supervisor) => checks.supervised_at_the_end(kernel, supervisor),
        None => Ok(()),
    }
}

impl<P: Program> State<P> {
    /// Copies another state of the same search.
    fn copy_from(&mut self, other: &State<P>) {
        let State {
            kernel,
            running,
            driver,
            log,
            schedule,
            checks,
            history,
            // Never changes in a search.
            start: _,
            #[cfg(test)]
                planted_bug: _,
            #[cfg(test)]
                planted_loss: _,
            #[cfg(test)]
                planted_input: _,
        } = other;
        self.kernel.copy_from(kernel);
        self.running.copy_from(running);
        self.driver.clone_from(driver);
        self.log.clone_from(log);
        self.schedule.copy_from(schedule);
        self.checks.clone_from(checks);
        self.history.copy_from(history);
    }

    /// Takes a step and runs the checks. Returns whether the step counts as progress.
    fn take(&mut self, step: Step) -> Result<bool, (Check, String)> {
        self.history.begin(step);
        let before = self.history.lengths(&self.log, &self.schedule);
        let is_progress = self.is_progress(step);
        let found = self.execute(step).and_then(|()| {
            self.history.observations(&self.log);
            if matches!(step, Step::Run(Pid::PRIMARY)) { self.at_rest() } else { Ok(()) }
        });
        self.history.strikes(before, &self.schedule);
        if self.history.trace().is_some() {
            self.history.annotate(step, before, &self.log, &self.schedule);
        }
        self.history.end();
        found?;
        Ok(is_progress || before.has_grown(self.log.len(), self.schedule.struck().len()))
    }

    /// Whether a step is progress: a program or a client takes part, or a process starts or ends.
    fn is_progress(&self, step: Step) -> bool {
        match step {
            Step::Run(pid) => !matches!(self.running.next(pid), Some(NextAction::Call(_))),
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
}

#[cfg(test)]
mod tests {
    use cluster_core::{BindAddress, WorkerId};

    use super::*;
    use crate::prop::Run;
    use crate::{Driver, Fault, Process, SocketEvent};

    /// A primary that owns a socket and sends a message after each event of the socket.
    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    struct Own;

    impl Program for Own {
        fn primary_start(&mut self, primary: &mut cluster_core::Primary, process: &mut Process<'_>) {
            let address = BindAddress::Tcp { host: None, port: 0, ipv6_only: false, reuse_port: false };
            let (_, at) = process.open(&address, Some(8)).expect("a free port");
            process.notify_driver(at.port().to_string());
            primary.fork().expect("the settings are valid");
        }

        fn primary_socket(
            &mut self,
            primary: &mut cluster_core::Primary,
            process: &mut Process<'_>,
            event: SocketEvent,
        ) {
            let _ = primary.send(WorkerId(1), "an event");
            if let SocketEvent::Ended { connection, .. } = event {
                process.close(connection);
            }
        }

        fn notified(&mut self, driver: &mut Driver<'_>, _: Actor, port: &str) {
            let client = driver.connect(port.parse().expect("a port number"));
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
    fn programs_of_running_processes_are_visible() {
        let mut world = World::new(Own, Settings::default());
        let worker = |number| Actor::Worker(WorkerId(number));
        assert!(world.program(Actor::Primary).is_none(), "the primary has not started");
        while world.program(worker(1)).is_none() {
            assert!(world.step().expect("every check holds"), "a worker is forked");
        }
        assert!(world.program(Actor::Primary).is_some());
        for actor in [worker(0), worker(2), worker(u64::MAX), Actor::Client(crate::ClientId(1))] {
            assert!(world.program(actor).is_none(), "{actor}");
        }
    }

    #[test]
    #[should_panic(expected = "a scenario name has neither colons")]
    fn name_with_a_colon_panics() {
        let _ = World::new(Own, Settings::default()).named("a:b");
    }

    /// In tests, each refresh also compares every stored status with the present status.
    #[test]
    fn events_wait_for_a_busy_primary() {
        for seed in 0..200 {
            let mut world = World::new(Own, Settings::default()).on(Schedule::seed(seed));
            world.run().expect("every check holds");
        }
    }
}
