//! A whole run as a value: processes, kernel, driver and schedule, moved one step at a time.
//!
//! A step is one enabled thing. It knows nothing of what is right: the checks do; nor of what is chosen: the schedule.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

use cluster_core::{
    Call, Event, ExitStatus, OsEvent, Primary, Settings, Signal, SocketId, Worker, WorkerEvent, WorkerId,
};

use crate::check::{Check, Checks, Failure, ledger};
use crate::fault::Fault;
use crate::host::{Host, Machine, Next};
use crate::journal::{Journal, Line, Observation};
use crate::kernel::channel::Side;
use crate::kernel::process::{Phase, Pid};
use crate::kernel::{Kernel, Step, Verdict};
use crate::program::{Actor, Driver, Process, Program};
use crate::replay::Recording;
use crate::schedule::{Point, Schedule};
use crate::trace::{self, Trace};

/// What a socket buffer holds in each direction, in bytes, unless told otherwise. Linux: 212,992.
const CHANNEL_BYTES: usize = 212_992;

/// A run that has not come to rest after so many steps never will.
const STEP_LIMIT: u64 = 100_000;

/// A primary, its workers, their clients, and everything between them.
#[derive(Debug, Clone)]
pub struct World<P> {
    scenario: Cow<'static, str>,
    program: P,
    settings: Settings,
    pub(crate) kernel: Kernel,
    pub(crate) hosts: Vec<Option<Host<P>>>,
    driver: P,
    pub(crate) journal: Journal,
    schedule: Schedule,
    checks: Checks,
    recording: Recording,
    trace: Option<Trace>,
    enabled: Vec<usize>,
    #[cfg(test)]
    pub(crate) sabotage: Option<crate::sabotage::Sabotage>,
}

/// The state, without how it came about: two worlds with one hash go on alike.
impl<P: Hash> Hash for World<P> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let World { kernel, hosts, driver, journal, schedule, .. } = self;
        (kernel, hosts, driver, journal, schedule.faults()).hash(state);
    }
}

impl<P: Program> World<P> {
    /// A world in which the primary is about to begin, on a quiet schedule, without faults.
    pub fn new(program: P, settings: Settings) -> Self {
        let mut world = World {
            scenario: "unnamed".into(),
            driver: program.clone(),
            program,
            settings,
            kernel: Kernel::new(CHANNEL_BYTES),
            hosts: vec![None],
            journal: Journal::default(),
            schedule: Schedule::quiet(),
            checks: Checks::default(),
            recording: Recording::default(),
            trace: None,
            enabled: Vec::new(),
            #[cfg(test)]
            sabotage: None,
        };
        world.drive(|program, driver| program.driver_start(driver));
        world
    }

