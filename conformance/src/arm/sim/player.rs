//! A scenario as a program of the simulator: every process and the driver outside interpret their part of it.
//!
//! What is written down is canonical from the beginning, because searches compare it; the driver, who needs real ports,
//! is told them in notes. It judges nothing.

use cluster_core::{Errno, Event, Primary, Worker, WorkerEvent};
use cluster_sim::{Actor, ClientEvent, ClientId, Driver, Process, Program, SocketEvent};

use super::NOWHERE;
use super::pen::Play;
use super::primary::PrimaryPart;
use super::stage::Stage;
use super::worker::WorkerPart;
use crate::observation::Observer;
use crate::scenario::User;

/// One executable that knows its part when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Player {
    play: Play,
    part: Part,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Part {
    NotYet,
    Primary(Box<PrimaryPart>),
    Worker(Box<WorkerPart>),
    Driver(Box<Stage>),
}

impl Player {
    pub(super) fn new(play: Play) -> Self {
        Player { play, part: Part::NotYet }
    }

    fn worker_part(&mut self) -> Option<&mut WorkerPart> {
        if let Part::Worker(part) = &mut self.part { Some(part) } else { None }
    }

    fn stage(&mut self) -> Option<&mut Stage> {
        if let Part::Driver(stage) = &mut self.part { Some(stage) } else { None }
    }
}

/// Who this is, in our words.
pub(super) fn observer(actor: Actor) -> Observer {
    match actor {
        Actor::Primary => Observer::Primary,
        Actor::Worker(worker) => Observer::Worker(worker.0),
        Actor::Client(client) => Observer::Client(client.0),
    }
}

impl Program for Player {
    fn primary_start(&mut self, primary: &mut Primary, process: &mut Process<'_>) {
        let mut part = PrimaryPart::new(self.play.clone());
        part.start(primary, process);
        self.part = Part::Primary(Box::new(part));
    }

    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
        if let Part::Primary(part) = &mut self.part {
            part.hear(primary, process, &event);
        }
    }

    fn worker_start(&mut self, worker: &mut Worker, process: &mut Process<'_>) {
        let mut part = WorkerPart::new(self.play.clone(), worker.id().0);
        part.start(worker, process);
        self.part = Part::Worker(Box::new(part));
    }

    fn worker_event(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        if let Some(part) = self.worker_part() {
            part.hear(worker, process, event);
        }
    }

    fn worker_socket(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: SocketEvent) {
        if let Some(part) = self.worker_part() {
            part.socket(worker, process, event);
        }
    }

    fn primary_socket(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: SocketEvent) {
        if let Part::Primary(part) = &mut self.part {
            part.socket(primary, process, event);
        }
    }

    fn driver_start(&mut self, driver: &mut Driver<'_>) {
        if self.play.scenario.settings.user == Some(User::Nobody) {
            driver.drop_root();
        }
        driver.break_path(NOWHERE, Errno::ENOENT);
        self.part = Part::Driver(Box::new(Stage::new(self.play.clone())));
    }

    fn observed(&mut self, driver: &mut Driver<'_>, actor: Actor, text: &str) {
        if let Some(stage) = self.stage() {
            stage.observed(driver, observer(actor), text);
        }
    }

    fn notified(&mut self, driver: &mut Driver<'_>, actor: Actor, text: &str) {
        if let Some(stage) = self.stage() {
            stage.notified(driver, observer(actor), text);
        }
    }

    fn client_event(&mut self, driver: &mut Driver<'_>, client: ClientId, event: ClientEvent) {
        if let Some(stage) = self.stage() {
            stage.hear(driver, client, event);
        }
    }
}
