//! A worker that does not come back from what it does: nothing reaches it until a file appears, or ever.
#![expect(clippy::wildcard_enum_match_arm, reason = "a program hears what concerns it and lets the rest be")]

use cluster_core::{BindAddress, Event, Primary, Settings, Signal, Worker, WorkerEvent, WorkerId};
use cluster_sim::{Actor, Fault, Faults, Process, Program, Schedule, World};
use serde_json::json;

const GATE: &str = "/run/gate";
const WORKER: WorkerId = WorkerId(1);

/// The worker says that it hangs, and hangs; what it is told then it hears when the primary opens the gate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Gate {
    /// Nobody ever opens it: the worker is killed.
    shut: bool,
}

impl Program for Gate {
    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        primary.fork().expect("nothing impossible was set up");
    }

    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
        match event {
            Event::Message { message, .. } if message == "hangs" => {
                process.observe("it hangs");
                primary.send(WORKER, json!("hello")).expect("it is connected");
                if self.shut {
                    primary.kill(WORKER, Signal::SIGKILL);
                } else {
                    let gate =
                        BindAddress::Path { path: GATE.into(), readable_all: false, writable_all: false };
                    process.open(&gate, Some(1)).expect("nothing is there");
                }
            }
            Event::Exit { status, .. } => process.observe(format!("it is gone: {status:?}")),
            _ => {}
        }
    }

    fn worker_start(&mut self, worker: &mut Worker, process: &mut Process<'_>) {
        worker.send(json!("hangs")).expect("the channel is open");
        process.block(worker, (!self.shut).then_some(GATE));
    }

    fn worker_event(&mut self, _: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        if let WorkerEvent::Message { message, .. } = event {
            process.observe(message.json_text().expect("it is JSON").into_owned());
            process.exit(0);
        }
    }
}

fn lines(program: Gate, faults: Faults, seed: u64) -> Vec<String> {
    let mut world = World::new(program, Settings::default()).with_faults(faults).on(Schedule::seed(seed));
    world.run().expect("no check fails");
    assert_eq!(world.running().collect::<Vec<_>>(), [Actor::Primary]);
    world.observations().map(|line| format!("{}: {}", line.observer, line.text)).collect()
}

#[test]
fn who_hangs_hears_everything_when_the_gate_is_open_and_not_before() {
    for seed in 0..200 {
        let faults = Faults::only(&[Fault::Stop, Fault::PartialRead]);
        let faults = if seed % 2 == 0 { faults } else { Faults::none() };
        let seen = lines(Gate { shut: false }, faults, seed);
        assert_eq!(seen, ["primary: it hangs", "worker 1: \"hello\"", "primary: it is gone: Code(0)"]);
    }
}

#[test]
fn who_hangs_for_ever_hears_nothing_and_is_killed() {
    for seed in 0..200 {
        let faults = Faults::only(&[Fault::Stop]);
        let seen = lines(Gate { shut: true }, faults, seed);
        assert_eq!(seen, ["primary: it hangs", "primary: it is gone: Signal(SIGKILL)"]);
    }
}
