//! A worker's part of a scenario in the simulator: receives events and bytes, and commands the machine.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use cluster_core::{
    ChannelError, ChannelId, Errno, ListenerId, LocalAddress, Machine as _, OsBytes, OsEvent, SocketId,
    Worker, WorkerEvent,
};
use cluster_sim::{Process, SocketEvent};
use serde_json::Value;

use super::super::translate;
use super::late_closes::LateCloses;
use super::lookups::{Lookups, RequestedServer};
use super::observation_writer::{ObservationWriter, ScenarioContext};
use super::sockets::{self, ReplyTarget, Server, Sockets};
use super::{PLACE, UNCAUGHT};
use crate::observation::Observation;
use crate::program;
use crate::scenario::{SendHandle, ServerName, WorkerAction, WriteLine};
use crate::vocabulary;

/// A worker, its rules, its servers and its connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SimWorker {
    script: program::Worker,
    writer: ObservationWriter,
    servers: BTreeMap<ListenerId, Server>,
    sockets: Sockets,
    lookups: Lookups,
    late_closes: LateCloses,
}

/// The descriptor number of the channel: 3 unless the settings have other descriptors, as on real systems.
const CHANNEL: u32 = 3;

/// `Break`: the process exits or blocks, and performs nothing further.
type Going = ControlFlow<()>;

