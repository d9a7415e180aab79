//! A worker's part of a scenario on the real face: what is seen, and what is done at once in reaction.
//!
//! The tasks that hear something call [`Part::see`] themselves, without awaiting anything in between: so a reaction
//! comes before the next event, as in Node's listeners. Servers and connections are in `servers`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{env, process};

use cluster::{JoinError, ListenAddress, Worker, WorkerEvent};
use serde_json::Value;
use tokio::sync::oneshot;

use super::super::translate;
use super::UNCAUGHT;
use super::servers::{self, Talk};
use crate::observation::{Observation, Observer};
use crate::program::{self, WorkerCommand};
use crate::scenario::Scenario;
use crate::words;

/// Plays until there is nothing more to hear. As in Node, a worker has nothing left to do then.
pub(super) async fn play(scenario: &Scenario) -> Result<(), JoinError> {
    let worker = Worker::join()?;
    // It wants to see how its servers are closed.
    worker.stay();
    let part = Arc::new(Part::new(worker.clone(), scenario));
    part.see(&words::start(), None);
    while let Some(event) = worker.next().await {
        match event {
            WorkerEvent::Message { message, .. } => {
                part.see(&words::message(&translate::text(&message)), None);
            }
            WorkerEvent::Disconnect => {
                let (meant, connected) = (worker.exited_after_disconnect(), worker.is_connected());
                part.see(&words::disconnect(meant, connected), None);
            }
            WorkerEvent::Error(error) => {
                eprintln!("{error}");
                process::exit(UNCAUGHT);
            }
        }
    }
    Ok(())
}

/// A worker and its rules, shared by the tasks of its process.
pub(super) struct Part {
    pub(super) worker: Worker,
    state: Mutex<State>,
}

struct State {
    script: program::Worker,
    /// Dropped or used, it closes the server.
    servers: BTreeMap<String, oneshot::Sender<()>>,
    connections: BTreeMap<u32, Arc<Talk>>,
    last_connection: u32,
}

impl Part {
    fn new(worker: Worker, scenario: &Scenario) -> Self {
        let script = program::Worker::new(scenario, worker.id().0);
        let (servers, connections) = (BTreeMap::new(), BTreeMap::new());
        Part { worker, state: Mutex::new(State { script, servers, connections, last_connection: 0 }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a line down and does what the rules say. `about` is the connection it is about.
    pub(super) fn see(self: &Arc<Self>, seen: &Observation, about: Option<&Talk>) {
        self.write(seen);
        let commands = self.state().script.react(seen);
        for command in commands {
            self.obey(command, about);
        }
    }

    /// A connection is open: it gets a number.
    pub(super) fn keep(&self, talk: &Arc<Talk>) -> u32 {
        let mut state = self.state();
        state.last_connection += 1;
        let number = state.last_connection;
        state.connections.insert(number, talk.clone());
        number
    }

    /// A connection is over.
    pub(super) fn forget(&self, number: u32) {
        let talk = self.state().connections.remove(&number);
        // Closing it may close a server, and that is not done under the lock.
        drop(talk);
    }

    fn write(&self, seen: &Observation) {
        super::write(Observer::Worker(self.worker.id().0), seen);
    }

    fn obey(self: &Arc<Self>, command: WorkerCommand, about: Option<&Talk>) {
        match command {
            WorkerCommand::Listen { server, host, port } => {
                let options = ListenAddress::Tcp { host, port, ipv6_only: false }.into();
                let closing = servers::open(self.clone(), server.clone(), options);
                self.state().servers.insert(server, closing);
            }
            WorkerCommand::Close { server } => drop(self.state().servers.remove(&server)),
            WorkerCommand::Send { text } => {
                // On a closed channel nothing is sent, as the scenario says.
                let _ = self.worker.send(&Value::String(text));
            }
            WorkerCommand::Disconnect => self.worker.disconnect(),
            WorkerCommand::Kill => self.worker.kill(),
            WorkerCommand::Env { name } => {
                self.write(&words::env(&name, env::var(&name).ok().as_deref()));
            }
            WorkerCommand::Reply { text } => about.into_iter().for_each(|talk| talk.say(&text)),
            WorkerCommand::End => about.into_iter().for_each(Talk::end),
            WorkerCommand::EndAll => self.state().connections.values().for_each(|talk| talk.end()),
            WorkerCommand::Exit { code } => process::exit(code),
            WorkerCommand::Crash => process::exit(UNCAUGHT),
            WorkerCommand::Die { signal } => super::die(signal),
        }
    }
}
