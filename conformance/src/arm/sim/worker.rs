//! A worker's part of a scenario in the simulator: events and bytes in, commands to the machine and effects out.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use cluster_core::{Errno, ListenAddress, ListenerId, SocketId, Worker, WorkerEvent};
use cluster_sim::{Ending, Process};
use serde_json::Value;

use super::super::translate;
use super::pen::{Pen, Play};
use crate::observation::Observation;
use crate::program::lines::Lines;
use crate::program::{self, WorkerCommand};
use crate::words;

/// Node ends with this code when an error is caught by nobody.
const UNCAUGHT: i32 = 1;

/// A worker, its rules, its servers and its connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct WorkerPart {
    script: program::Worker,
    pen: Pen,
    servers: BTreeMap<ListenerId, String>,
    connections: BTreeMap<SocketId, Talk>,
}

/// One connection: whose it is, and what of a line has come.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Talk {
    listener: ListenerId,
    lines: Lines,
}

/// Broken off: the process ends, and nothing more may happen in it.
type Going = ControlFlow<()>;

impl WorkerPart {
    pub(super) fn new(play: Play, id: u32) -> Self {
        WorkerPart {
            script: program::Worker::new(&play.scenario, id),
            pen: Pen::new(play),
            servers: BTreeMap::new(),
            connections: BTreeMap::new(),
        }
    }

    pub(super) fn start(&mut self, worker: &mut Worker, process: &mut Process<'_>) {
        let _ = self.see(worker, process, &words::start(), None);
    }

    pub(super) fn hear(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        match event {
            WorkerEvent::Listening { listener, address, .. } => {
                let seen = words::listening(self.name(listener), address.port());
                self.serve(worker, process, &seen, listener, None);
            }
            WorkerEvent::Connection { listener, connection } => {
                self.connections.insert(connection, Talk { listener, lines: Lines::default() });
                let seen = words::server("connection", self.name(listener));
                self.serve(worker, process, &seen, listener, Some(connection));
            }
            // Asked to go before the primary answered: Node tells nothing.
            WorkerEvent::ListenFailed { error, .. } if error.errno == Errno::ENOTCONN => {}
            WorkerEvent::ListenFailed { listener, error } => {
                let error_name = translate::errno(error.errno);
                let seen = words::listen_failed(self.name(listener), &error_name, error.address.port());
                let _ = self.see(worker, process, &seen, None);
            }
            WorkerEvent::Closed { listener } => {
                let seen = words::server("closed", self.name(listener));
                let _ = self.see(worker, process, &seen, None);
            }
            WorkerEvent::Message { message, handle: _ } => {
                let seen = words::message(&translate::text(&message));
                let _ = self.see(worker, process, &seen, None);
            }
            WorkerEvent::Disconnect => {
                let seen = words::disconnect(worker.exited_after_disconnect(), worker.is_connected());
                let _ = self.see(worker, process, &seen, None);
            }
            // Nobody has a rule for it.
            WorkerEvent::Error { error: _ } => process.exit(UNCAUGHT),
        }
    }

    pub(super) fn data(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        connection: SocketId,
        bytes: &[u8],
    ) {
        let Some(talk) = self.connections.get_mut(&connection) else { return };
        let (lines, server) = (talk.lines.push(bytes), self.server_of(connection));
        for text in lines {
            let seen = words::server_data(&server, &text);
            if self.see(worker, process, &seen, Some(connection)).is_break() {
                return;
            }
        }
    }

    pub(super) fn over(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        connection: SocketId,
        ending: Ending,
    ) {
        let what = match ending {
            Ending::Finished => "end",
            Ending::Reset => "reset",
        };
        let seen = words::server(what, &self.server_of(connection));
        if self.see(worker, process, &seen, Some(connection)).is_continue() {
            self.connections.remove(&connection);
            process.close(connection);
        }
    }

    fn name(&self, listener: ListenerId) -> &str {
        &self.servers[&listener]
    }

    fn server_of(&self, connection: SocketId) -> String {
        self.connections.get(&connection).map_or_else(String::new, |talk| self.name(talk.listener).to_owned())
    }

    /// Sees something of a server that goes on serving: unless the process ends, it takes the next connection.
    fn serve(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        seen: &Observation,
        listener: ListenerId,
        connection: Option<SocketId>,
    ) {
        if self.see(worker, process, seen, connection).is_continue() {
            worker.accept(listener);
        }
    }

    fn see(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        seen: &Observation,
        about: Option<SocketId>,
    ) -> Going {
        self.pen.write(process, seen);
        self.script.react(seen).into_iter().try_for_each(|command| self.obey(worker, process, command, about))
    }

    fn obey(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        command: WorkerCommand,
        about: Option<SocketId>,
    ) -> Going {
        match command {
            WorkerCommand::Listen { server, host, port } => {
                let listener = worker.listen(ListenAddress::Tcp { host, port, ipv6_only: false }.into());
                self.servers.insert(listener, server);
            }
            WorkerCommand::Close { server } => self.close(worker, &server),
            WorkerCommand::Send { text } => {
                // On a closed channel nothing is sent, as the scenario says.
                let _ = worker.send(&Value::String(text));
            }
            WorkerCommand::Disconnect => worker.disconnect(),
            WorkerCommand::Kill => worker.kill(),
            WorkerCommand::Env { name } => {
                let value = variable(process, &name);
                self.pen.write(process, &words::env(&name, value.as_deref()));
            }
            WorkerCommand::Reply { text } => {
                if let Some(connection) = about {
                    process.write(connection, format!("{text}\n").as_bytes());
                }
            }
            WorkerCommand::End => about.into_iter().for_each(|connection| process.end(connection)),
            WorkerCommand::EndAll => self.connections.keys().for_each(|connection| process.end(*connection)),
            WorkerCommand::Exit { .. } | WorkerCommand::Crash | WorkerCommand::Die { .. } => {
                leave(process, &command);
                return Going::Break(());
            }
        }
        Going::Continue(())
    }

    /// The newest server of this name.
    fn close(&self, worker: &mut Worker, name: &str) {
        let mut servers = self.servers.iter().rev();
        if let Some((listener, _)) = servers.find(|(_, server)| *server == name) {
            worker.close(*listener);
        }
    }
}

/// Ends the process, if that is the command.
fn leave(process: &mut Process<'_>, command: &WorkerCommand) {
    if let WorkerCommand::Die { signal } = command {
        return process.die(translate::signal(*signal));
    }
    process.exit(if let WorkerCommand::Exit { code } = command { *code } else { UNCAUGHT });
}

fn variable(process: &Process<'_>, name: &str) -> Option<String> {
    let mut given = process.env().iter().rev();
    given.find(|(given, _)| given == name).map(|(_, value)| value.clone())
}
