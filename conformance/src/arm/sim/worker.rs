//! A worker's part of a scenario in the simulator: events and bytes in, commands to the machine and effects out.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use cluster_core::{
    ChannelError, ChannelId, Errno, ListenerId, LocalAddress, Machine as _, OsBytes, OsEvent, SocketId,
    Worker, WorkerEvent,
};
use cluster_sim::{Process, SocketEvent};
use serde_json::Value;

use super::super::translate;
use super::observation_writer::{ObservationWriter, ScenarioContext};
use super::sockets::{self, ReplyTarget, Server, Sockets};
use super::{PLACE, UNCAUGHT};
use crate::observation::Observation;
use crate::program::{self, SendHandle, WorkerCommand};
use crate::vocabulary;

/// A worker, its rules, its servers and its connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SimWorker {
    script: program::Worker,
    writer: ObservationWriter,
    servers: BTreeMap<ListenerId, Server>,
    sockets: Sockets,
}

/// The number of the channel, here and on real systems, where nothing else is set up.
const CHANNEL: u32 = 3;

/// `Break`: the process exits or blocks, and performs nothing more.
type Going = ControlFlow<()>;

impl SimWorker {
    pub(super) fn new(context: ScenarioContext, id: u64) -> Self {
        SimWorker {
            script: program::Worker::new(&context.scenario, id),
            writer: ObservationWriter::new(context),
            servers: BTreeMap::new(),
            sockets: Sockets::default(),
        }
    }

    pub(super) fn start(&mut self, worker: &mut Worker, process: &mut Process<'_>) {
        self.script = self
            .script
            .clone()
            .with_env(process.env().iter().map(|(name, value)| (name.to_string(), value.to_string())));
        let _ = self.observe(worker, process, &vocabulary::start(), None);
    }

    pub(super) fn on_event(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        match event {
            WorkerEvent::Listening { listener, address, socket } => {
                self.listening(worker, process, listener, &address, socket);
            }
            WorkerEvent::Connection { listener, connection } => {
                self.sockets.track(connection, &self.servers[&listener].name);
                let seen = vocabulary::server("connection", self.name(listener));
                self.serve(worker, process, &seen, listener, Some(ReplyTarget::Connection(connection)));
            }
            // A disconnect before the primary's reply: Node reports nothing.
            WorkerEvent::ListenFailed { error, .. } if error.errno == Errno::ENOTCONN => {}
            WorkerEvent::ListenFailed { listener, error } => {
                let error_name = translate::errno(error.errno);
                let seen = vocabulary::listen_failed(
                    self.name(listener),
                    &error_name,
                    &translate::asked(&error.address),
                );
                let _ = self.observe(worker, process, &seen, None);
            }
            WorkerEvent::Closed { listener } => {
                let seen = vocabulary::server("closed", self.name(listener));
                let _ = self.observe(worker, process, &seen, None);
            }
            WorkerEvent::Message { message, handle } => {
                let text = translate::text(&message);
                let with = handle.map(|passed| self.sockets.adopt(process, passed, &text));
                let target = handle.map(|passed| ReplyTarget::Connection(passed.socket));
                let _ = self.observe(worker, process, &vocabulary::message(&text, with), target);
            }
            WorkerEvent::Disconnect => {
                let seen = vocabulary::disconnect(worker.exited_after_disconnect(), worker.is_connected());
                let _ = self.observe(worker, process, &seen, None);
            }
            // The messages are lost, and the end of the channel follows. Scenarios on Node pass a callback to
            // `send` and ignore its error.
            WorkerEvent::Error { error: ChannelError::Write { .. } | ChannelError::Delayed(_) } => {}
            // No rule handles this error.
            WorkerEvent::Error { error: ChannelError::NotReceived | ChannelError::Protocol(_) } => {
                process.exit(UNCAUGHT);
            }
        }
    }

    /// Something happens at a socket of the program's own.
    pub(super) fn socket(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: SocketEvent) {
        let over = if let SocketEvent::Ended { connection, .. } = event { Some(connection) } else { None };
        for (seen, target) in self.sockets.on_event(event) {
            if self.observe(worker, process, &seen, Some(target)).is_break() {
                return;
            }
        }
        if let Some(connection) = over {
            self.sockets.forget(connection);
            process.close(connection);
        }
    }

    fn listening(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        listener: ListenerId,
        address: &LocalAddress,
        socket: Option<SocketId>,
    ) {
        let seen = vocabulary::listening(self.name(listener), &translate::local(address));
        if let Some(socket) = socket {
            self.sockets.serve(socket, self.servers[&listener].clone());
            let _ = self.observe(worker, process, &seen, None);
        } else {
            self.serve(worker, process, &seen, listener, None);
        }
    }

    fn name(&self, listener: ListenerId) -> &str {
        &self.servers[&listener].name
    }

    /// Observes an event of a server that serves on. Unless the process ends, the server accepts the next
    /// connection.
    fn serve(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        seen: &Observation,
        listener: ListenerId,
        target: Option<ReplyTarget>,
    ) {
        if self.observe(worker, process, seen, target).is_continue() {
            worker.accept(listener);
        }
    }

    fn observe(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        seen: &Observation,
        target: Option<ReplyTarget>,
    ) -> Going {
        self.writer.write(process, seen);
        self.script
            .react(seen)
            .into_iter()
            .try_for_each(|command| self.perform(worker, process, command, target))
    }

