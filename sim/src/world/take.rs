//! What a step does: the kernel delivers, a process reacts, a program is asked, the driver hears.
//! Which step it is was decided before.

use cluster_core::{
    Call, ChannelId, Event, ExitStatus, IncomingHandle, OsEvent, Primary, Serialization, Signal, TimerId,
    Worker, WorkerEvent,
};

use super::{Start, World};
use crate::check::{Check, Checks, ledger};
use crate::fault::Fault;
use crate::host::{Host, Machine, Next};
use crate::journal::{Line, Observation};
use crate::kernel::process::{Phase, Pid};
use crate::kernel::{Kernel, Step};
use crate::program::{Actor, ClientId, Driver, Process, Program, SocketEvent};
use crate::schedule::Point;
use crate::script::Who;
use crate::trace::{Act, Crossing};

impl<P: Program> World<P> {
    pub(super) fn take(&mut self, step: Step) -> Result<(), (Check, String)> {
        let schedule = &mut self.schedule;
        match step {
            Step::Run(pid) => return self.go(pid),
            Step::Start(pid) => self.start(pid),
            Step::Read(pid, channel) => {
                let event = self.kernel.read(pid, channel, schedule);
                let found = self.overhear(pid, event.as_ref());
                self.input(pid, event);
                return found;
            }
            Step::Writable(pid, channel) => {
                let event = self.kernel.writable_again(pid, channel);
                self.input(pid, event);
            }
            Step::Accept(pid, listener) if self.kernel.is_held(pid, listener) => {
                let event = self.kernel.accept_own(pid, listener, schedule);
                self.at_socket(pid, event);
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
                let (pid, timer) = self.fire();
                self.input(pid, Some(OsEvent::Timer { timer }));
            }
            Step::Receive(pid, socket) => {
                let event = self.kernel.receive(pid, socket);
                self.at_socket(pid, event);
            }
            Step::Die(pid, signal) => self.die(pid, ExitStatus::Signal(signal)),
            Step::LetGo(pid) => self.kernel.let_channel_go(pid),
            Step::Continue(pid) => self.kernel.enter(pid, Phase::Running),
            Step::Act(client) => self.act(client),
            Step::Meet(client) => {
                let event = self.kernel.hear(client);
                self.note(Actor::Client(client), || Crossing::Client(event.clone()));
                self.drive(|program, driver| program.client_event(driver, client, event));
            }
            Step::Hear => self.hear(),
        }
        Ok(())
    }

    fn act(&mut self, id: ClientId) {
        let action = self.kernel.client(id).actions.front().filter(|_| self.trace.is_some());
        let (act, struck) = (action.map(Act::from), self.schedule.struck().len());
        self.kernel.act(id, &mut self.schedule);
        let is_struck = self.schedule.struck().len() > struck;
        if let Some(act) = act {
            self.note(Actor::Client(id), || Crossing::Acts(if is_struck { Act::Reset } else { act }));
        }
    }

    fn start(&mut self, pid: Pid) {
        self.kernel.enter(pid, Phase::Running);
        if self.hosts.len() <= pid.index() {
            self.hosts.resize_with(pid.index() + 1, || None);
        }
        let Start { program, settings, .. } = &*self.start;
        let machine = if pid == Pid::PRIMARY {
            Machine::Primary(Box::new(Primary::new(settings.clone())))
        } else {
            Machine::Worker(Box::new(Worker::new(
                pid.worker(),
                settings.command.serialization,
                settings.limits.clone(),
            )))
        };
        self.hosts[pid.index()] = Some(Host::new(machine, program.clone()).into());
        self.note(pid.into(), || Crossing::Started);
        self.react(pid, None);
    }

    fn begin(&mut self, pid: Pid) {
        self.note(pid.into(), || Crossing::Begins);
        self.within(pid, |program, machine, process| match machine {
            Machine::Primary(primary) => program.primary_start(primary, process),
            Machine::Worker(worker) => program.worker_start(worker, process),
        });
    }

    /// The process does what it was about to do.
    fn go(&mut self, pid: Pid) -> Result<(), (Check, String)> {
        self.kernel.turn(pid);
        let Some(host) = &mut self.hosts[pid.index()] else { return Ok(()) };
        // To copy what it does next is less than to copy all of it.
        let next = if host.is_shared() { host.next.clone() } else { host.next.take() };
        let Some(next) = next else { return Ok(()) };
        #[cfg(test)]
        let Some(next) = crate::sabotage::apply(self, pid, next) else { return Ok(()) };
        match next {
            Next::Begin => self.begin(pid),
            Next::Call(call) => self.call(pid, call),
            Next::Primary(event) => return self.primary_event(event),
            Next::Worker(event) => return self.worker_event(pid, event),
            Next::Exit(status) => self.die(pid, status),
        }
        Ok(())
    }

