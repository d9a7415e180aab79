//! The primary's part of a scenario in the simulator: receives events, and commands the machine.

use std::collections::BTreeMap;

use cluster_core::{Event, IncomingHandle, Primary, WorkerId};
use cluster_sim::{Process, SocketEvent};
use serde_json::Value;

use super::super::translate;
use super::observation_writer::{ObservationWriter, ScenarioContext};
use super::sockets::{self, ReplyTarget, Sockets};
use super::{PLACE, UNCAUGHT};
use crate::observation::Observation;
use crate::program;
use crate::scenario::{Open, PrimaryAction, SendHandleTo, Token};
use crate::vocabulary;

/// A primary and its rules.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SimPrimary {
    script: program::Primary,
    writer: ObservationWriter,
    sockets: Sockets,
    /// The ports and descriptors of the primary's own servers, for the environment of every worker.
    env: Vec<(String, String)>,
    /// Whether the scenario is about settings. Only then `setup` events are observed.
    writes_setup: bool,
}

impl SimPrimary {
    pub(super) fn new(context: ScenarioContext) -> Self {
        let (script, writes_setup) =
            (program::Primary::new(&context.scenario), context.scenario.writes_setup());
        SimPrimary {
            script,
            writer: ObservationWriter::new(context),
            sockets: Sockets::default(),
            env: Vec::new(),
            writes_setup,
        }
    }

    pub(super) fn start(&mut self, primary: &mut Primary, process: &mut Process<'_>) {
        self.observe(primary, process, &vocabulary::start(), None);
    }

    pub(super) fn on_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: &Event) {
        if matches!(event, Event::Setup { .. }) && !self.writes_setup {
            return;
        }
        let mut target = None;
        let mut came = |passed: IncomingHandle, text: &str| {
            target = Some(ReplyTarget::Connection(passed.socket));
            self.sockets.adopt(process, passed, text)
        };
        if let Some(seen) = translate::event(event, PLACE, 0, |worker| primary.worker(worker), &mut came) {
            self.observe(primary, process, &seen, target);
        }
    }

    /// Handles an event of one of the primary's own sockets.
    pub(super) fn socket(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: SocketEvent) {
        let over = if let SocketEvent::Ended { connection, .. } = event { Some(connection) } else { None };
        for (seen, target) in self.sockets.on_event(event) {
            self.observe(primary, process, &seen, Some(target));
        }
        if let Some(connection) = over {
            self.sockets.forget(connection);
            process.close(connection);
        }
        while let Some((seen, connection)) = self.sockets.next_failed() {
            self.observe(primary, process, &seen, Some(ReplyTarget::Connection(connection)));
            self.sockets.forget(connection);
            process.close(connection);
        }
    }

    fn observe(
        &mut self,
        primary: &mut Primary,
        process: &mut Process<'_>,
        seen: &Observation,
        target: Option<ReplyTarget>,
    ) {
        self.writer.write(process, seen);
        for action in self.script.react(seen) {
            self.perform(primary, process, action, target);
        }
    }

    fn perform(
        &mut self,
        primary: &mut Primary,
        process: &mut Process<'_>,
        action: PrimaryAction,
        target: Option<ReplyTarget>,
    ) {
        match action {
            PrimaryAction::Fork(count) => (0..count).for_each(|_| self.fork(primary, BTreeMap::new())),
            PrimaryAction::ForkWith(variables) => self.fork(primary, variables),
            PrimaryAction::Setup(options) => primary.setup(translate::setup(&options, &[])),
            PrimaryAction::Settings => {
                let seen = translate::settings_line("settings", &primary.settings().spawn, 0);
                self.writer.write(process, &seen);
            }
            PrimaryAction::Policy(policy) => {
                // Fails after the first fork. Node ignores such an assignment.
                let _ = primary.set_policy(translate::policy(policy));
            }
            PrimaryAction::Open(open) => self.open(primary, process, &open),
            PrimaryAction::Close(server) => {
                if let Some(socket) = self.sockets.named(server.as_str()) {
                    self.sockets.forget(socket);
                    process.close(socket);
                }
            }
            PrimaryAction::SendHandle(send) => self.pass(primary, process, &send, target),
            PrimaryAction::Reply(text) => self.sockets.reply(process, target, text.as_str()),
            PrimaryAction::End => sockets::end(process, target),
            PrimaryAction::Send(message) => {
                // Fails if the worker has no channel: the manual states that the message is dropped.
                let _ = primary.send(WorkerId(message.to.id()), Value::from(message.text.as_str()));
            }
            PrimaryAction::TrySend(message) => {
                let (worker, text) = (message.to.id(), message.text.as_str());
                let sent = primary.send(WorkerId(worker), Value::from(text)).is_ok();
                self.writer.write(process, &vocabulary::tried(Some(worker), text, sent));
            }
            // Nothing to do: the schedule decides when the worker exits, and it may exit now.
            PrimaryAction::BlockUntilExit(_) => {}
            PrimaryAction::Disconnect(worker) => primary.disconnect_worker(WorkerId(worker.id())),
            PrimaryAction::DisconnectAll => primary.disconnect_all(),
            PrimaryAction::Kill(kill) => {
                primary.kill(WorkerId(kill.worker.id()), translate::signal(kill.signal));
            }
            PrimaryAction::Inspect(worker) => {
                if let Some(seen) = translate::look(worker.id(), primary.worker(WorkerId(worker.id()))) {
                    self.writer.write(process, &seen);
                }
            }
            PrimaryAction::ExhaustFds => process.limit_descriptors(Some(0)),
            PrimaryAction::FreeFds => process.limit_descriptors(None),
            PrimaryAction::Exit(code) => process.exit(code),
            PrimaryAction::Crash => process.exit(UNCAUGHT),
            PrimaryAction::Raise(signal) => process.raise(translate::signal(signal)),
        }
    }

    fn fork(&self, primary: &mut Primary, variables: BTreeMap<String, Token>) {
        let variables = variables.into_iter().map(|(name, value)| (name, value.to_string()));
        let env = self.env.iter().cloned().chain(variables);
        primary.fork_with_env(env).expect("the settings are valid");
    }

    fn open(&mut self, primary: &mut Primary, process: &mut Process<'_>, open: &Open) {
        let Some((socket, seen)) = sockets::open(&mut self.sockets, process, open) else { return };
        let port = seen.port().map(|port| (format!("PORT_{}", open.server), port.to_string()));
        let number = process.descriptor(socket).map(|fd| (format!("FD_{}", open.server), fd.to_string()));
        self.env.extend(port.into_iter().chain(number));
        self.observe(primary, process, &seen, None);
    }

    fn pass(
        &mut self,
        primary: &mut Primary,
        process: &mut Process<'_>,
        send: &SendHandleTo,
        target: Option<ReplyTarget>,
    ) {
        let (worker, text) = (WorkerId(send.to), Value::from(send.text.as_str()));
        let Some(passing) = self.sockets.passing(send.what.as_ref(), target, send.keep_open) else {
            let _ = primary.send(worker, &text);
            return;
        };
        if primary.send_with(worker, &text, passing).is_ok() {
            self.sockets.passed(process, passing);
        }
    }
}