    fn perform(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        command: WorkerCommand,
        target: Option<ReplyTarget>,
    ) -> Going {
        match command {
            WorkerCommand::Listen { listen, port, fd } => {
                let listener = worker.listen(translate::listen(&listen, port, fd, PLACE));
                self.servers.insert(listener, Server::of_connections(listen.server.as_str()));
            }
            WorkerCommand::Bind { bind, port, fd } => {
                let listener = worker.listen(translate::bind(&bind, port, fd));
                self.servers.insert(listener, Server::of_datagrams(bind.server.as_str(), bind.v6));
            }
            WorkerCommand::SendDatagram { port, text, from } => {
                let from = from.and_then(|name| self.sockets.named(&name));
                sockets::send_datagram(process, from, port, &text);
            }
            WorkerCommand::SendHandle(pass) => self.pass(worker, process, pass, target),
            WorkerCommand::Write { fd: CHANNEL, text } => process.write_raw(format!("{text}\n").as_bytes()),
            WorkerCommand::Write { fd, text } => {
                let _ = worker.send(translate::piped(fd, &text));
            }
            WorkerCommand::Close { server } => self.close(worker, &server),
            WorkerCommand::Send { text } => {
                // A message on a closed channel is dropped, as the manual defines.
                let _ = worker.send(Value::String(text));
            }
            WorkerCommand::SendJson { json } => {
                let _ = worker.send(translate::json(&json));
            }
            WorkerCommand::TrySend { text } => self.try_send(worker, process, &text),
            WorkerCommand::SendReserved => {
                // The reserved message is rejected here; Node swallows it.
                let _ = worker.send(vocabulary::reserved());
            }
            WorkerCommand::Disconnect => worker.disconnect(),
            WorkerCommand::Kill => worker.kill(),
            // The process exits with its channel, and the primary observes the exit.
            WorkerCommand::DisconnectChannel => {
                worker.handle(OsEvent::ChannelClosed { channel: ChannelId::PRIMARY });
            }
            WorkerCommand::Inspect
            | WorkerCommand::Env { .. }
            | WorkerCommand::Args
            | WorkerCommand::ExecArgs
            | WorkerCommand::Cwd => self.report_self(worker, process, &command),
            WorkerCommand::BlockForever => {
                process.block(worker, None);
                return Going::Break(());
            }
            WorkerCommand::LeaveChildWithChannel => leave_child(process, target),
            WorkerCommand::BlockUntilPath { path } => process.block(worker, Some(&format!("{PLACE}/{path}"))),
            WorkerCommand::Reply { text } => sockets::reply(process, target, &text),
            WorkerCommand::End => sockets::end(process, target),
            WorkerCommand::EndAll => {
                self.sockets.connections().for_each(|connection| process.end(connection));
            }
            WorkerCommand::Exit { .. } | WorkerCommand::Crash | WorkerCommand::Raise { .. } => {
                leave(process, &command);
                return Going::Break(());
            }
        }
        Going::Continue(())
    }

    fn try_send(&mut self, worker: &mut Worker, process: &mut Process<'_>, text: &str) {
        let sent = worker.send(Value::String(text.to_owned())).is_ok();
        self.writer.write(process, &vocabulary::tried(None, text, sent));
    }

    /// Writes a line about this process, if that is the command.
    fn report_self(&mut self, worker: &Worker, process: &mut Process<'_>, command: &WorkerCommand) {
        let seen = if let WorkerCommand::Env { name } = command {
            vocabulary::env(name, variable(process, name).as_deref())
        } else if *command == WorkerCommand::Args {
            vocabulary::args("args", &texts(process.spawn_options().get_args()))
        } else if *command == WorkerCommand::ExecArgs {
            vocabulary::args("exec_args", &texts(process.spawn_options().get_exec_argv()))
        } else if *command == WorkerCommand::Cwd {
            vocabulary::cwd(
                &process.spawn_options().get_cwd().map_or_else(|| ".".into(), ToString::to_string),
            )
        } else {
            vocabulary::look(worker.exited_after_disconnect(), worker.is_connected())
        };
        self.writer.write(process, &seen);
    }

    fn pass(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        pass: SendHandle,
        target: Option<ReplyTarget>,
    ) {
        let SendHandle { text, what, keep_open } = pass;
        let text = Value::String(text);
        let Some(passing) = self.sockets.passing(what.as_deref(), target, keep_open) else {
            // The handle is closed: the message is sent alone.
            let _ = worker.send(&text);
            return;
        };
        if worker.send_with(&text, passing).is_ok() {
            self.sockets.passed(process, passing);
        }
    }

    /// The newest server of this name.
    fn close(&self, worker: &mut Worker, name: &str) {
        let mut servers = self.servers.iter().rev();
        if let Some((listener, _)) = servers.find(|(_, server)| server.name == name) {
            worker.close(*listener);
        }
    }
}

/// Starts a child that holds the channel and this connection.
fn leave_child(process: &mut Process<'_>, target: Option<ReplyTarget>) {
    if let Some(ReplyTarget::Connection(connection)) = target {
        process.leave_child(connection);
    }
}

/// Ends the process, if that is the command.
fn leave(process: &mut Process<'_>, command: &WorkerCommand) {
    if let WorkerCommand::Raise { signal } = command {
        return process.raise(translate::signal(*signal));
    }
    process.exit(if let WorkerCommand::Exit { code } = command { *code } else { UNCAUGHT });
}

fn texts(args: &[OsBytes]) -> Vec<String> {
    args.iter().map(ToString::to_string).collect()
}

fn variable(process: &Process<'_>, name: &str) -> Option<String> {
    // The library removes the variables of a worker before the program starts.
    if ["NODE_UNIQUE_ID", "NODE_CHANNEL_FD"].contains(&name) {
        return None;
    }
    let mut given = process.env().iter().rev();
    given.find(|(given, _)| *given == name).map(|(_, value)| value.to_string())
}