    fn call(&mut self, pid: Pid, call: Call) {
        if self.schedule.strikes(Fault::Kill) {
            return self.die(pid, ExitStatus::Signal(Signal::SIGKILL));
        }
        self.note(pid.into(), || Crossing::Asked { call: call.clone(), answer: None });
        self.recording.call(&call);
        if let Call::Exit { code } = call {
            return self.die(pid, ExitStatus::Code(code));
        }
        let answer = self.kernel.perform(pid, call, &mut self.schedule);
        if let Some(answer) = &answer {
            self.recording.told(answer);
            if let Some(trace) = &mut self.trace {
                trace.answer(answer);
            }
        }
        if let (Pid::PRIMARY, Some(OsEvent::WriteFailed { channel, .. })) = (pid, &answer) {
            self.checks.fairness.not_reached(cluster_core::WorkerId(channel.0));
        }
        self.react(pid, answer);
        if self.kernel.process(pid).is_alive() && self.schedule.strikes(Fault::Stop) {
            self.kernel.stop(pid);
        }
    }

    /// What a process reads of offers and answers, where a channel carries lines that can be trusted.
    fn overhear(&mut self, pid: Pid, event: Option<&OsEvent>) -> Result<(), (Check, String)> {
        let Some(OsEvent::Read { channel, bytes, .. }) = event else { return Ok(()) };
        let worker = if pid == Pid::PRIMARY { Pid::from(*channel) } else { pid };
        let process = self.kernel.process(worker);
        let is_plain = process.command.serialization == Serialization::Json && !process.hostile;
        if pid == Pid::PRIMARY && self.checks.fairness.concerns(bytes) {
            self.checks.fairness.read(worker.worker(), bytes);
        }
        if !is_plain || !self.checks.acks.concerns(bytes) {
            return Ok(());
        }
        self.checks.acks.read(pid, worker, bytes).map_err(|what| (Check::Acks, what))
    }

    /// The next timer, or another of those that can be heard.
    fn fire(&mut self) -> (Pid, TimerId) {
        let waiting = self.kernel.clock.waiting().enumerate();
        let heard: Vec<usize> = waiting.filter(|&(_, pid)| self.can_hear(pid)).map(|(n, _)| n).collect();
        let jumps = heard.len() > 1 && self.schedule.strikes(Fault::TimeJump);
        let n = if jumps { 1 + self.schedule.choose(Point::Way, heard.len() - 1) } else { 0 };
        self.kernel.clock.fire(heard.get(n).copied().unwrap_or(0))
    }

    fn input(&mut self, pid: Pid, event: Option<OsEvent>) {
        let Some(event) = event else { return };
        let accepted = if let OsEvent::Accepted { socket, .. } = &event { Some(*socket) } else { None };
        let client = accepted.and_then(|socket| self.kernel.client_behind(pid, socket));
        self.note(pid.into(), || Crossing::Told { event: event.clone(), client });
        self.recording.told(&event);
        self.react(pid, Some(event));
    }

    fn primary_event(&mut self, event: Event) -> Result<(), (Check, String)> {
        self.note(Actor::Primary, || Crossing::Primary(event.clone()));
        if let Event::Message { handle: Some(passed), .. } = &event {
            self.kernel.own(Pid::PRIMARY, passed.socket);
        }
        if let Some(primary) = self.hosts[0].as_ref().and_then(|host| host.primary()) {
            self.checks.primary_event(&event, primary, &self.kernel)?;
        }
        self.within(Pid::PRIMARY, |program, machine, process| {
            if let Machine::Primary(primary) = machine {
                program.primary_event(primary, process, event);
            }
        });
        Ok(())
    }

    fn worker_event(&mut self, pid: Pid, event: WorkerEvent) -> Result<(), (Check, String)> {
        let connection =
            if let WorkerEvent::Connection { connection, .. } = &event { Some(*connection) } else { None };
        let client = connection.and_then(|connection| self.kernel.client_behind(pid, connection));
        self.note(pid.into(), || Crossing::Worker { event: event.clone(), client });
        if let Some(connection) = connection {
            let client = self.kernel.hold(pid, connection);
            ledger::held(&self.kernel, pid, client).map_err(|what| (Check::Ledger, what))?;
        }
        if let WorkerEvent::Listening { socket: Some(socket), .. }
        | WorkerEvent::Message { handle: Some(IncomingHandle { socket, .. }), .. } = &event
        {
            self.kernel.own(pid, *socket);
        }
        Checks::worker_event(&mut self.checks, pid, &event, &self.kernel)?;
        self.within(pid, |program, machine, process| {
            if let Machine::Worker(worker) = machine {
                program.worker_event(worker, process, event);
            }
        });
        Ok(())
    }

    /// Something happens at a socket that a program has.
    fn at_socket(&mut self, pid: Pid, event: Option<SocketEvent>) {
        let Some(event) = event else { return };
        if self.trace.is_some() {
            let crossing = self.crossing(pid, event.clone());
            self.note(pid.into(), || crossing);
        }
        self.within(pid, |program, machine, process| match machine {
            Machine::Primary(primary) => program.primary_socket(primary, process, event),
            Machine::Worker(worker) => program.worker_socket(worker, process, event),
        });
    }

