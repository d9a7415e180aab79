//! The effect of a step: the kernel delivers, a process reacts, or a program or the driver receives.

use cluster_core::{
    Call, ChannelId, Event, ExitStatus, IncomingHandle, OsEvent, Serialization, Signal, SupervisorEvent,
    WorkerEvent,
};

use super::enabled::{can_fire, can_receive, is_free, next_timer};
use super::{Start, State};
use crate::check::{Check, Checks, descriptors, ledger};
use crate::cow::CowArc;
use crate::event::{Actor, ClientAction, ClientId, SocketEvent};
use crate::fault::Fault;
use crate::kernel::Kernel;
use crate::kernel::clock::Fired;
use crate::kernel::process_table::Phase;
use crate::observations::{LogEntry, Observation};
use crate::program::{Driver, KernelAccess, Process, Program, Resumption};
use crate::running_process::{EitherMachine, HookKey, NextAction, RunningProcess};
use crate::schedule::Point;
use crate::step::Pid;
use crate::step::Step;
use crate::trace::Crossing;

impl<P: Program> State<P> {
    pub(super) fn execute(&mut self, step: Step) -> Result<(), (Check, String)> {
        let schedule = &mut self.schedule;
        match step {
            Step::Run(pid) => return self.run_process(pid),
            Step::Start(pid) => self.start(pid),
            Step::Read(pid, channel) => {
                let event = self.kernel.read(pid, channel, schedule);
                let found = self.check_read(pid, event.as_ref());
                self.input(pid, event);
                return found;
            }
            Step::Writable(pid, channel) => {
                let event = self.kernel.writable_again(pid, channel);
                self.input(pid, event);
            }
            Step::Accept(pid, listener) if self.kernel.processes.is_owned_by_program(pid, listener) => {
                let event = self.kernel.program_sockets(pid).accept(listener, schedule);
                self.at_socket(pid, event);
            }
            Step::Accept(pid, listener) => {
                let event = self.kernel.accept(pid, listener, schedule);
                self.input(pid, event);
            }
            Step::Reap(pid) => {
                let event = self.kernel.reap(pid, schedule);
                self.input(Pid::PRIMARY, event);
            }
            Step::Timer => match self.fire() {
                (pid, Fired::Machine(timer)) => self.input(pid, Some(OsEvent::Timer { timer })),
                (Pid::DRIVER, Fired::Program) => self.drive(P::driver_resumed),
                (pid, Fired::Program) => self.resume(pid, Resumption::Timer),
            },
            Step::Receive(pid, socket) => {
                let event = self.kernel.program_sockets(pid).receive(socket);
                self.at_socket(pid, event);
            }
            Step::Signal(pid, signal) if self.running.handles_signal(pid, signal) => {
                self.resume(pid, Resumption::Signal(signal));
            }
            Step::Signal(pid, signal) => self.die(pid, ExitStatus::Signal(signal)),
            Step::CloseInherited(pid) => self.kernel.close_inherited(pid),
            Step::Continue(pid) => self.kernel.processes.enter(pid, Phase::Running),
            Step::ClientAction(client) => self.act(client),
            Step::ClientEvent(client) => {
                let event = self.kernel.next_client_event(client);
                self.history.note(Actor::Client(client), || Crossing::ClientEvent(event.clone()));
                self.drive(|program, driver| program.client_event(driver, client, event));
            }
            Step::DriverEvent => self.deliver_to_driver(),
        }
        Ok(())
    }

    fn act(&mut self, id: ClientId) {
        let action =
            self.kernel.network.clients.get(id).actions.front().filter(|_| self.history.trace().is_some());
        let (act, struck) = (action.cloned(), self.schedule.struck().len());
        self.kernel.act(id, &mut self.schedule);
        let is_struck = self.schedule.struck().len() > struck;
        if let Some(act) = act {
            self.history.note(Actor::Client(id), || {
                Crossing::ClientAction(if is_struck { ClientAction::Reset } else { act })
            });
        }
    }

    fn start(&mut self, pid: Pid) {
        self.kernel.processes.enter(pid, Phase::Running);
        let Start { program, machines, .. } = &*self.start;
        self.running.start(pid, machines.machine(pid), program.clone());
        self.history.note(pid.into(), || Crossing::Started);
        self.react(pid, None);
    }

