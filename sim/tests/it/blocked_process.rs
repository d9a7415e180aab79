//! A worker that is blocked in a hook receives nothing until a path exists, or until the end of the run.

use cluster_core::{BindAddress, Event, Primary, Settings, Signal, Worker, WorkerEvent, WorkerId};
use cluster_sim::{Actor, Fault, Faults, Process, Program, Schedule, World};
use serde_json::json;

const GATE: &str = "/run/gate";
const WORKER: WorkerId = WorkerId(1);

/// The worker reports the block, and blocks. The primary's message arrives only after the primary has created
/// the path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct BlockedWorker {
    /// The path is never created, and the primary kills the worker.
    killed: bool,
}

impl Program for BlockedWorker {
    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        primary.fork().expect("the settings are valid");
    }

    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
        match event {
            Event::Message { message, .. } if message == "blocks" => {
                process.observe("blocked");
                primary.send(WORKER, json!("hello")).expect("a connected worker");
                if self.killed {
                    primary.kill(WORKER, Signal::SIGKILL);
                } else {
                    let gate =
                        BindAddress::Path { path: GATE.into(), readable_all: false, writable_all: false };
                    process.open(&gate, Some(1)).expect("a free path");
                }
            }
            Event::Exit { status, .. } => process.observe(format!("exit {status:?}")),
            _ => {}
        }
    }

    fn worker_start(&mut self, worker: &mut Worker, process: &mut Process<'_>) {
        worker.send(json!("blocks")).expect("the channel is open");
        process.block(worker, (!self.killed).then_some(GATE));
    }

    fn worker_event(&mut self, _: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        if let WorkerEvent::Message { message, .. } = event {
            process.observe(message.json_text().expect("valid JSON").into_owned());
            process.exit(0);
        }
    }
}

#[track_caller]
fn lines(program: BlockedWorker, faults: Faults, seed: u64) -> Vec<String> {
    let mut world = World::new(program, Settings::default()).with_faults(faults).on(Schedule::seed(seed));
    world.run().expect("every check holds");
    assert_eq!(world.running().collect::<Vec<_>>(), [Actor::Primary]);
    world.observations().map(|line| format!("{}: {}", line.observer, line.text)).collect()
}

#[test]
fn blocked_worker_continues_at_path() {
    for seed in 0..200 {
        let faults = Faults::only(&[Fault::Stop, Fault::PartialRead]);
        let faults = if seed % 2 == 0 { faults } else { Faults::none() };
        let seen = lines(BlockedWorker { killed: false }, faults, seed);
        assert_eq!(seen, ["primary: blocked", "worker 1: \"hello\"", "primary: exit Code(0)"]);
    }
}

#[test]
fn blocked_worker_can_be_killed() {
    for seed in 0..200 {
        let faults = Faults::only(&[Fault::Stop]);
        let seen = lines(BlockedWorker { killed: true }, faults, seed);
        assert_eq!(seen, ["primary: blocked", "primary: exit Signal(SIGKILL)"]);
    }
}
