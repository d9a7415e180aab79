//! Every run of small worlds.

use std::sync::atomic::{AtomicBool, Ordering};

use cluster_core::{Event, Primary, Settings};
use cluster_sim::explore::{Bound, Budget, Coverage, exhaustive, one_per_equivalence_class};
use cluster_sim::scenarios::{DisconnectBy, Flood, RandomProgram, ReplyServer, Scenario};
use cluster_sim::{Fault, Faults, Process, Program, World};

#[track_caller]
fn all<P: Program>(world: &World<P>, name: &str) -> Coverage {
    let coverage = exhaustive(world, 3_000_000).expect("every check holds");
    println!("{name}: {coverage}");
    assert!(coverage.is_complete(), "{name}: {coverage}");
    coverage
}

fn plan(name: &str) -> World<RandomProgram> {
    name.parse::<Scenario<RandomProgram>>().expect("a scenario name").world()
}

/// Small worlds that the proofs do not cover.
#[test]
fn small_worlds_hold_on_every_schedule() {
    for name in ["serve-1-1+shared", "serve-2-0"] {
        all(&name.parse::<Scenario<ReplyServer>>().expect("a scenario name").world(), name);
    }
    all(&plan("plan-1-1-..d1-.d"), "plan-1-1-..d1-.d");
}

/// Both directions are full before either process has read anything, and either process may disconnect.
#[test]
fn floods_end_on_every_schedule() {
    for flood in Flood::ALL {
        let world = World::new(flood, narrow()).with_channel_bytes(24);
        all(&world, &format!("{flood:?}"));
    }
}

/// Limits that are shorter than one answer.
fn narrow() -> Settings {
    let mut settings = Settings::default();
    settings.limits.unsent_bytes = 64;
    settings.limits.congested_bytes = 16;
    settings.limits.answer_bytes = 16;
    settings
}

/// Each write of a handoff fails once, with each error.
#[test]
fn failed_write_holds_on_every_schedule() {
    let faults = Faults::only(&[Fault::WriteFailure]).limit(1);
    for flood in [
        Flood { messages: 1, disconnect_by: DisconnectBy::Primary },
        Flood { messages: 1, disconnect_by: DisconnectBy::Worker },
    ] {
        all(
            &World::new(flood, Settings::default()).with_faults(faults),
            &format!("{flood:?}, a write fails"),
        );
    }
    let world =
        "serve-1-1-0".parse::<Scenario<ReplyServer>>().expect("a scenario name").world().with_faults(faults);
    all(&world, "serve-1-1-0, a write fails");
}

/// Workers that report `online`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct OnlineWorkers {
    workers: u32,
    /// The primary answers each worker.
    answer: bool,
}

impl Program for OnlineWorkers {
    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        for _ in 0..self.workers {
            primary.fork().expect("the settings are valid");
        }
    }

    fn primary_event(&mut self, primary: &mut Primary, _: &mut Process<'_>, event: Event) {
        if let (Event::Online { worker }, true) = (event, self.answer) {
            primary.send(worker, "hello").expect("the channel is open");
        }
    }
}

/// Reference programs of the literature: processes with private steps, and with one shared step each. The
/// steps have 63,063,000 orders in the first program and 6.2e14 in the second. Only the orders of the shared
/// steps differ: 4! and 5!. A worker starts, writes and begins in private; the shared step is the read by the
/// primary. In the second program the worker then reads an answer in private.
fn one_schedule_for_each_order(workers: u32, answer: bool, orders: u64) {
    let world = World::new(OnlineWorkers { workers, answer }, Settings::default());
    let schedules = one_per_equivalence_class(&world, 10_000_000).expect("every check holds");
    println!("{workers} workers: {schedules:?}");
    assert_eq!((schedules.complete, schedules.cut), (orders, None));
}

#[test]
fn four_shared_steps_have_24_orders() {
    one_schedule_for_each_order(4, false, 24);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes a minute without optimization: cargo test --release")]
fn five_shared_steps_have_120_orders() {
    one_schedule_for_each_order(5, true, 120);
}

/// Stops a search at once.
static STOP: AtomicBool = AtomicBool::new(true);

/// A search beyond the limit of memory stops, and reports the limit.
#[test]
fn search_beyond_its_budget_is_bounded() {
    let world = Scenario::new(ReplyServer::new(1, 2)).world();
    for (budget, cut) in [
        (Budget::from(5000).in_bytes(usize::MAX), Bound::States),
        (Budget::from(usize::MAX).in_bytes(300_000), Bound::Memory),
    ] {
        let coverage = exhaustive(&world, budget).expect("every check holds");
        assert_eq!(coverage.cut, Some(cut));
        assert!(coverage.worlds >= 5000 && coverage.to_string().contains("bounded"), "{coverage}");
    }
    let coverage = exhaustive(&world, Budget::from(5000).until(&STOP)).expect("every check holds");
    assert_eq!((coverage.cut, coverage.is_complete()), (Some(Bound::Stopped), false));
}

/// Fails once in the whole test process, on any schedule.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct FailsOnce;

static PANICKED: AtomicBool = AtomicBool::new(false);

impl Program for FailsOnce {
    fn primary_start(&mut self, _: &mut Primary, _: &mut Process<'_>) {
        assert!(PANICKED.swap(true, Ordering::Relaxed), "the first time");
    }
}

#[test]
fn unrepeatable_failure_is_reported_as_such() {
    let failure =
        exhaustive(&World::new(FailsOnce, Settings::default()), 10).expect_err("the first run fails");
    assert!(
        failure.what.starts_with("the first time. The same choices did not repeat the failure"),
        "{failure}"
    );
}