    /// The same world on another schedule.
    #[must_use]
    pub fn on(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// The name of the scenario, for the replay line: no colon.
    #[must_use]
    pub fn named(mut self, scenario: impl Into<Cow<'static, str>>) -> Self {
        self.scenario = scenario.into();
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
    /// The first check that fails, with the line that replays the run. A broken assertion of a machine is one of them.
    pub fn run(&mut self) -> Result<(), Box<Failure>> {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.run_checked()));
        outcome.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
            Err(self.failure(Check::Assertion, text.to_owned()))
        })
    }

    fn run_checked(&mut self) -> Result<(), Box<Failure>> {
        while self.step()? {
            if self.steps() >= STEP_LIMIT {
                return Err(
                    self.failure(Check::Liveness, format!("still not at rest after {STEP_LIMIT} steps"))
                );
            }
        }
        let primary = self.hosts[0].as_ref().and_then(Host::primary);
        let found = self.checks.at_the_end(&self.kernel, primary);
        found.map_err(|(check, what)| self.failure(check, what))
    }

    /// Takes one step; `false` if nothing can happen any more.
    ///
    /// # Errors
    ///
    /// The check that fails after it.
    pub fn step(&mut self) -> Result<bool, Box<Failure>> {
        let n = self.survey();
        if n == 0 {
            return Ok(false);
        }
        let chosen = self.schedule.choose(Point::Step, n);
        let step = self.pick(chosen);
        self.recording.begin(step);
        let found = self.take(step).and_then(|()| self.look(step));
        self.recording.end();
        found.map_err(|(check, what)| self.failure(check, what))?;
        Ok(true)
    }

    /// How many steps were taken.
    pub fn steps(&self) -> u64 {
        self.recording.steps()
    }

    /// What was observed, in the order in which it was written down.
    pub fn observations(&self) -> impl Iterator<Item = &Observation> {
        self.journal.since(0)
    }

    /// The schedule, with every choice that was taken.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// A hash of everything that has happened, in order. The same on every machine and in every build.
    pub fn trace_hash(&self) -> u64 {
        self.recording.hash()
    }

    /// The trace, if it was asked for with [`World::traced`].
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// One line that replays this run.
    pub fn replay_line(&self) -> String {
        self.recording.line(&self.scenario, &self.schedule)
    }

    pub(crate) fn recording(&self) -> &Recording {
        &self.recording
    }

    pub(crate) fn schedule_mut(&mut self) -> &mut Schedule {
        &mut self.schedule
    }

    fn failure(&self, check: Check, what: String) -> Box<Failure> {
        Box::new(Failure { check, what, step: self.steps(), replay: self.replay_line() })
    }

    // ---- which step

    /// Counts the enabled steps and forgets those that never will be. Timers fire last.
    pub(crate) fn survey(&mut self) -> usize {
        let mut ready = std::mem::take(&mut self.kernel.ready);
        self.enabled.clear();
        let mut kept = 0;
        for at in 0..ready.len() {
            let step = ready[at];
            let verdict = self.verdict(step);
            if verdict == Verdict::Gone {
                continue;
            }
            if verdict == Verdict::Enabled {
                self.enabled.push(kept);
            }
            ready[kept] = step;
            kept += 1;
        }
        ready.truncate(kept);
        self.kernel.ready = ready;
        if self.kernel.clock.next().is_some_and(|pid| !self.is_busy(pid)) {
            self.enabled.push(kept);
        }
        self.enabled.len()
    }

    /// The `n`th enabled step of the last survey.
    pub(crate) fn enabled(&self, n: usize) -> Step {
        self.kernel.ready.get(self.enabled[n]).copied().unwrap_or(Step::Fire)
    }

    /// Whether the `n`th enabled step can only go one way.
    pub(crate) fn is_certain(&self, n: usize) -> bool {
        let is_one_read = match self.enabled(n) {
            Step::Read(pid, id) => self.kernel.waiting_writes(pid, id) <= 1,
            _ => true,
        };
        is_one_read && self.schedule.faults().is_none()
    }

    fn pick(&mut self, n: usize) -> Step {
        let step = self.enabled(n);
        if step != Step::Fire {
            self.kernel.ready.remove(self.enabled[n]);
        }
        step
    }

    fn verdict(&self, step: Step) -> Verdict {
        let hears = match step {
            Step::Read(pid, _) | Step::Writable(pid, _) | Step::Accept(pid, _) | Step::Receive(pid, _) => pid,
            Step::Reap(_) => Pid::PRIMARY,
            Step::Run(_)
            | Step::Start(_)
            | Step::Die(..)
            | Step::LetGo(_)
            | Step::Act(_)
            | Step::Meet(_)
            | Step::Hear
            | Step::Fire => return self.kernel.verdict(step),
        };
        if self.is_busy(hears) { Verdict::Waiting } else { self.kernel.verdict(step) }
    }

    /// One input, drain, next input: a process that is not drained hears nothing.
    fn is_busy(&self, pid: Pid) -> bool {
        self.hosts.get(pid.index()).and_then(Option::as_ref).is_some_and(|host| host.next.is_some())
    }

    // ---- what it does

    fn take(&mut self, step: Step) -> Result<(), (Check, String)> {
        let schedule = &mut self.schedule;
        match step {
            Step::Run(pid) => return self.go(pid),
            Step::Start(pid) => self.start(pid),
            Step::Read(pid, channel) => {
                let event = self.kernel.read(pid, channel, schedule);
                self.input(pid, event);
            }
            Step::Writable(pid, channel) => {
                let event = self.kernel.writable_again(pid, channel);
                self.input(pid, event);
            }
            Step::Accept(pid, listener) => {
                let event = self.kernel.accept(pid, listener, schedule);
                self.input(pid, event);
            }
            Step::Reap(pid) => {
                let event = self.kernel.reap(pid);
                self.input(Pid::PRIMARY, event);
            }
            Step::Fire => {
                let (pid, timer) = self.kernel.clock.fire();
                self.input(pid, Some(OsEvent::Timer { timer }));
            }
            Step::Receive(pid, connection) => self.receive(pid, connection),
            Step::Die(pid, signal) => self.die(pid, ExitStatus::Signal(signal)),
            Step::LetGo(pid) => self.kernel.let_channel_go(pid),
            Step::Act(client) => self.kernel.act(client, schedule),
            Step::Meet(client) => {
                let event = self.kernel.hear(client);
                self.note(Actor::Client(client), || format!("{event:?}"));
                self.drive(|program, driver| program.client_event(driver, client, event));
            }
            Step::Hear => self.hear(),
        }
        Ok(())
    }

    fn start(&mut self, pid: Pid) {
        self.kernel.process_mut(pid).phase = Phase::Running;
        if self.hosts.len() <= pid.index() {
            self.hosts.resize_with(pid.index() + 1, || None);
        }
        let program = self.program.clone();
        let machine = if pid == Pid::PRIMARY {
            Machine::Primary(Box::new(Primary::new(self.settings.clone())))
        } else {
            Machine::Worker(Box::new(Worker::new(WorkerId(pid.0), self.settings.limits.clone())))
        };
        self.hosts[pid.index()] = Some(Host::new(machine, program));
        self.note(pid.into(), || "begins".into());
        self.within(pid, |program, machine, process| match machine {
            Machine::Primary(primary) => program.primary_start(primary, process),
            Machine::Worker(worker) => program.worker_start(worker, process),
        });
    }

    /// The process does what it was about to do.
    fn go(&mut self, pid: Pid) -> Result<(), (Check, String)> {
        let Some(next) = self.hosts[pid.index()].as_mut().and_then(|host| host.next.take()) else {
            return Ok(());
        };
        #[cfg(test)]
        let Some(next) = crate::sabotage::apply(self, pid, next) else { return Ok(()) };
        match next {
            Next::Call(call) => self.call(pid, call),
            Next::Primary(event) => return self.primary_event(event),
            Next::Worker(event) => return self.worker_event(pid, event),
        }
        Ok(())
    }

    fn call(&mut self, pid: Pid, call: Call) {
        if self.schedule.strikes(Fault::Kill) {
            return self.die(pid, ExitStatus::Signal(Signal::SIGKILL));
        }
        if let Some(trace) = &mut self.trace {
            trace.push(self.recording.steps(), pid.into(), trace::call(&call));
        }
        self.recording.call(&call);
        if let Call::Exit { code } = call {
            return self.die(pid, ExitStatus::Code(code));
        }
        let answer = self.kernel.perform(pid, call, &mut self.schedule);
        if let Some(host) = &mut self.hosts[pid.index()] {
            if let Some(answer) = answer {
                if let Some(trace) = &mut self.trace {
                    trace.answer(trace::answer(&answer));
                }
                host.handle(answer);
            }
            self.go_on(pid);
        }
    }

    fn input(&mut self, pid: Pid, event: Option<OsEvent>) {
        let Some(event) = event else { return };
        if let Some(trace) = &mut self.trace {
            trace.push(self.recording.steps(), pid.into(), trace::os_event(&event));
        }
        if let Some(host) = &mut self.hosts[pid.index()] {
            host.handle(event);
            self.go_on(pid);
        }
    }

    fn primary_event(&mut self, event: Event) -> Result<(), (Check, String)> {
        self.note(Actor::Primary, || trace::event(&event));
        if let Some(primary) = self.hosts[0].as_ref().and_then(Host::primary) {
            self.checks.order.primary_event(&event, primary).map_err(|what| (Check::Order, what))?;
        }
        self.within(Pid::PRIMARY, |program, machine, process| {
            if let Machine::Primary(primary) = machine {
                program.primary_event(primary, process, event);
            }
        });
        Ok(())
    }

    fn worker_event(&mut self, pid: Pid, event: WorkerEvent) -> Result<(), (Check, String)> {
        self.note(pid.into(), || trace::worker_event(&event));
        if let WorkerEvent::Connection { connection, .. } = &event {
            let client = self.kernel.hold(pid, *connection);
            ledger::held(&self.kernel, pid, client).map_err(|what| (Check::Ledger, what))?;
        }
        self.checks.serving.worker_event(pid, &event);
        self.checks.order.worker_event(pid, &event).map_err(|what| (Check::Order, what))?;
        self.within(pid, |program, machine, process| {
            if let Machine::Worker(worker) = machine {
                program.worker_event(worker, process, event);
            }
        });
        Ok(())
    }

    fn receive(&mut self, pid: Pid, connection: SocketId) {
        let Some(arrived) = self.kernel.receive(pid, connection) else { return };
        self.note(pid.into(), || trace::received(connection, &arrived));
        self.within(pid, |program, machine, process| {
            let Machine::Worker(worker) = machine else { return };
            match arrived {
                Ok(bytes) => program.connection_data(worker, process, connection, &bytes),
                Err(ending) => program.connection_end(worker, process, connection, ending),
            }
        });
    }

    /// Runs a hook, then everything that follows from it.
    fn within(&mut self, pid: Pid, hook: impl FnOnce(&mut P, &mut Machine, &mut Process<'_>)) {
        let Some(host) = &mut self.hosts[pid.index()] else { return };
        let (kernel, journal) = (&mut self.kernel, &mut self.journal);
        let mut process = Process { pid, kernel, journal, exit: &mut host.exit, released: Vec::new() };
        hook(&mut host.program, &mut host.machine, &mut process);
        let released = process.released;
        host.release(&released);
        self.wake_driver();
        self.go_on(pid);
    }

    /// The process continues before others, unless the schedule says otherwise; or it has come to its end.
    pub(crate) fn go_on(&mut self, pid: Pid) {
        let Some(host) = &mut self.hosts[pid.index()] else { return };
        host.poll();
        if host.next.is_some() {
            self.kernel.ready.insert(0, Step::Run(pid));
        } else if let Some(status) = host.exit {
            self.die(pid, status);
        } else if self.has_nothing_left(pid) {
            self.die(pid, ExitStatus::Code(0));
        }
    }

    /// A worker without a channel and without connections: its loop is empty, and it ends. So it is in Node.
    fn has_nothing_left(&self, pid: Pid) -> bool {
        let channel = self.kernel.channel(pid, cluster_core::ChannelId::PRIMARY);
        pid != Pid::PRIMARY
            && channel.is_some_and(|(channel, _)| !channel.end(Side::Worker).open)
            && !self.kernel.process(pid).descriptors().iter().any(|descriptor| descriptor.held)
    }

    fn die(&mut self, pid: Pid, status: ExitStatus) {
        self.note(pid.into(), || format!("ends: {status:?}"));
        if let Some(host) = self.hosts.get_mut(pid.index()) {
            *host = None;
        }
        self.kernel.die(pid, status, &mut self.schedule);
    }

    // ---- the driver

    fn hear(&mut self) {
        match self.journal.hear() {
            Some(Line::Observation(Observation { observer, text })) => {
                self.drive(|program, driver| program.observed(driver, observer, &text));
            }
            Some(Line::Note(author, text)) => {
                self.drive(|program, driver| program.noted(driver, author, &text))
            }
            None => {}
        }
    }

    fn drive(&mut self, hook: impl FnOnce(&mut P, &mut Driver<'_>)) {
        hook(&mut self.driver, &mut Driver { kernel: &mut self.kernel, journal: &mut self.journal });
        self.wake_driver();
    }

    fn wake_driver(&mut self) {
        if self.journal.has_unheard() {
            self.kernel.wake(Step::Hear);
        }
    }

    // ---- looking

    /// The checks that hold after every step. What the ledger says is compared when the primary has done what it says.
    fn look(&mut self, step: Step) -> Result<(), (Check, String)> {
        self.recording.observations(&self.journal);
        let touched = matches!(step, Step::Run(Pid::PRIMARY));
        let Some(Some(host)) = self.hosts.first().filter(|_| touched) else { return Ok(()) };
        match host.primary() {
            Some(primary) if host.next.is_none() => {
                ledger::at_rest(&self.kernel, primary).map_err(|what| (Check::Ledger, what))
            }
            _ => Ok(()),
        }
    }

    fn note(&mut self, actor: Actor, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(self.recording.steps(), actor, text());
        }
    }
}