    /// Runs a program without an event.
    fn resume(&mut self, pid: Pid, why: Resumption) {
        let key = self.running.hook_key(pid, None);
        self.within(pid, key, |program, machine, process| program.resumed(machine.as_mut(), process, why));
    }

    /// Asks the programs for their deadlines. Returns whether timers may have changed: an earlier timer of a
    /// program may be void.
    pub(super) fn set_program_timers(&mut self) -> bool {
        if !self.start.program.has_deadlines() {
            return false;
        }
        self.kernel.clock.set_program_timers([]);
        let mut limit = next_timer(&self.kernel, &self.running).and_then(|n| self.kernel.clock.due(n));
        let mut timers = Vec::new();
        let pids = (0..self.kernel.processes.len()).filter_map(|pid| u32::try_from(pid).ok().map(Pid));
        for pid in [Pid::DRIVER].into_iter().chain(pids) {
            let deadline = if pid == Pid::DRIVER {
                self.driver.deadline(limit)
            } else if is_free(&self.kernel, &self.running, pid)
                && let Some(running) = self.running.get_mut(pid)
            {
                running.program.deadline(limit)
            } else {
                None
            };
            timers.extend(deadline.map(|due| (pid, due)));
            limit = limit.into_iter().chain(deadline).min();
        }
        self.kernel.clock.set_program_timers(timers);
        true
    }

    fn begin(&mut self, pid: Pid) {
        self.history.note(pid.into(), || Crossing::Begins);
        let key = self.running.hook_key(pid, None);
        self.within(pid, key, |program, machine, process| match machine {
            EitherMachine::Primary(primary) => program.primary_start(primary, process),
            EitherMachine::Supervisor(supervisor) => program.supervisor_start(supervisor, process),
            EitherMachine::Worker(worker) => program.worker_start(worker, process),
        });
    }

    /// Performs the next action of a process.
    fn run_process(&mut self, pid: Pid) -> Result<(), (Check, String)> {
        self.kernel.processes.mark_changed(pid);
        let Some(next) = self.running.take_next(pid) else { return Ok(()) };
        #[cfg(test)]
        let Some(next) = crate::planted_bugs::apply(self, pid, next) else { return Ok(()) };
        match next {
            NextAction::Begin => self.begin(pid),
            NextAction::Call(call) => return self.call(pid, call),
            NextAction::Primary(event) => return self.primary_event(event),
            NextAction::Supervisor(event) => return self.supervisor_event(event),
            NextAction::Worker(event) => return self.worker_event(pid, event),
            NextAction::Resume(why) => self.resume(pid, why),
            NextAction::Exit(status) => self.die(pid, status),
        }
        Ok(())
    }

    fn call(&mut self, pid: Pid, call: Call) -> Result<(), (Check, String)> {
        if self.schedule.strikes(Fault::Kill) {
            self.die(pid, ExitStatus::Signal(Signal::SIGKILL));
            return Ok(());
        }
        if pid == Pid::PRIMARY
            && let Some(supervisor) = self.running.supervisor()
        {
            self.checks.supervised_call(&call, supervisor, &self.kernel)?;
        } else if pid == Pid::PRIMARY
            && let Some((primary, _)) = self.running.primary()
        {
            Checks::primary_call(&mut self.checks, &call, primary, &self.kernel);
        }
        if let Call::Write { channel, socket: Some(_), .. } = &call {
            descriptors::write(&self.kernel, pid, *channel).map_err(|what| (Check::Descriptors, what))?;
        }
        self.history.call(pid, &call);
        if let Call::Exit { code } = call
            && self.running.get(pid).is_some_and(|running| running.program.handles_exit())
        {
            self.resume(pid, Resumption::ExitRequested(code));
            return Ok(());
        }
        if let Call::Exit { code } = call {
            self.die(pid, ExitStatus::Code(code));
            return Ok(());
        }
        let answer = self.kernel.perform(pid, call, &mut self.schedule);
        if let Some(answer) = &answer {
            self.history.answer(answer);
        }
        if let (Pid::PRIMARY, Some(OsEvent::WriteFailed { channel, .. })) = (pid, &answer) {
            self.checks.write_failed(cluster_core::WorkerId(channel.0));
        }
        self.react(pid, answer);
        if self.kernel.processes.get(pid).is_alive() {
            self.may_stop(pid);
        }
        Ok(())
    }

