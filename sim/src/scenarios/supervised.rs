//! A supervised server: the workers answer clients while the supervisor reloads, scales or shuts down.

use cluster_core::{
    Event, ListenOptions, Signal, SocketId, Supervisor, SupervisorEvent, SupervisorSettings, Worker,
    WorkerEvent, WorkerId,
};

use super::address_of;
use crate::{ClientEvent, ClientId, Driver, Ending, Process, Program, World};

/// The action of the program when every slot is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SupervisorMove {
    /// Nothing.
    Serve,
    /// Shuts down when a client has received its answer, or when a replacement is ready. Needed with
    /// heartbeats, which never end by themselves.
    ServeOnce,
    /// Reloads.
    Reload,
    /// Reloads, and shuts down when a message of the second worker arrives.
    ReloadAndShutdown,
    /// Reloads, and abandons the reload when its first successor was forked.
    ReloadAndAbandon,
    /// Removes one slot.
    ScaleDown,
    /// Shuts down.
    Shutdown,
    /// Requests a shutdown twice in a row, as `timeout(1)` does.
    ShutdownTwice,
    /// Shuts down, and also disconnects every worker without the supervisor: a mistake of the program.
    DisconnectAll,
}

/// A server on every worker echoes one message to each client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SupervisedServer {
    workers: u32,
    clients: u32,
    command: SupervisorMove,
    /// Workers from this id on do not listen. Without a command, they also exit.
    broken_from: Option<WorkerId>,
    leaves_child: bool,
    ready: u32,
    connected: bool,
}

impl SupervisedServer {
    /// A server on this number of workers, with clients that connect when the first worker listens.
    pub fn new(workers: u32, clients: u32, command: SupervisorMove) -> Self {
        SupervisedServer {
            workers,
            clients,
            command,
            broken_from: None,
            leaves_child: false,
            ready: 0,
            connected: false,
        }
    }

    /// Workers from this id on never listen, as after a bad deployment. With [`SupervisorMove::Serve`] they
    /// exit at the start.
    #[must_use]
    pub fn broken_from(mut self, worker: WorkerId) -> Self {
        self.broken_from = Some(worker);
        self
    }

    /// At its first connection, a worker starts a child and is killed. The child inherits the channel and the
    /// connection, and never ends by itself.
    #[must_use]
    pub fn leaving_child(mut self) -> Self {
        self.leaves_child = true;
        self
    }

    /// The world with these settings, on a quiet schedule.
    pub fn world_with(self, settings: SupervisorSettings) -> World<Self> {
        World::supervised(self, settings).named("supervised")
    }

    /// The world with the default settings, on a quiet schedule.
    pub fn world(self) -> World<Self> {
        let settings = SupervisorSettings::new(self.workers);
        self.world_with(settings)
    }

    fn act(&self, supervisor: &mut Supervisor) {
        match self.command {
            SupervisorMove::Serve | SupervisorMove::ServeOnce => {}
            SupervisorMove::Reload | SupervisorMove::ReloadAndShutdown | SupervisorMove::ReloadAndAbandon => {
                supervisor.reload();
            }
            SupervisorMove::ScaleDown => supervisor.scale(self.workers - 1).expect("a possible number"),
            SupervisorMove::Shutdown => supervisor.shutdown(),
            SupervisorMove::ShutdownTwice => {
                supervisor.shutdown();
                supervisor.shutdown();
            }
            SupervisorMove::DisconnectAll => {
                supervisor.shutdown();
                supervisor.primary_mut().disconnect_all();
            }
        }
    }
}

impl Program for SupervisedServer {
    fn supervisor_event(&mut self, supervisor: &mut Supervisor, _: &mut Process<'_>, event: SupervisorEvent) {
        if let SupervisorEvent::SlotReady { .. } = event {
            self.ready += 1;
            if self.ready == self.workers {
                self.act(supervisor);
            }
            if self.command == SupervisorMove::ServeOnce && self.ready > self.workers {
                supervisor.shutdown();
            }
        }
        if self.command == SupervisorMove::ReloadAndAbandon
            && let SupervisorEvent::Primary(Event::Fork { worker }) = event
            && worker.0 > u64::from(self.workers)
        {
            supervisor.abandon_reload();
        }
        if let SupervisorEvent::Primary(Event::Message { .. }) = event {
            supervisor.shutdown();
        }
    }

    fn worker_start(&mut self, worker: &mut Worker, process: &mut Process<'_>) {
        if self.broken_from.is_some_and(|first| worker.id() >= first) {
            if self.command == SupervisorMove::Serve {
                process.exit(1);
            }
            return;
        }
        worker.listen(ListenOptions::default());
    }

    fn worker_event(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        if let WorkerEvent::Listening { listener, address, .. } = &event {
            process.notify_driver(address.port().to_string());
            worker.accept(*listener);
            if self.command == SupervisorMove::ReloadAndShutdown && worker.id() == WorkerId(2) {
                // Fails if the channel is closing.
                let _ = worker.send("shutdown");
            }
        }
        if let WorkerEvent::Connection { listener, .. } = event {
            worker.accept(listener);
        }
    }

    fn connection_data(&mut self, _: &mut Worker, process: &mut Process<'_>, connection: SocketId, _: &[u8]) {
        if std::mem::take(&mut self.leaves_child) {
            process.leave_child(connection);
            return process.raise(Signal::SIGKILL);
        }
        process.write(connection, b"answer");
        process.end(connection);
    }

    fn connection_end(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        connection: SocketId,
        _: Ending,
    ) {
        process.close(connection);
        if self.command == SupervisorMove::ServeOnce {
            // Fails if the channel is closing.
            let _ = worker.send("shutdown");
        }
    }

    fn notified(&mut self, driver: &mut Driver<'_>, _: crate::Actor, port: &str) {
        let is_first = !std::mem::replace(&mut self.connected, true);
        for client in 0..if is_first { self.clients } else { 0 } {
            driver.connect_from(address_of(client), port.parse().unwrap_or(0));
        }
    }

    fn client_event(&mut self, driver: &mut Driver<'_>, client: ClientId, event: ClientEvent) {
        match event {
            ClientEvent::Connected => driver.send(client, b"hello"),
            ClientEvent::Data(_) => driver.observe(client, "answered"),
            ClientEvent::Refused => driver.observe(client, "refused"),
            ClientEvent::Reset => driver.observe(client, "reset"),
            ClientEvent::End | ClientEvent::Datagram { .. } => {}
        }
    }
}
