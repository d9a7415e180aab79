//! The sticky policy in a small world, on every schedule, with successive connections from the same address.

use std::net::Ipv4Addr;

use cluster_core::{
    Event, ListenOptions, Primary, SchedulingPolicy, Settings, Worker, WorkerEvent, WorkerInfo,
};
use cluster_sim::explore::exhaustive;
use cluster_sim::{Actor, ClientEvent, ClientId, Driver, Fault, Faults, Process, Program, Schedule, World};

/// Workers that close each connection at once. The first client connects when every worker listens, each
/// further client when the client before has ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Visits {
    workers: u32,
    /// The number of further visits.
    left: u32,
    /// Each visit has another address.
    from_everywhere: bool,
    listening: u32,
    port: u16,
}

impl Visits {
    fn new(workers: u32, visits: u32) -> Self {
        Visits { workers, left: visits, from_everywhere: false, listening: 0, port: 0 }
    }

    fn world(self) -> World<Self> {
        World::new(self, Settings { policy: SchedulingPolicy::Sticky, ..Settings::default() })
    }

    fn visit(&mut self, driver: &mut Driver<'_>) {
        if self.left > 0 {
            self.left -= 1;
            let host = if self.from_everywhere { self.left } else { 1 };
            driver.connect_from(Ipv4Addr::from_bits(0x7f00_0000 + host).into(), self.port);
        }
    }
}

impl Program for Visits {
    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        for _ in 0..self.workers {
            primary.fork().expect("the settings are valid");
        }
    }

    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
        if let Event::Disconnect { worker } = event {
            let served = primary.worker(worker).map_or(0, WorkerInfo::acknowledged_connections);
            process.observe(format!("worker {worker} has served {served}"));
        }
    }

    fn worker_start(&mut self, worker: &mut Worker, _: &mut Process<'_>) {
        worker.listen(ListenOptions::default());
    }

    fn worker_event(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        match event {
            WorkerEvent::Listening { listener, address, .. } => {
                process.notify_driver(address.port().to_string());
                worker.accept(listener);
            }
            WorkerEvent::Connection { listener, connection } => {
                process.observe("connection");
                process.close(connection);
                worker.accept(listener);
            }
            WorkerEvent::ListenFailed { .. }
            | WorkerEvent::Closed { .. }
            | WorkerEvent::Message { .. }
            | WorkerEvent::LameDuck
            | WorkerEvent::Disconnect
            | WorkerEvent::Error { .. } => {}
        }
    }

    fn notified(&mut self, driver: &mut Driver<'_>, _: Actor, port: &str) {
        self.listening += 1;
        self.port = port.parse().expect("a port number");
        if self.listening == self.workers {
            self.visit(driver);
        }
    }

    fn client_event(&mut self, driver: &mut Driver<'_>, _: ClientId, event: ClientEvent) {
        if event == ClientEvent::End {
            self.visit(driver);
        }
    }
}

/// The workers that served connections, in order.
fn servers(visits: Visits, seed: u64) -> Vec<Actor> {
    let mut world = visits.world().on(Schedule::seed(seed));
    world.run().expect("every check holds");
    let connections = world.observations().filter(|line| line.text == "connection");
    connections.map(|line| line.observer).collect()
}

/// Eight visits from one address reach the same worker; visits from many addresses reach every worker.
#[test]
fn address_decides_worker() {
    for seed in 0..20 {
        let of_one = servers(Visits::new(3, 8), seed);
        assert!(of_one.len() == 8 && of_one.iter().all(|server| *server == of_one[0]), "{of_one:?}");
        let of_many = servers(Visits { from_everywhere: true, ..Visits::new(3, 30) }, seed);
        for worker in 1..=3 {
            assert!(of_many.contains(&Actor::Worker(cluster_core::WorkerId(worker))), "{of_many:?}");
        }
    }
}

/// Every run of two workers and visits of the same address, without a fault and with a kill at any call.
#[test]
fn visits_hold_on_every_schedule() {
    for (visits, kills) in [(2, 0), (2, 1), (3, 1)] {
        let faults = Faults::only(&[Fault::Kill]).limit(kills);
        let world = Visits::new(2, visits).world().with_faults(faults);
        let coverage = exhaustive(&world, 1_000_000).expect("every check holds");
        println!("{visits} visits, {kills} kills: {coverage}");
        assert!(coverage.is_complete(), "{visits} visits, {kills} kills: {coverage}");
    }
}
