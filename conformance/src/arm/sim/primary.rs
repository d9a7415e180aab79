//! The primary's part of a scenario in the simulator: events in, commands to the machine out.

use cluster_core::{Event, IncomingHandle, Primary, WorkerId};
use cluster_sim::{Process, SocketEvent};
use serde_json::Value;

use super::super::translate;
use super::observation_writer::{ObservationWriter, ScenarioContext};
use super::sockets::{self, ReplyTarget, Sockets};
use super::{PLACE, UNCAUGHT};
use crate::observation::Observation;
use crate::program::{self, PrimaryCommand, SendHandle};
use crate::scenario::Open;
use crate::vocabulary;

/// A primary and its rules.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SimPrimary {
    script: program::Primary,
    writer: ObservationWriter,
    sockets: Sockets,
    /// The ports and descriptors of the primary's own servers, for every worker.
    env: Vec<(String, String)>,
    /// Whether the scenario is about settings, so that `setup` events are observed.
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
    }

    fn observe(
        &mut self,
        primary: &mut Primary,
        process: &mut Process<'_>,
        seen: &Observation,
        target: Option<ReplyTarget>,
    ) {
        self.writer.write(process, seen);
        for command in self.script.react(seen) {
            self.perform(primary, process, command, target);
        }
    }

    fn perform(
        &mut self,
        primary: &mut Primary,
        process: &mut Process<'_>,
        command: PrimaryCommand,
        target: Option<ReplyTarget>,
    ) {
        match command {
            PrimaryCommand::Fork { env } => {
                let env = self.env.iter().cloned().chain(env);
                primary.fork_with_env(env).expect("nothing impossible was set up");
            }
            PrimaryCommand::Setup(setup) => primary.setup(translate::setup(&setup, &[])),
            PrimaryCommand::Settings => {
                let seen = translate::settings_line("settings", &primary.settings().spawn, 0);
                self.writer.write(process, &seen);
            }
            PrimaryCommand::Policy(policy) => {
                // Node ignores a policy after the first fork.
                let _ = primary.set_policy(translate::policy(policy));
            }
            PrimaryCommand::Open(open) => self.open(primary, process, &open),
            PrimaryCommand::Close { server } => {
                if let Some(socket) = self.sockets.named(&server) {
                    self.sockets.forget(socket);
                    process.close(socket);
                }
            }
            PrimaryCommand::SendHandle { worker, pass } => self.pass(primary, process, worker, pass, target),
            PrimaryCommand::Reply { text } => sockets::reply(process, target, &text),
            PrimaryCommand::End => sockets::end(process, target),
            PrimaryCommand::Send { worker, text } => {
                // A message to a worker without a channel is dropped, as the manual defines.
                let _ = primary.send(WorkerId(worker), Value::String(text));
            }
            PrimaryCommand::TrySend { worker, text } => {
                let sent = primary.send(WorkerId(worker), Value::String(text.clone())).is_ok();
                self.writer.write(process, &vocabulary::tried(Some(worker), &text, sent));
            }
            // The schedule decides when the worker exits; now is one of its choices.
            PrimaryCommand::BlockUntilExit { worker: _ } => {}
            PrimaryCommand::Disconnect { worker } => primary.disconnect_worker(WorkerId(worker)),
            PrimaryCommand::DisconnectAll => primary.disconnect_all(),
            PrimaryCommand::Kill { worker, signal } => {
                primary.kill(WorkerId(worker), translate::signal(signal));
            }
            PrimaryCommand::Inspect { worker } => {
                if let Some(seen) = translate::look(worker, primary.worker(WorkerId(worker))) {
                    self.writer.write(process, &seen);
                }
            }
            PrimaryCommand::ExhaustFds => process.limit_descriptors(Some(0)),
            PrimaryCommand::FreeFds => process.limit_descriptors(None),
            PrimaryCommand::Exit { code } => process.exit(code),
            PrimaryCommand::Crash => process.exit(UNCAUGHT),
            PrimaryCommand::Raise { signal } => process.raise(translate::signal(signal)),
        }
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
        worker: u64,
        pass: SendHandle,
        target: Option<ReplyTarget>,
    ) {
        let SendHandle { text, what, keep_open } = pass;
        let (worker, text) = (WorkerId(worker), Value::String(text));
        let Some(passing) = self.sockets.passing(what.as_deref(), target, keep_open) else {
            let _ = primary.send(worker, &text);
            return;
        };
        if primary.send_with(worker, &text, passing).is_ok() {
            self.sockets.passed(process, passing);
        }
    }
}