    /// Stops the process, if the fault strikes. A primary does not stop forever, because nothing would end
    /// it.
    fn may_stop(&mut self, pid: Pid) {
        if pid != Pid::PRIMARY && self.schedule.strikes(Fault::StopForever) {
            self.kernel.processes.enter(pid, Phase::StoppedForever);
            // A timer of a process that never continues would hold the clock.
            self.kernel.clock.forget(pid);
        } else if self.schedule.strikes(Fault::Stop) {
            self.kernel.processes.stop(pid, &mut self.kernel.ready);
        }
    }

    /// Passes the bytes that a process reads to the check of acknowledgements, if the channel is trusted and
    /// carries lines.
    fn check_read(&mut self, pid: Pid, event: Option<&OsEvent>) -> Result<(), (Check, String)> {
        let Some(OsEvent::Read { channel, bytes, .. }) = event else { return Ok(()) };
        let worker = if pid == Pid::PRIMARY { Pid::from(*channel) } else { pid };
        let process = self.kernel.processes.get(worker);
        let is_plain =
            process.options.serialization.unwrap_or_default() == Serialization::Json && !process.hostile;
        if pid == Pid::PRIMARY {
            let policy = self.running.primary().map(|(primary, _)| primary.settings().policy);
            Checks::primary_reads(&mut self.checks, worker.worker(), bytes);
            Checks::reports_read(&mut self.checks, worker.worker(), bytes, policy);
        }
        if !is_plain || !self.checks.acks.concerns(bytes) {
            return Ok(());
        }
        self.checks.acks.read(pid, worker, bytes).map_err(|what| (Check::Acks, what))
    }

    /// Fires the next timer; after a jump of the clock, another timer of a process that can receive.
    fn fire(&mut self) -> (Pid, Fired) {
        let waiting = self.kernel.clock.waiting().enumerate();
        let firing: Vec<usize> = waiting
            .filter(|&(_, timer)| can_fire(&self.kernel, &self.running, timer))
            .map(|(n, _)| n)
            .collect();
        // The time limit of a task begins at an event, and the reaction sets the timer: if time passes
        // meanwhile, the timer is late.
        if self.checks.tasks.time_limit.is_some() && !can_receive(&self.kernel, &self.running, Pid::PRIMARY) {
            self.kernel.clock.passes_during_reaction();
        }
        let jumps = firing.len() > 1 && self.schedule.strikes(Fault::TimeJump);
        let n = if jumps { 1 + self.schedule.choose(Point::Target, firing.len() - 1) } else { 0 };
        self.kernel.clock.fire(firing.get(n).copied().unwrap_or(0))
    }

    fn input(&mut self, pid: Pid, event: Option<OsEvent>) {
        #[cfg(test)]
        let event = crate::planted_bugs::apply_to_input(self, event);
        let Some(event) = event else { return };
        self.may_reexec(pid);
        let accepted = if let OsEvent::Accepted { socket, .. } = &event { Some(*socket) } else { None };
        let client = accepted.and_then(|socket| self.kernel.client_behind(pid, socket));
        self.history.input(pid, &event, client);
        if pid == Pid::PRIMARY && self.start.machines.is_supervised() {
            let is_timer = matches!(event, OsEvent::Timer { .. });
            Checks::supervised_input(&mut self.checks, self.kernel.clock.now_ms(), is_timer);
        }
        self.react(pid, Some(event));
    }

    /// Lets an idle primary replace its program, if the fault strikes. No other process can observe when this
    /// happens, so the fault has an opportunity only before an event of the primary.
    fn may_reexec(&mut self, pid: Pid) {
        if pid == Pid::PRIMARY
            && self.schedule.strikes(Fault::Reexec)
            && let Some(running) = self.running.get_mut(pid)
        {
            let state = running.saved();
            #[cfg(test)]
            let state = self.planted_loss.map_or(state.clone(), |loss| loss(state));
            running.reexec(&state);
        }
    }