impl SimWorker {
    pub(super) fn new(context: ScenarioContext, id: u64) -> Self {
        SimWorker {
            script: program::Worker::new(&context.scenario, id),
            lookups: Lookups::new(context.workers_on_node),
            writer: ObservationWriter::new(context),
            servers: BTreeMap::new(),
            sockets: Sockets::default(),
            late_closes: LateCloses::default(),
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
            // The worker was disconnected before the primary's reply. Node does not report this.
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
                let _ = self.converse(worker, process, &vocabulary::message(&text, with), target);
            }
            WorkerEvent::Disconnect => {
                let seen = vocabulary::disconnect(worker.exited_after_disconnect(), worker.is_connected());
                let _ = self.observe(worker, process, &seen, None);
            }
            // The messages are lost, and the end of the channel follows. Scenarios on Node pass a callback to
            // `send`, and ignore its error.
            WorkerEvent::LameDuck
            | WorkerEvent::Error { error: ChannelError::Write { .. } | ChannelError::Delayed(_) } => {}
            // No rule can handle this error.
            WorkerEvent::Error { error: ChannelError::NotReceived | ChannelError::Protocol(_) } => {
                process.exit(UNCAUGHT);
            }
        }
    }

    /// Handles an event of a socket that the program itself owns.
    pub(super) fn socket(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: SocketEvent) {
        if let SocketEvent::Datagram { socket, .. } = &event
            && let Some(server) = self.lookups.take_found(*socket, process)
        {
            return self.listen(worker, server);
        }
        if let SocketEvent::Datagram { socket, .. } = &event
            && let Some(connection) = self.late_closes.take(*socket, process)
        {
            self.sockets.forget(connection);
            return process.close(connection);
        }
        let is_late = self.writer.closes_late(process);
        let over = if let SocketEvent::Ended { connection, .. } = event { Some(connection) } else { None };
        for (seen, target) in self.sockets.on_event(event) {
            if self.observe(worker, process, &seen, Some(target)).is_break() {
                return;
            }
        }
        if let Some(connection) = over
            && !(is_late && self.late_closes.start(connection, process))
        {
            self.sockets.forget(connection);
            process.close(connection);
        }
        let _ = self.end_failed(worker, process);
    }

    /// Observes a line. The rules for the line may write to its peer.
    fn converse(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        seen: &Observation,
        target: Option<ReplyTarget>,
    ) -> Going {
        self.observe(worker, process, seen, target)?;
        self.end_failed(worker, process)
    }

    /// Ends the connections with a failed write.
    fn end_failed(&mut self, worker: &mut Worker, process: &mut Process<'_>) -> Going {
        while let Some((seen, connection)) = self.sockets.next_failed() {
            self.observe(worker, process, &seen, Some(ReplyTarget::Connection(connection)))?;
            self.sockets.forget(connection);
            process.close(connection);
        }
        Going::Continue(())
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

    /// Observes an event of a server. Unless the process ends, the server then accepts the next connection.
    fn serve(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        seen: &Observation,
        listener: ListenerId,
        target: Option<ReplyTarget>,
    ) {
        if self.converse(worker, process, seen, target).is_continue() {
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
        let seen = self.writer.reported(process, seen);
        self.writer.write(process, &seen);
        let mut actions = self.script.react(&seen).into_iter();
        actions.try_for_each(|action| self.perform(worker, process, action, target))?;
        for server in self.lookups.take_ticks() {
            self.listen(worker, server);
        }
        Going::Continue(())
    }

    fn open(&mut self, worker: &mut Worker, process: &mut Process<'_>, server: RequestedServer) {
        if let Some(server) = self.lookups.start(server, process) {
            self.listen(worker, server);
        }
    }

    fn listen(&mut self, worker: &mut Worker, server: RequestedServer) {
        let (options, server) = match server {
            RequestedServer::Listen(listen) => {
                (translate::listen(&listen, PLACE), Server::of_connections(listen.server.as_str()))
            }
            RequestedServer::Bind(bind) => {
                (translate::bind(&bind), Server::of_datagrams(bind.server.as_str(), bind.v6))
            }
        };
        self.servers.insert(worker.listen(options), server);
    }

    fn perform(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        action: WorkerAction,
        target: Option<ReplyTarget>,
    ) -> Going {
        match action {
            WorkerAction::Listen(listen) => self.open(worker, process, RequestedServer::Listen(listen)),
            WorkerAction::Bind(bind) => self.open(worker, process, RequestedServer::Bind(bind)),
            WorkerAction::SendDatagram(send) => {
                let from = send.from.and_then(|name| self.sockets.named(name.as_str()));
                sockets::send_datagram(process, from, send.to.port(), send.text.as_str());
            }
            WorkerAction::SendHandle(send) => self.pass(worker, process, &send, target),
            WorkerAction::Write(line) => write_line(worker, process, &line),
            WorkerAction::Close(server) => self.close(worker, &server),
            // Fails if the channel is closed: the manual states that the message is dropped.
            WorkerAction::Send(text) => drop(worker.send(Value::from(text.as_str()))),
            WorkerAction::SendForm(form) => drop(worker.send(translate::json(form.json()))),
            WorkerAction::TrySend(text) => self.try_send(worker, process, text.as_str()),
            // Here the reserved message is rejected. Node swallows the message.
            WorkerAction::SendReserved => drop(worker.send(vocabulary::reserved())),
            WorkerAction::Disconnect => worker.disconnect(),
            WorkerAction::Kill => worker.kill(),
            // In the simulator a process exits together with its channel, and the primary observes the exit.
            WorkerAction::DisconnectChannel => {
                worker.handle(OsEvent::ChannelClosed { channel: ChannelId::PRIMARY });
            }
            WorkerAction::Inspect => {
                let seen = vocabulary::look(worker.exited_after_disconnect(), worker.is_connected());
                self.writer.write(process, &seen);
            }
            WorkerAction::Env(name) => {
                let seen = vocabulary::env(&name, variable(process, &name).as_deref());
                self.writer.write(process, &seen);
            }
            WorkerAction::Args => {
                let seen = vocabulary::args("args", &texts(process.spawn_options().args.as_ref()));
                self.writer.write(process, &seen);
            }
            WorkerAction::ExecArgs => {
                let seen = vocabulary::args("exec_args", &texts(process.spawn_options().exec_argv.as_ref()));
                self.writer.write(process, &seen);
            }
            WorkerAction::Cwd => {
                let directory = process.spawn_options().cwd.as_ref().map(ToString::to_string);
                self.writer.write(process, &vocabulary::cwd(directory.as_deref().unwrap_or(".")));
            }
            WorkerAction::BlockForever => return end_with(|| process.block(worker, None)),
            WorkerAction::LeaveChildWithChannel => leave_child(process, target),
            WorkerAction::BlockUntilPath(path) => process.block(worker, Some(&format!("{PLACE}/{path}"))),
            WorkerAction::Reply(text) => self.sockets.reply(process, target, text.as_str()),
            WorkerAction::End => sockets::end(process, target),
            WorkerAction::EndAll => {
                self.sockets.connections().for_each(|connection| process.end(connection));
            }
            WorkerAction::Exit(code) => return end_with(|| process.exit(code)),
            WorkerAction::Crash => return end_with(|| process.exit(UNCAUGHT)),
            WorkerAction::Raise(signal) => return end_with(|| process.raise(translate::signal(signal))),
        }
        Going::Continue(())
    }

    fn try_send(&mut self, worker: &mut Worker, process: &mut Process<'_>, text: &str) {
        let sent = worker.send(Value::String(text.to_owned())).is_ok();
        self.writer.write(process, &vocabulary::tried(None, text, sent));
    }

    fn pass(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        send: &SendHandle,
        target: Option<ReplyTarget>,
    ) {
        let text = Value::from(send.text.as_str());
        let Some(passing) = self.sockets.passing(send.what.as_ref(), target, send.keep_open) else {
            // The handle is closed, so the message is sent alone.
            let _ = worker.send(&text);
            return;
        };
        if worker.send_with(&text, passing).is_ok() {
            self.sockets.passed(process, passing);
        }
    }

    /// Closes the newest server of this name.
    fn close(&self, worker: &mut Worker, name: &ServerName) {
        let mut servers = self.servers.iter().rev();
        if let Some((listener, _)) = servers.find(|(_, server)| server.name == name.as_str()) {
            worker.close(*listener);
        }
    }
}

/// Performs the last action of the process.
fn end_with(last: impl FnOnce()) -> Going {
    last();
    Going::Break(())
}

/// Writes a line to a descriptor. The simulator has no pipes: the channel carries the lines of other
/// descriptors.
fn write_line(worker: &mut Worker, process: &mut Process<'_>, line: &WriteLine) {
    if line.fd == CHANNEL {
        process.write_raw(format!("{}\n", *line.text).as_bytes());
    } else {
        // Fails if the channel is closed: the line is dropped.
        let _ = worker.send(translate::piped(line.fd, line.text.as_str()));
    }
}

/// Starts a child that holds the channel and this connection.
fn leave_child(process: &mut Process<'_>, target: Option<ReplyTarget>) {
    if let Some(ReplyTarget::Connection(connection)) = target {
        process.leave_child(connection);
    }
}

fn texts(args: Option<&Vec<OsBytes>>) -> Vec<String> {
    args.into_iter().flatten().map(ToString::to_string).collect()
}

fn variable(process: &Process<'_>, name: &str) -> Option<String> {
    // The library removes these variables of a worker before the program starts.
    if ["NODE_UNIQUE_ID", "NODE_CHANNEL_FD"].contains(&name) {
        return None;
    }
    let mut given = process.env().iter().rev();
    given.find(|(given, _)| *given == name).map(|(_, value)| value.to_string())
}
