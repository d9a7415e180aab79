//! Clusters with high counters: the counters of every machine and of every table of sockets start just below
//! 2^32 or 2^53. Worker ids still start at 1, because they are indexes of the simulator's process table.

use cluster_core::{Event, Primary, Settings, SocketId, Worker, WorkerEvent};
use cluster_sim::prop::{Run, check};
use cluster_sim::scenarios::ReplyServer;
use cluster_sim::{Actor, ClientEvent, ClientId, Driver, Faults, Process, Program, Schedule, World};
use proptest::prelude::*;

const OLD_END: u64 = 1 << 32;

/// [`ReplyServer`], in processes with counters that continue after a large number.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct HighCounters {
    last: u64,
    serve: ReplyServer,
}

impl Program for HighCounters {
    fn primary_start(&mut self, primary: &mut Primary, process: &mut Process<'_>) {
        primary.count_after(self.last);
        process.count_sockets_after(SocketId(self.last));
        self.serve.primary_start(primary, process);
    }

    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
        self.serve.primary_event(primary, process, event);
    }

    fn worker_start(&mut self, worker: &mut Worker, process: &mut Process<'_>) {
        worker.count_after(self.last);
        process.count_sockets_after(SocketId(self.last));
        self.serve.worker_start(worker, process);
    }

    fn worker_event(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        self.serve.worker_event(worker, process, event);
    }

    fn connection_data(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        connection: SocketId,
        bytes: &[u8],
    ) {
        self.serve.connection_data(worker, process, connection, bytes);
    }

    fn observed(&mut self, driver: &mut Driver<'_>, observer: Actor, text: &str) {
        self.serve.observed(driver, observer, text);
    }

    fn notified(&mut self, driver: &mut Driver<'_>, author: Actor, text: &str) {
        self.serve.notified(driver, author, text);
    }

    fn client_event(&mut self, driver: &mut Driver<'_>, client: ClientId, event: ClientEvent) {
        self.serve.client_event(driver, client, event);
    }

    fn driver_start(&mut self, driver: &mut Driver<'_>) {
        self.serve.driver_start(driver);
    }
}

fn world(last: u64, workers: u32, clients: u32) -> World<HighCounters> {
    World::new(HighCounters { last, serve: ReplyServer::new(workers, clients) }, Settings::default())
}

/// Across 2^32, every connection is served and every check holds, under any schedule and fault.
#[test]
fn counters_hold_every_check() {
    let lasts = (1..12_u64).prop_map(|before| OLD_END - before);
    let worlds = (lasts, 1..4_u32, 1..6_u32, any::<bool>()).prop_map(|(last, workers, clients, faulty)| {
        let world = world(last, workers, clients);
        if faulty { world.with_faults(Faults::all()) } else { world }
    });
    let broken = check(worlds, |_| Ok(())).map_or_else(|broken| broken.to_string(), |()| String::new());
    assert!(broken.is_empty(), "{broken}");
}

/// High counters change only the ids of sockets in a run.
#[test]
fn counters_change_no_run() {
    for seed in 0..32 {
        let observed = [0, OLD_END - 3, (1 << 53) - 5_000].map(|last| {
            let run = Run::new(world(last, 2, 4), Schedule::seed(seed));
            assert_eq!(run.outcome().map_err(|failure| failure.to_string()), Ok(()), "after {last}");
            run.world().observations().map(|line| format!("{line:?}")).collect::<Vec<_>>()
        });
        assert!(observed.iter().all(|lines| *lines == observed[0]), "seed {seed}: {observed:?}");
    }
}
