//! The events of a supervised primary obey the contract that every scenario has: Node's events in Node's
//! order.

use std::collections::BTreeSet;
use std::path::Path;

use cluster_core::{SocketId, Supervisor, SupervisorEvent, Worker, WorkerEvent};
use cluster_sim::scenarios::{SupervisedServer, SupervisorMove};
use cluster_sim::{
    Actor, ClientEvent, ClientId, Driver, Ending, Fault, Faults, Process, Program, Schedule, World,
};

use super::translate;
use crate::observation::{Line, Observer};
use crate::order::{self, Misfit};
use crate::scenario::Scenario;
use crate::trace::Trace;
use crate::vocabulary;

const SCENARIO: &str = r#"{
  "name": "supervised",
  "description": "A supervisor disconnects workers at any time.",
  "primary": [
    { "on": "start", "do": [{ "fork": 2 }] },
    { "on": "message text=never", "do": ["disconnect_all"] }
  ],
  "worker": [{ "on": "start", "do": [{ "listen": { "server": "web" } }] }],
  "contract": [{ "because": "Once.", "seen": "primary: fork worker=1", "times": 1 }]
}"#;

/// The supervised server, with lines written for the primary and for its workers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct WritingServer(SupervisedServer);

impl Program for WritingServer {
    fn supervisor_event(
        &mut self,
        supervisor: &mut Supervisor,
        process: &mut Process<'_>,
        event: SupervisorEvent,
    ) {
        if let SupervisorEvent::Primary(event) = &event {
            let known = |worker| supervisor.primary().worker(worker);
            let line = translate::event(event, "/run", 0, known, &mut |_, _| "nothing");
            if let Some(line) = line {
                process.observe(line.to_string());
            }
        }
        self.0.supervisor_event(supervisor, process, event);
    }

    fn worker_start(&mut self, worker: &mut Worker, process: &mut Process<'_>) {
        process.observe(vocabulary::start().to_string());
        self.0.worker_start(worker, process);
    }

    fn worker_event(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        if let WorkerEvent::Listening { address, .. } = &event {
            process.observe(vocabulary::listening("web", &translate::local(address)).to_string());
        }
        if let WorkerEvent::Closed { .. } = &event {
            process.observe(vocabulary::server("closed", "web").to_string());
        }
        self.0.worker_event(worker, process, event);
    }

    fn connection_data(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        connection: SocketId,
        bytes: &[u8],
    ) {
        self.0.connection_data(worker, process, connection, bytes);
    }

    fn connection_end(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        connection: SocketId,
        ending: Ending,
    ) {
        self.0.connection_end(worker, process, connection, ending);
    }

    fn notified(&mut self, driver: &mut Driver<'_>, author: Actor, text: &str) {
        self.0.notified(driver, author, text);
    }

    fn client_event(&mut self, driver: &mut Driver<'_>, client: ClientId, event: ClientEvent) {
        self.0.client_event(driver, client, event);
    }
}

/// The trace of the primary and of the workers, and whether only the primary runs at the end.
fn run(command: SupervisorMove, faults: Faults, seed: u64) -> (Trace, bool) {
    let settings = cluster_core::SupervisorSettings::new(2);
    let world = World::supervised(WritingServer(SupervisedServer::new(2, 2, command)), settings);
    let mut world = world.with_faults(faults).on(Schedule::seed(seed));
    world.run().expect("every check holds");
    let lines = world.observations().filter_map(|line| {
        let observer = match line.observer {
            Actor::Primary => Observer::Primary,
            Actor::Worker(worker) => Observer::Worker(worker.0),
            Actor::Client(_) => return None,
        };
        Some(Line { observer, observation: line.text.parse().expect("a line of this test") })
    });
    let mut trace = Trace::of(lines, &BTreeSet::new());
    if !faults.is_none() {
        // A worker may be killed at its first call, the write of `online`. Then the primary cannot observe
        // the start.
        trace.observers.retain(|observer, lines| *observer == Observer::Primary || lines.len() > 1);
    }
    (trace, world.running().eq([Actor::Primary]))
}

fn misfits(trace: &Trace) -> Vec<Misfit> {
    let scenario = Scenario::parse(Path::new("supervised.json"), SCENARIO).expect("the scenario above");
    order::check(&scenario, trace)
}

const COMMANDS: [SupervisorMove; 5] = [
    SupervisorMove::Serve,
    SupervisorMove::Reload,
    SupervisorMove::ReloadAndShutdown,
    SupervisorMove::ScaleDown,
    SupervisorMove::Shutdown,
];

/// Every command, with and without faults. A worker that still runs at the end, or that outlives a killed
/// primary, lacks its last events. Therefore a missing line counts only if nothing but the primary runs.
#[test]
fn supervised_events_keep_the_contract() {
    const FAULTS: [Fault; 6] = [
        Fault::Kill,
        Fault::Grandchild,
        Fault::SpawnFailure,
        Fault::LostDescriptor,
        Fault::ShortWrite,
        Fault::PartialRead,
    ];
    let mut complete = [0, 0];
    for command in COMMANDS {
        for seed in 0..100 {
            let faults = if seed % 2 == 0 { Faults::none() } else { Faults::only(&FAULTS) };
            let (trace, is_complete) = run(command, faults, seed);
            complete[usize::from(!faults.is_none())] += u32::from(is_complete);
            let misfits = misfits(&trace).into_iter().filter(|misfit| is_complete || misfit.seen.is_some());
            assert_eq!(misfits.collect::<Vec<_>>(), [], "{command:?}, seed {seed}:\n{trace}");
        }
    }
    assert!(complete[0] > 80 && complete[1] > 20, "{complete:?} whole runs without and with faults");
}

/// The contract rejects a swap of `online` and `listening`, and a second `exit`.
#[test]
fn supervised_events_out_of_order_fail() {
    let (trace, _) = run(SupervisorMove::Shutdown, Faults::none(), 0);
    let lines = trace.seen_by(Observer::Primary);
    let at = |what: &str| lines.iter().position(|line| line.what == what).expect(what);
    let (online, listening, exit) = (at("online"), at("listening"), at("exit"));
    let planted = |change: &dyn Fn(&mut Vec<crate::observation::Observation>)| {
        let mut trace = trace.clone();
        change(trace.observers.get_mut(&Observer::Primary).expect("the lines of the primary"));
        misfits(&trace)
    };
    assert_eq!(planted(&|_| ()), []);
    assert_ne!(planted(&|lines| lines.swap(online, listening)), []);
    assert_ne!(planted(&|lines| lines.push(lines[exit].clone())), []);
}
