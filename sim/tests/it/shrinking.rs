//! Shrinking keeps only the parts that a bug needs: a planted bug that needs three preemptions shrinks to
//! three preemptions.

use std::sync::atomic::AtomicBool;

use cluster_core::{Event, Primary, Settings, Worker, WorkerEvent, WorkerId};
use cluster_sim::prop::{Run, runs};
use cluster_sim::{Fault, Faults, Process, Program, Schedule, World};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestError, TestRunner};
use serde_json::json;

/// Three rounds. In each round the primary writes to a worker and continues at once; the worker answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Rounds {
    to: [u64; 3],
    online: u32,
}

impl Rounds {
    /// Writes to the worker of this round, and forks another worker: the primary receives the event of this
    /// fork after the write.
    fn play(&self, round: usize, primary: &mut Primary, process: &mut Process<'_>) {
        process.observe(format!("round {round}"));
        if let Some(&to) = self.to.get(round) {
            let _ = primary.send(WorkerId(to), json!(round));
            primary.fork().expect("the settings are valid");
        }
    }
}

impl Program for Rounds {
    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        for _ in 0..3 {
            primary.fork().expect("the settings are valid");
        }
    }

    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
        self.online += u32::from(matches!(event, Event::Online { .. }));
        match event {
            Event::Online { .. } if self.online == 3 => self.play(0, primary, process),
            Event::Fork { worker: WorkerId(n @ 4..) } => {
                let round = usize::try_from(n).expect("few workers") - 3;
                self.play(round, primary, process);
            }
            Event::Fork { .. }
            | Event::Online { .. }
            | Event::Listening { .. }
            | Event::Setup { .. }
            | Event::Message { .. }
            | Event::Disconnect { .. }
            | Event::Exit { .. }
            | Event::Error { .. }
            | Event::AcceptFailed { .. }
            | Event::AllDisconnected => {}
        }
    }

    fn worker_start(&mut self, worker: &mut Worker, _: &mut Process<'_>) {
        let _ = worker.send(json!("hello"));
    }

    fn worker_event(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        if let WorkerEvent::Message { message, handle: _ } = event {
            process.observe(format!("got {}", message.json_text().expect("valid JSON")));
            let _ = worker.send(&message);
        }
    }
}

/// The planted bug: in every round, the worker receives its message before the primary ends the round. The
/// primary plays all rounds in one reaction, so three preemptions are needed.
fn some_worker_is_slower(world: &World<Rounds>) -> Result<(), TestCaseError> {
    let place = |wanted: &str| world.observations().position(|observation| observation.text == wanted);
    let is_fast = |round: usize| {
        let got = place(&format!("got {round}"));
        got.is_some_and(|got| place(&format!("round {}", round + 1)).is_some_and(|next| got < next))
    };
    prop_assert!(!(0..3).all(is_fast));
    Ok(())
}

/// The run of a trial, after shrinking.
fn trial(n: u64, to: [u64; 3]) -> Run<Rounds> {
    let faults = Faults::only(&[Fault::Kill, Fault::PartialRead, Fault::ShortWrite, Fault::LostDescriptor]);
    let world = World::new(Rounds { to, online: 0 }, Settings::default()).with_faults(faults);
    let config = ProptestConfig {
        cases: 200_000,
        rng_seed: RngSeed::Fixed(n),
        failure_persistence: None,
        max_shrink_iters: 10_000,
        ..ProptestConfig::default()
    };
    let found = TestRunner::new(config).run(&runs(Just(world)), |run| some_worker_is_slower(run.world()));
    let Err(TestError::Fail(_, run)) = found else { unreachable!("the bug is planted: {found:?}") };
    run
}

/// At least 29 of 30 trials shrink to exactly the three preemptions.
#[test]
fn runs_shrink_to_three_preemptions() {
    let targets = [[1, 2, 3], [1, 1, 1], [2, 1, 2]];
    let left = (0..30).zip(targets.into_iter().cycle()).map(|(n, to)| {
        let run = trial(n, to);
        (run.preemptions(), run.faults())
    });
    let least = left.filter(|left| *left == (3, 0)).count();
    assert!(least >= 29, "{least}");
}

/// After a stop, shrinking tries nothing further, and keeps the smallest run.
#[test]
fn shrinking_stops_at_once() {
    static STOP: AtomicBool = AtomicBool::new(true);
    let world = || World::new(Rounds { to: [1, 2, 3], online: 0 }, Settings::default());
    let run = Run::new(world(), Schedule::seed(3));
    let line = run.line();
    let shrunk = run.shrunk_until(&STOP, |_| unreachable!("no run is tried"));
    assert_eq!(shrunk.line(), line);
}
