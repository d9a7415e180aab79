//! The search finds a schedule of given observations, or the first observation that does not fit.

use cluster_core::{Event, Primary, Settings, Signal, Worker, WorkerEvent, WorkerId};
use cluster_sim::explore::{Observed, Reached, observed, one_per_equivalence_class, reaches};
use cluster_sim::scenarios;
use cluster_sim::{Actor, ClientEvent, ClientId, Driver, Fault, Faults, Process, Program, Schedule, World};

/// The choices of the schedule that a search has found.
fn found(reached: Reached) -> Option<Vec<u32>> {
    if let Reached::Yes(choices) = reached { Some(choices) } else { None }
}

/// Every observed run can be reached, and the schedule that was found replays the run.
#[test]
fn search_reaches_observed_run() {
    for seed in 0..200 {
        let mut seen = scenarios::standard_world().on(Schedule::seed(seed));
        seen.run().expect("every check holds");
        let wanted = observed(seen.observations());
        let choices = found(reaches(&scenarios::standard_world(), &wanted, 50_000));
        let choices = choices.expect("an observed run can be reached");
        let mut world = scenarios::standard_world().on(Schedule::replay(choices));
        world.run().expect("every check holds");
        assert_eq!(observed(world.observations()), wanted);
    }
}

/// Two workers that start and disconnect themselves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct TwoDisconnects;

impl Program for TwoDisconnects {
    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        primary.fork().expect("the settings are valid");
        primary.fork().expect("the settings are valid");
    }

    fn primary_event(&mut self, _: &mut Primary, process: &mut Process<'_>, event: Event) {
        if let Event::Online { worker } | Event::Exit { worker, .. } = event {
            let what = if matches!(event, Event::Online { .. }) { "online" } else { "exit" };
            process.observe(format!("{what} {worker}"));
        }
    }

    fn worker_start(&mut self, worker: &mut Worker, _: &mut Process<'_>) {
        worker.disconnect();
    }

    fn worker_event(&mut self, _: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        if event == WorkerEvent::Disconnect {
            process.observe("disconnect");
        }
    }
}

fn search(primary: [&str; 4]) -> Reached {
    let disconnected = vec!["disconnect".to_owned()];
    let mut wanted = Observed::from([(Actor::Primary, primary.map(str::to_owned).to_vec())]);
    wanted.extend([1, 2].map(|n| (Actor::Worker(cluster_core::WorkerId(n)), disconnected.clone())));
    reaches(&World::new(TwoDisconnects, Settings::default()), &wanted, 1_000_000)
}

#[test]
fn workers_interleave_freely() {
    for wanted in [
        ["online 1", "online 2", "exit 1", "exit 2"],
        ["online 2", "exit 2", "online 1", "exit 1"],
        ["online 1", "online 2", "exit 2", "exit 1"],
    ] {
        assert!(matches!(search(wanted), Reached::Yes(_)), "{wanted:?}");
    }
}

/// "No" is proven: the search has tried every run.
#[test]
fn exit_before_online_is_unreachable() {
    let reached = search(["online 1", "exit 2", "online 2", "exit 1"]);
    let deepest = if let Reached::No(deepest) = reached { Some(deepest) } else { None };
    let deepest = deepest.expect("every run is tried, and no worker exits before it is online");
    let misfit = deepest.misfit.as_ref().expect("an observation that does not fit");
    assert_eq!((misfit.observer, misfit.wanted.as_deref()), (Actor::Primary, Some("exit 2")));
    assert!(deepest.worlds > 100, "{deepest:?}");
}

/// The search also chooses when a fault of the world strikes.
#[test]
fn search_finds_needed_kill() {
    let wanted = Observed::from([
        (Actor::Primary, ["online 2", "exit 1", "exit 2"].map(str::to_owned).to_vec()),
        (Actor::Worker(cluster_core::WorkerId(2)), vec!["disconnect".to_owned()]),
    ]);
    let world = World::new(TwoDisconnects, Settings::default());
    assert!(matches!(reaches(&world, &wanted, 1_000_000), Reached::No(_)));
    let world = world.with_faults(Faults::only(&[Fault::Kill]).limit(1));
    let choices = found(reaches(&world, &wanted, 1_000_000)).expect("one kill is enough");
    let mut world = world.on(Schedule::replay(choices));
    world.run().expect("every check holds");
    assert_eq!(observed(world.observations()), wanted);
}

/// The driver kills the worker as soon as a client is refused, if the worker exists at that time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct EarlyKill;

impl Program for EarlyKill {
    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        primary.fork().expect("the settings are valid");
    }

    fn driver_start(&mut self, driver: &mut Driver<'_>) {
        driver.connect(1);
    }

    fn client_event(&mut self, driver: &mut Driver<'_>, _: ClientId, event: ClientEvent) {
        if event == ClientEvent::Refused {
            driver.kill(Actor::Worker(WorkerId(1)), Signal::SIGKILL);
        }
    }
}

/// The effect of the driver on a process depends on the existence of that process.
#[test]
fn driver_kill_depends_on_fork() {
    let schedules = one_per_equivalence_class(&World::new(EarlyKill, Settings::default()), 10_000)
        .expect("every check holds");
    assert!(schedules.complete >= 3 && schedules.cut.is_none(), "{schedules:?}");
}