    fn crossing(&self, pid: Pid, event: SocketEvent) -> Crossing {
        let (connection, what) = match event {
            SocketEvent::Data { connection, bytes } => (connection, Ok(bytes)),
            SocketEvent::Ended { connection, ending } => (connection, Err(ending)),
            SocketEvent::Accepted { .. } | SocketEvent::Datagram { .. } => return Crossing::Socket(event),
        };
        Crossing::Arrived { connection, client: self.kernel.client_behind(pid, connection), what }
    }

    /// Runs a hook, then everything that follows from it.
    fn within(&mut self, pid: Pid, hook: impl FnOnce(&mut P, &mut Machine, &mut Process<'_>)) {
        let Some(Some(host)) = self.hosts.get_mut(pid.index()) else { return };
        let host = &mut **host;
        let (kernel, journal) = (&mut self.kernel, &mut self.journal);
        let (exit, checks) = (&mut host.exit, &mut self.checks);
        let mut process = Process { pid, kernel, journal, checks, exit, released: Vec::new() };
        hook(&mut host.program, &mut host.machine, &mut process);
        let released = process.released;
        host.release(&released);
        self.wake_driver();
        self.react(pid, None);
    }

    /// The process continues before others, unless the schedule says otherwise, and be it to its end.
    pub(crate) fn react(&mut self, pid: Pid, event: Option<OsEvent>) {
        self.kernel.turn(pid);
        let Some(Some(host)) = self.hosts.get_mut(pid.index()) else { return };
        match &self.moves {
            Some(moves) if host.is_shared() => moves.react(host, event),
            Some(_) | None => host.react(event),
        }
        if host.next.is_none() && Self::has_nothing_left(&self.kernel, pid) {
            host.next = Some(Next::Exit(ExitStatus::Code(0)));
        }
        let is_exit = matches!(host.next, Some(Next::Exit(ExitStatus::Code(_))));
        if is_exit && pid != Pid::PRIMARY && self.kernel.has_open(pid, ChannelId::PRIMARY) {
            // A worker of ours hangs up before it exits, so that its primary hears everything.
            host.next = Some(Next::Call(Call::CloseChannel { channel: ChannelId::PRIMARY }));
        }
        if host.next.is_some() {
            self.kernel.ready.first(Step::Run(pid));
        }
    }

    /// A worker without a channel and with nothing of its own: its loop is empty, and it ends. So it is in Node.
    fn has_nothing_left(kernel: &Kernel, pid: Pid) -> bool {
        pid != Pid::PRIMARY && !kernel.has_open(pid, ChannelId::PRIMARY) && !kernel.goes_on(pid)
    }

    fn die(&mut self, pid: Pid, status: ExitStatus) {
        self.note(pid.into(), || Crossing::Ended(status));
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
                self.drive(|program, driver| program.noted(driver, author, &text));
            }
            None => {}
        }
    }

    pub(super) fn drive(&mut self, hook: impl FnOnce(&mut P, &mut Driver<'_>)) {
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
    pub(super) fn look(&mut self, step: Step) -> Result<(), (Check, String)> {
        self.recording.observations(&self.journal);
        if matches!(step, Step::Run(Pid::PRIMARY)) { self.at_rest() } else { Ok(()) }
    }

    pub(super) fn at_rest(&mut self) -> Result<(), (Check, String)> {
        let Some(Some(host)) = self.hosts.first() else { return Ok(()) };
        let Some(primary) = host.primary().filter(|_| host.next.is_none()) else { return Ok(()) };
        if self.checks.is_stale(primary) {
            self.checks.look_again(&self.kernel, primary)?;
        }
        Checks::at_rest(&self.kernel, primary)
    }

    fn note(&mut self, actor: Actor, what: impl FnOnce() -> Crossing) {
        if let Some(trace) = &mut self.trace {
            trace.push(self.recording.steps() + 1, actor, what());
        }
    }

    /// What a step did beside its crossings: the faults that struck, and what was written down.
    pub(super) fn annotate(&mut self, step: Step, before: Before) {
        let World { trace: Some(trace), schedule, journal, recording, .. } = self else { return };
        let (step, at) = (recording.steps() + 1, Actor::from(Who::from(step)));
        for fault in schedule.struck().iter().skip(before.struck) {
            trace.strike(before.rows, step, at, *fault);
        }
        for line in journal.since(before.written) {
            trace.push(step, line.observer, Crossing::Observed(line.text.clone()));
        }
    }

    /// Where trace, faults and log stand.
    pub(super) fn before(&self) -> Before {
        Before {
            rows: self.trace.as_ref().map_or(0, |trace| trace.rows().len()),
            struck: self.schedule.struck().len(),
            written: self.journal.len(),
        }
    }
}

impl Before {
    /// Whether something was written down, or a fault has struck.
    pub(super) fn is_left_behind(&self, written: usize, struck: usize) -> bool {
        written != self.written || struck != self.struck
    }
}

/// How much there was before a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    rows: usize,
    struck: usize,
    written: usize,
}
