//! The simulator's own scenarios. The standard run: a primary, two workers, two connections, a graceful
//! disconnect.
//!
//! The figures are measured on the standard run, and most tests use the same program. Other scenarios have a
//! [`RandomProgram`]. The name of a [`Scenario`] is the complete definition, so [`replay`] can replay every
//! line. No scenario here is a scenario of conformance.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use cluster_core::{Event, ListenOptions, Primary, SocketId, Worker, WorkerEvent};
use serde_json::json;

use crate::{
    Actor, ClientEvent, ClientId, Driver, Ending, Failure, Faults, Process, Program, Schedule, World,
};

mod flood;
mod ping_pong;
mod pooled_tasks;
mod proofs;
mod random_program;
mod scenario;
mod supervised;
mod unknown_name;

pub use flood::{DisconnectBy, Flood};
pub use ping_pong::PingPong;
pub use pooled_tasks::{PooledTasks, TaskMove};
pub use proofs::{PROOFS, Proof};
pub use random_program::{PrimaryMove, RandomProgram, WorkerMove};
pub use scenario::{ReplayError, ReplayOutcome, Scenario, replay};
pub use supervised::{SupervisedServer, SupervisorMove};
pub use unknown_name::UnknownName;

/// A server on every worker answers each connection with the name of the worker. A dead worker is replaced,
/// up to a limit. When all clients are served, the cluster disconnects.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReplyServer {
    /// The number of workers.
    pub workers: u32,
    /// The number of clients, which connect when the first worker listens.
    pub clients: u32,
    /// The number of workers that may be replaced.
    pub replacements: u32,
    served: u32,
    connected: bool,
}

impl ReplyServer {
    /// A server with three replacements.
    pub fn new(workers: u32, clients: u32) -> Self {
        ReplyServer { workers, clients, replacements: 3, served: 0, connected: false }
    }
}

/// `serve-<workers>-<clients>[-<replacements>]`, or `standard`.
impl fmt::Display for ReplyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.workers, self.clients, self.replacements) {
            (2, 2, 3) => f.write_str("standard"),
            (workers, clients, 3) => write!(f, "serve-{workers}-{clients}"),
            (workers, clients, replacements) => write!(f, "serve-{workers}-{clients}-{replacements}"),
        }
    }
}

impl FromStr for ReplyServer {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let numbers = text.strip_prefix("serve-").unwrap_or(if text == "standard" { "2-2" } else { "" });
        let read = || {
            let mut parts = numbers.splitn(3, '-');
            let (workers, clients) = unknown_name::counts(parts.next()?, parts.next()?)?;
            let replacements = parts.next().map_or(Some(3), |text| text.parse().ok())?;
            Some(ReplyServer { replacements, ..ReplyServer::new(workers, clients) })
        };
        read().ok_or_else(|| UnknownName(text.to_owned()))
    }
}

impl Program for ReplyServer {
    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        for _ in 0..self.workers {
            primary.fork().expect("the settings are valid");
        }
    }

    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
        process.observe(name(&event));
        if let Event::Message { .. } = event {
            self.served += 1;
            if self.served == self.clients {
                primary.disconnect_all();
            }
        }
        if let Event::Exit { worker, .. } = event
            && self.served < self.clients
            && self.replacements > 0
            && primary.worker(worker).and_then(cluster_core::WorkerInfo::exited_after_disconnect)
                == Some(false)
        {
            self.replacements -= 1;
            primary.fork().expect("the settings are valid");
        }
    }

    fn worker_start(&mut self, worker: &mut Worker, _: &mut Process<'_>) {
        worker.listen(ListenOptions::default());
    }

    fn worker_event(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        if let WorkerEvent::Listening { listener, address, .. } = &event {
            process.notify_driver(address.port().to_string());
            worker.accept(*listener);
        }
        if let WorkerEvent::Connection { listener, .. } = event {
            process.observe("connection");
            worker.accept(listener);
        }
    }

    fn connection_data(&mut self, _: &mut Worker, process: &mut Process<'_>, connection: SocketId, _: &[u8]) {
        process.write(connection, process.actor().to_string().as_bytes());
        process.end(connection);
    }

    fn connection_end(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        connection: SocketId,
        _: Ending,
    ) {
        // Fails if the channel is closing.
        let _ = worker.send(json!("served"));
        process.close(connection);
    }

    fn notified(&mut self, driver: &mut Driver<'_>, _: Actor, port: &str) {
        let is_first = !std::mem::replace(&mut self.connected, true);
        for client in 0..if is_first { self.clients } else { 0 } {
            driver.connect_from(address_of(client), port.parse().unwrap_or(0));
        }
    }

    fn client_event(&mut self, driver: &mut Driver<'_>, client: ClientId, event: ClientEvent) {
        match event {
            ClientEvent::Connected => driver.send(client, b"hello"),
            ClientEvent::Refused => driver.observe(client, "refused"),
            ClientEvent::Data(bytes) => driver.observe(client, String::from_utf8_lossy(&bytes).into_owned()),
            ClientEvent::End => driver.observe(client, "end"),
            ClientEvent::Reset => driver.observe(client, "reset"),
            ClientEvent::Datagram { .. } => {}
        }
    }
}

/// The address of a client. Two successive clients have the same address.
fn address_of(client: u32) -> IpAddr {
    let [.., host] = (client / 2 + 1).to_be_bytes();
    IpAddr::from([127, 0, 0, host])
}

fn name(event: &Event) -> String {
    match event {
        Event::Setup { .. } => "setup".into(),
        Event::Fork { worker } => format!("fork {worker}"),
        Event::Online { worker } => format!("online {worker}"),
        Event::Listening { worker, .. } => format!("listening {worker}"),
        Event::Message { worker, .. } => format!("message {worker}"),
        Event::Disconnect { worker } => format!("disconnect {worker}"),
        Event::Exit { worker, .. } => format!("exit {worker}"),
        Event::Error { worker, .. } => format!("error {worker}"),
        Event::AcceptFailed { .. } => "accept failed".into(),
        Event::AllDisconnected => "all disconnected".into(),
    }
}

/// The world of the standard run, on a quiet schedule.
pub fn standard_world() -> World<ReplyServer> {
    Scenario::new(ReplyServer::new(2, 2)).world()
}

/// Runs the standard scenario with random choices and no faults; returns the number of steps.
///
/// # Errors
///
/// The first failed check.
pub fn run_standard(seed: u64) -> Result<u64, Box<Failure>> {
    let mut world = standard_world().on(Schedule::seed(seed));
    world.run().map(|()| world.steps())
}

/// Runs the standard scenario with random choices and a swarm of faults; returns the number of steps.
///
/// # Errors
///
/// The first failed check.
pub fn run_standard_with_faults(seed: u64) -> Result<u64, Box<Failure>> {
    let mut world = standard_world().with_faults(Faults::swarm(seed)).on(Schedule::seed(seed));
    world.run().map(|()| world.steps())
}