    fn primary_event(&mut self, event: Event) -> Result<(), (Check, String)> {
        self.history.note(Actor::Primary, || Crossing::PrimaryEvent(event.clone()));
        if let Event::Message { handle: Some(passed), .. } = &event {
            self.kernel.processes.give_to_program(Pid::PRIMARY, passed.socket, &mut self.kernel.ready);
        }
        if let Some((primary, _)) = self.running.primary() {
            self.checks.primary_event(&event, primary, &self.kernel)?;
        }
        let key = self.running.hook_key(Pid::PRIMARY, None);
        self.within(Pid::PRIMARY, key, |program, machine, process| match machine {
            EitherMachine::Primary(primary) => program.primary_event(primary, process, event),
            EitherMachine::Supervisor(supervisor) => {
                program.supervisor_event(supervisor, process, SupervisorEvent::Primary(event));
            }
            EitherMachine::Worker(_) => {}
        });
        Ok(())
    }

    fn supervisor_event(&mut self, event: SupervisorEvent) -> Result<(), (Check, String)> {
        self.history.note(Actor::Primary, || Crossing::SupervisorEvent(event.clone()));
        if let Some(supervisor) = self.running.supervisor() {
            self.checks.supervisor_event(&event, supervisor, &self.kernel)?;
        }
        let key = self.running.hook_key(Pid::PRIMARY, None);
        self.within(Pid::PRIMARY, key, |program, machine, process| {
            if let EitherMachine::Supervisor(supervisor) = machine {
                program.supervisor_event(supervisor, process, event);
            }
        });
        Ok(())
    }

    fn worker_event(&mut self, pid: Pid, event: WorkerEvent) -> Result<(), (Check, String)> {
        let connection =
            if let WorkerEvent::Connection { connection, .. } = &event { Some(*connection) } else { None };
        let client = connection.and_then(|connection| self.kernel.client_behind(pid, connection));
        self.history.note(pid.into(), || Crossing::WorkerEvent { event: event.clone(), client });
        if let Some(connection) = connection {
            let client = self.kernel.program_sockets(pid).give_connection(connection);
            self.history.received(pid, client);
            ledger::received(&self.kernel, pid, client).map_err(|what| (Check::Ledger, what))?;
        }
        if let WorkerEvent::Listening { socket: Some(socket), .. }
        | WorkerEvent::Message { handle: Some(IncomingHandle { socket, .. }), .. } = &event
        {
            self.kernel.processes.give_to_program(pid, *socket, &mut self.kernel.ready);
        }
        Checks::worker_event(&mut self.checks, pid, &event, &self.kernel)?;
        let key = self.running.hook_key(pid, None);
        self.within(pid, key, |program, machine, process| {
            if let EitherMachine::Worker(worker) = machine {
                program.worker_event(worker, process, event);
            }
        });
        Ok(())
    }

    /// Delivers an event at a socket of the program.
    fn at_socket(&mut self, pid: Pid, event: Option<SocketEvent>) {
        let Some(event) = event else { return };
        self.may_reexec(pid);
        if self.history.trace().is_some() {
            let crossing = self.crossing(pid, event.clone());
            self.history.note(pid.into(), || crossing);
        }
        let key = self.running.hook_key(pid, Some(&event));
        self.within(pid, key, |program, machine, process| match machine {
            EitherMachine::Primary(primary) => program.primary_socket(primary, process, event),
            EitherMachine::Supervisor(supervisor) => {
                program.primary_socket(supervisor.primary_mut(), process, event);
            }
            EitherMachine::Worker(worker) => program.worker_socket(worker, process, event),
        });
    }

    fn crossing(&self, pid: Pid, event: SocketEvent) -> Crossing {
        let (connection, what) = match event {
            SocketEvent::Data { connection, bytes } => (connection, Ok(bytes)),
            SocketEvent::Ended { connection, ending } => (connection, Err(ending)),
            SocketEvent::Accepted { .. } | SocketEvent::Datagram { .. } => {
                return Crossing::SocketEvent(event);
            }
        };
        Crossing::Arrived { connection, client: self.kernel.client_behind(pid, connection), what }
    }

