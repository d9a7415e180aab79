//! The primary's part of a scenario in the simulator: events in, commands to the machine out.

use cluster_core::{Event, IncomingHandle, Primary, WorkerId};
use cluster_sim::{Process, SocketEvent};
use serde_json::Value;

use super::super::translate;
use super::pen::{Pen, Play};
use super::sockets::{self, About, Sockets};
use super::{PLACE, UNCAUGHT};
use crate::observation::Observation;
use crate::program::{self, PrimaryCommand, SendHandle};
use crate::scenario::Open;
use crate::words;

/// A primary and its rules.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PrimaryPart {
    script: program::Primary,
    pen: Pen,
    sockets: Sockets,
    /// What every worker is told of the primary's own servers.
    env: Vec<(String, String)>,
    /// Whether the scenario is about what is set up, and so tells of it.
    tells: bool,
}

impl PrimaryPart {
    pub(super) fn new(play: Play) -> Self {
        let (script, tells) = (program::Primary::new(&play.scenario), play.scenario.tells_of_setup());
        PrimaryPart { script, pen: Pen::new(play), sockets: Sockets::default(), env: Vec::new(), tells }
    }

    pub(super) fn start(&mut self, primary: &mut Primary, process: &mut Process<'_>) {
        self.see(primary, process, &words::start(), None);
    }

    pub(super) fn hear(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: &Event) {
        if matches!(event, Event::Setup { .. }) && !self.tells {
            return;
        }
        let mut about = None;
        let mut came = |passed: IncomingHandle, text: &str| {
            about = Some(About::Connection(passed.socket));
            self.sockets.adopt(process, passed, text)
        };
        if let Some(seen) = translate::event(event, PLACE, 0, |worker| primary.worker(worker), &mut came) {
            self.see(primary, process, &seen, about);
        }
    }

    /// Something happens at a socket of its own.
    pub(super) fn socket(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: SocketEvent) {
        let over = if let SocketEvent::Ended { connection, .. } = event { Some(connection) } else { None };
        for (seen, about) in self.sockets.hear(event) {
            self.see(primary, process, &seen, Some(about));
        }
        if let Some(connection) = over {
            self.sockets.forget(connection);
            process.close(connection);
        }
    }

    fn see(
        &mut self,
        primary: &mut Primary,
        process: &mut Process<'_>,
        seen: &Observation,
        about: Option<About>,
    ) {
        self.pen.write(process, seen);
        for command in self.script.react(seen) {
            self.obey(primary, process, command, about);
        }
    }

    fn obey(
        &mut self,
        primary: &mut Primary,
        process: &mut Process<'_>,
        command: PrimaryCommand,
        about: Option<About>,
    ) {
        match command {
            PrimaryCommand::Fork { env } => {
                let env = self.env.iter().cloned().chain(env).collect();
                primary.fork_with_env(env).expect("nothing impossible was set up");
            }
            PrimaryCommand::Setup(setup) => primary.setup(translate::setup(&setup, &[])),
            PrimaryCommand::Settings => {
                let seen = translate::settings_line("settings", &primary.settings().command, 0);
                self.pen.write(process, &seen);
            }
            PrimaryCommand::Policy(policy) => {
                // Once it is decided, Node says nothing of a later one.
                let _ = primary.set_policy(translate::policy(policy));
            }
            PrimaryCommand::Open(open) => self.open(primary, process, &open),
            PrimaryCommand::Close { server } => {
                if let Some(socket) = self.sockets.named(&server) {
                    self.sockets.forget(socket);
                    process.close(socket);
                }
            }
            PrimaryCommand::SendHandle { worker, pass } => self.pass(primary, process, worker, pass, about),
            PrimaryCommand::Reply { text } => sockets::reply(process, about, &text),
            PrimaryCommand::End => sockets::end(process, about),
            PrimaryCommand::Send { worker, text } => {
                // To a worker that is not connected nothing is sent, as the scenario says.
                let _ = primary.send(WorkerId(worker), Value::String(text));
            }
            PrimaryCommand::TrySend { worker, text } => {
                let sent = primary.send(WorkerId(worker), Value::String(text.clone())).is_ok();
                self.pen.write(process, &words::tried(Some(worker), &text, sent));
            }
            // When it dies, the schedule says: it may be now.
            PrimaryCommand::BlockUntilExit { worker: _ } => {}
            PrimaryCommand::Disconnect { worker } => primary.disconnect_worker(WorkerId(worker)),
            PrimaryCommand::DisconnectAll => primary.disconnect_all(),
            PrimaryCommand::Kill { worker, signal } => {
                primary.kill(WorkerId(worker), translate::signal(signal));
            }
            PrimaryCommand::Inspect { worker } => {
                if let Some(seen) = translate::look(worker, primary.worker(WorkerId(worker))) {
                    self.pen.write(process, &seen);
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
        self.see(primary, process, &seen, None);
    }

    fn pass(
        &mut self,
        primary: &mut Primary,
        process: &mut Process<'_>,
        worker: u64,
        pass: SendHandle,
        about: Option<About>,
    ) {
        let SendHandle { text, what, keep_open } = pass;
        let (worker, text) = (WorkerId(worker), Value::String(text));
        let Some(passing) = self.sockets.passing(what.as_deref(), about, keep_open) else {
            let _ = primary.send(worker, &text);
            return;
        };
        if primary.send_with(worker, &text, passing).is_ok() {
            self.sockets.passed(process, passing);
        }
    }
}
