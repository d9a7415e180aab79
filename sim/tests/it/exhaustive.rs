//! Every run of small worlds: not a sample.

use std::sync::atomic::{AtomicBool, Ordering};

use cluster_core::{Event, Primary, Settings};
use cluster_sim::explore::{Bound, Budget, Coverage, every, schedules};
use cluster_sim::scenarios::{Flood, Parting, RandomProgram, ReplyServer, Scenario};
use cluster_sim::{Fault, Faults, Process, Program, World};

fn all<P: Program>(world: &World<P>, name: &str) -> Coverage {
    let coverage = every(world, 3_000_000).expect("every check holds");
    println!("{name}: {coverage}");
    assert!(coverage.is_complete(), "{name}: {coverage}");
    coverage
}

fn plan(name: &str) -> World<RandomProgram> {
    name.parse::<Scenario<RandomProgram>>().expect("it is a name").world()
}

/// Beside those that are proofs.
#[test]
fn small_worlds_are_right_on_every_schedule() {
    for name in ["serve-1-1+shared", "serve-2-0"] {
        all(&name.parse::<Scenario<ReplyServer>>().expect("it is a name").world(), name);
    }
    all(&plan("plan-1-1-..d1-.d"), "plan-1-1-..d1-.d");
}

/// Both directions are full before either end has read anything, and either may disconnect.
#[test]
fn floods_end_on_every_schedule() {
    for flood in Flood::ALL {
        let world = World::new(flood, narrow()).with_channel_bytes(24);
        all(&world, &format!("{flood:?}"));
    }
}

/// Less than one answer may wait unsent.
fn narrow() -> Settings {
    let mut settings = Settings::default();
    settings.limits.unsent_bytes = 64;
    settings.limits.congested_bytes = 16;
    settings.limits.answer_bytes = 16;
    settings
}

/// Every write of a hand-off can fail once, in every way.
#[test]
fn failed_write_holds_on_every_schedule() {
    let faults = Faults::only(&[Fault::WriteFailure]).limit(1);
    for flood in
        [Flood { messages: 1, parting: Parting::Primary }, Flood { messages: 1, parting: Parting::Worker }]
    {
        all(
            &World::new(flood, Settings::default()).with_faults(faults),
            &format!("{flood:?}, a write fails"),
        );
    }
    let world =
        "serve-1-1-0".parse::<Scenario<ReplyServer>>().expect("it is a name").world().with_faults(faults);
    all(&world, "serve-1-1-0, a write fails");
}

/// So many workers that say that they are online.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Online {
    workers: u32,
    /// Each is answered.
    answer: bool,
}

impl Program for Online {
    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        for _ in 0..self.workers {
            primary.fork().expect("nothing impossible was set up");
        }
    }

    fn primary_event(&mut self, primary: &mut Primary, _: &mut Process<'_>, event: Event) {
        if let (Event::Online { worker }, true) = (event, self.answer) {
            primary.send(worker, "hello").expect("the channel is open");
        }
    }
}

/// The reference programs of the literature: processes with private steps and one that all of them share. Of all the
/// orders in which their steps can be taken (63,063,000 and 6.2e14) only those are different in which the shared steps
/// are: 4! and 5!. A worker starts, writes and begins by itself; that the primary reads what it wrote is what is shared;
/// in the second program it then reads and hears an answer by itself.
fn one_schedule_for_each_order(workers: u32, answer: bool, orders: u64) {
    let world = World::new(Online { workers, answer }, Settings::default());
    let schedules = schedules(&world, 10_000_000).expect("every check holds");
    println!("{workers} workers: {schedules:?}");
    assert_eq!((schedules.complete, schedules.cut), (orders, None));
}

#[test]
fn one_schedule_for_each_order_of_what_four_share() {
    one_schedule_for_each_order(4, false, 24);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes a minute without optimization: cargo test --release")]
fn one_schedule_for_each_order_of_what_five_share() {
    one_schedule_for_each_order(5, true, 120);
}

/// Nobody wants any more.
static STOP: AtomicBool = AtomicBool::new(true);

/// A search that outgrows its memory stops, and says so.
#[test]
fn a_search_that_outgrows_its_budget_says_that_it_is_bounded() {
    let world = Scenario::new(ReplyServer::new(1, 2)).world();
    for (budget, cut) in [
        (Budget::from(5000).in_bytes(usize::MAX), Bound::States),
        (Budget::from(usize::MAX).in_bytes(300_000), Bound::Memory),
    ] {
        let coverage = every(&world, budget).expect("every check holds");
        assert_eq!(coverage.cut, Some(cut));
        assert!(coverage.worlds >= 5000 && coverage.to_string().contains("bounded"), "{coverage}");
    }
    let coverage = every(&world, Budget::from(5000).until(&STOP)).expect("every check holds");
    assert_eq!((coverage.cut, coverage.is_complete()), (Some(Bound::Stopped), false));
}

/// Once in a process: no schedule decides it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Once;

static PANICKED: AtomicBool = AtomicBool::new(false);

impl Program for Once {
    fn primary_start(&mut self, _: &mut Primary, _: &mut Process<'_>) {
        assert!(PANICKED.swap(true, Ordering::Relaxed), "the first time");
    }
}

#[test]
fn a_failure_that_does_not_come_again_is_said_to_be_no_matter_of_the_schedule() {
    let failure = every(&World::new(Once, Settings::default()), 10).expect_err("it fails once");
    assert!(failure.what.starts_with("the first time. The same choices a second time"), "{failure}");
}
