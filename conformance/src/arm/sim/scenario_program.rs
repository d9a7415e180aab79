//! A scenario as a program of the simulator: every process, and the driver, interprets its own part.
//!
//! Observations are canonical when written, because searches compare them. The driver receives real ports in
//! notices. Nothing is judged here.

use cluster_core::{Errno, Event, Primary, Worker, WorkerEvent};
use cluster_sim::{Actor, ClientEvent, ClientId, Driver, Process, Program, SocketEvent};

use super::NOWHERE;
use super::observation_writer::{ScenarioContext, observer};
use super::primary::SimPrimary;
use super::sim_clients::SimClients;
use super::worker::SimWorker;
use crate::scenario::User;

/// One executable for all roles. A process learns its role at the start.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScenarioProgram {
    context: ScenarioContext,
    role: Role,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Role {
    Unstarted,
    Primary(Box<SimPrimary>),
    Worker(Box<SimWorker>),
    Driver(Box<SimClients>),
}

impl ScenarioProgram {
    pub(super) fn new(context: ScenarioContext) -> Self {
        ScenarioProgram { context, role: Role::Unstarted }
    }

    fn sim_worker(&mut self) -> Option<&mut SimWorker> {
        if let Role::Worker(part) = &mut self.role { Some(part) } else { None }
    }

    fn clients(&mut self) -> Option<&mut SimClients> {
        if let Role::Driver(clients) = &mut self.role { Some(clients) } else { None }
    }
}

impl Program for ScenarioProgram {
    fn primary_start(&mut self, primary: &mut Primary, process: &mut Process<'_>) {
        let mut part = SimPrimary::new(self.context.clone());
        part.start(primary, process);
        self.role = Role::Primary(Box::new(part));
    }

    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
        if let Role::Primary(part) = &mut self.role {
            part.on_event(primary, process, &event);
        }
    }

    fn worker_start(&mut self, worker: &mut Worker, process: &mut Process<'_>) {
        let mut part = SimWorker::new(self.context.clone(), worker.id().0);
        part.start(worker, process);
        self.role = Role::Worker(Box::new(part));
    }

    fn worker_event(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        if let Some(part) = self.sim_worker() {
            part.on_event(worker, process, event);
        }
    }

    fn worker_socket(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: SocketEvent) {
        if let Some(part) = self.sim_worker() {
            part.socket(worker, process, event);
        }
    }

    fn primary_socket(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: SocketEvent) {
        if let Role::Primary(part) = &mut self.role {
            part.socket(primary, process, event);
        }
    }

    fn driver_start(&mut self, driver: &mut Driver<'_>) {
        if self.context.scenario.settings.user == Some(User::Nobody) {
            driver.drop_root();
        }
        driver.break_path(NOWHERE, Errno::ENOENT);
        self.role = Role::Driver(Box::new(SimClients::new(self.context.clone())));
    }

    fn observed(&mut self, driver: &mut Driver<'_>, actor: Actor, text: &str) {
        if let Some(clients) = self.clients() {
            clients.observed(driver, observer(actor), text);
        }
    }

    fn notified(&mut self, driver: &mut Driver<'_>, actor: Actor, text: &str) {
        if let Some(clients) = self.clients() {
            clients.notified(driver, observer(actor), text);
        }
    }

    fn client_event(&mut self, driver: &mut Driver<'_>, client: ClientId, event: ClientEvent) {
        if let Some(clients) = self.clients() {
            clients.on_event(driver, client, event);
        }
    }

    fn observer_of_client(&self, client: ClientId) -> ClientId {
        if let Role::Driver(clients) = &self.role { clients.number(client) } else { client }
    }
}