    /// Runs a hook and performs everything that follows. In a search, a hook that uses neither the kernel nor
    /// the checks runs once.
    fn within(
        &mut self,
        pid: Pid,
        key: Option<HookKey>,
        hook: impl FnOnce(&mut P, &mut EitherMachine, &mut Process<'_>),
    ) {
        if pid == Pid::PRIMARY && self.start.machines.is_supervised() {
            Checks::supervised_program_runs(&mut self.checks);
        }
        match key.and_then(|key| self.running.repeat_hook(pid, key)) {
            Some(lines) => self.log.extend(&lines),
            None => self.run_hook(pid, key, hook),
        }
        self.wake_driver();
        if let Some(running) = self.running.get_mut(pid) {
            settle(&mut self.kernel, pid, running);
        }
    }

    #[inline]
    fn run_hook(
        &mut self,
        pid: Pid,
        key: Option<HookKey>,
        hook: impl FnOnce(&mut P, &mut EitherMachine, &mut Process<'_>),
    ) {
        let Some(running) = self.running.get_mut(pid) else { return };
        let running = &mut **running;
        let written = self.log.len();
        let access = KernelAccess::new(&mut self.kernel, &mut self.checks);
        let (log, exit) = (&mut self.log, &mut running.exit);
        let mut process = Process { pid, access, log, exit, released: Vec::new() };
        hook(&mut running.program, &mut running.machine, &mut process);
        let Process { access, released, .. } = process;
        let key = key.filter(|_| !access.is_used());
        running.release(&released);
        running.react(None);
        if let Some(key) = key {
            self.running.keep_hook(pid, key, self.log.lines_since(written));
        }
    }

    /// Lets a process react to an event. The next action of the process precedes other steps, unless the
    /// schedule decides otherwise.
    pub(crate) fn react(&mut self, pid: Pid, event: Option<OsEvent>) {
        if let Some(running) = self.running.react(pid, event) {
            settle(&mut self.kernel, pid, running);
        }
    }

    fn die(&mut self, pid: Pid, status: ExitStatus) {
        self.history.ended(pid, status);
        self.running.end(pid);
        self.kernel.die(pid, status, &mut self.schedule);
    }

    // ---- the driver

    fn deliver_to_driver(&mut self) {
        match self.log.next_unread() {
            Some(LogEntry::Observation(Observation { observer, text, .. })) => {
                self.drive(|program, driver| program.observed(driver, observer, &text));
            }
            Some(LogEntry::Notice(author, text)) => {
                self.drive(|program, driver| program.notified(driver, author, &text));
            }
            None => {}
        }
    }

    pub(super) fn drive(&mut self, hook: impl FnOnce(&mut P, &mut Driver<'_>)) {
        hook(&mut self.driver, &mut Driver { kernel: &mut self.kernel, log: &mut self.log });
        self.wake_driver();
    }

    fn wake_driver(&mut self) {
        if self.log.has_unread() {
            self.kernel.ready.last(Step::DriverEvent);
        }
    }

    // ---- checks

    /// Compares the ledger when the primary is idle.
    pub(super) fn at_rest(&mut self) -> Result<(), (Check, String)> {
        let Some((primary, false)) = self.running.primary() else { return Ok(()) };
        if self.checks.is_stale(primary) {
            self.checks.look_again(&self.kernel, primary)?;
        }
        Checks::at_rest(&self.kernel, primary)?;
        match self.running.supervisor() {
            Some(supervisor) => self.checks.supervised_at_rest(&self.kernel, supervisor),
            None => Ok(()),
        }
    }
}

/// Prepares the next action of a process after its reaction.
#[inline]
fn settle<P: Clone>(kernel: &mut Kernel, pid: Pid, running: &mut CowArc<RunningProcess<P>>) {
    kernel.processes.mark_changed(pid);
    if running.next.is_none() && has_nothing_left(kernel, pid) {
        running.next = Some(NextAction::Exit(ExitStatus::Code(0)));
    }
    let is_exit = matches!(running.next, Some(NextAction::Exit(ExitStatus::Code(_))));
    if is_exit && pid != Pid::PRIMARY && kernel.channels.has_open(pid, ChannelId::PRIMARY) {
        // A worker closes the channel before its exit, so the primary can receive every message.
        running.next = Some(NextAction::Call(Call::CloseChannel { channel: ChannelId::PRIMARY }));
    }
    if running.next.is_some() {
        kernel.ready.first(Step::Run(pid));
    }
}

/// Whether a worker has neither a channel nor any work. Node: the event loop is empty, and the process exits.
fn has_nothing_left(kernel: &Kernel, pid: Pid) -> bool {
    pid != Pid::PRIMARY && !kernel.channels.has_open(pid, ChannelId::PRIMARY) && !kernel.keeps_running(pid)
}
