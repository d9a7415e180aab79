//! The figures of the simulator on one core, without traces. Runs per second, for two programs: the standard
//! run (a primary, 2 workers, 2 connections, a graceful disconnect), and a primary with 2 workers, 10
//! messages and a disconnect. Steps per second under random schedules, with and without faults. The cost of a
//! step by the number of workers. States per second of an exhaustive search.
#![allow(missing_docs, reason = "criterion's macros expand to undocumented items")]

use std::time::{Duration, Instant};

use cluster_core::Settings;
use cluster_sim::explore;
use cluster_sim::scenarios::{self, PingPong, ReplyServer, Scenario};
use cluster_sim::{Failure, Schedule, World};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mimalloc::MiMalloc;

/// The same allocator as in the command `conformance`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Runs one seed after the other until `steps` steps are done. Returns the time for exactly `steps` steps.
fn timed_steps(steps: u64, mut run: impl FnMut(u64) -> Result<u64, Box<Failure>>) -> Duration {
    let (mut done, mut seed) = (0, 0);
    let started = Instant::now();
    while done < steps {
        done += run(seed).expect("a check fails only on a defect");
        seed += 1;
    }
    started.elapsed().mul_f64(ratio(steps, done))
}

#[allow(clippy::cast_precision_loss, reason = "both are far below 2^52")]
fn ratio(wanted: u64, done: u64) -> f64 {
    wanted as f64 / done as f64
}

fn runs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("simulator runs");
    group.throughput(Throughput::Elements(1));
    let mut seed = 0;
    group.bench_function("standard", |bencher| {
        bencher.iter(|| {
            seed += 1;
            scenarios::run_standard(seed).expect("a check fails only on a defect")
        });
    });
    group.bench_function("2 workers, 10 messages", |bencher| {
        bencher.iter(|| {
            seed += 1;
            let mut world = World::new(PingPong::new(2, 10, 1), Settings::default()).on(Schedule::seed(seed));
            world.run().expect("a check fails only on a defect");
        });
    });
    group.bench_function("standard, a swarm of faults", |bencher| {
        bencher.iter(|| {
            seed += 1;
            scenarios::run_standard_with_faults(seed).expect("a check fails only on a defect")
        });
    });
    group.finish();
}

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("simulator steps");
    group.throughput(Throughput::Elements(1));
    group.bench_function("standard", |bencher| {
        bencher.iter_custom(|steps| timed_steps(steps, scenarios::run_standard));
    });
    for workers in [2, 16, 128] {
        group.bench_function(format!("{workers} workers, {workers} connections"), |bencher| {
            bencher.iter_custom(|steps| timed_steps(steps, |seed| serve(workers, seed)));
        });
    }
    group.finish();
}

/// The number of steps of one run.
fn serve(workers: u32, seed: u64) -> Result<u64, Box<Failure>> {
    let mut world =
        World::new(ReplyServer::new(workers, workers), Settings::default()).on(Schedule::seed(seed));
    world.run().map(|()| world.steps())
}

/// The cost of a step by the number of workers: medians of ratios, measured in turn.
fn flatness(_: &mut Criterion) {
    const STEPS: u64 = 200_000;
    let time = |workers| timed_steps(STEPS, |seed| serve(workers, seed)).as_secs_f64();
    let rounds: Vec<[f64; 3]> = (0..5).map(|_| [2, 16, 128].map(time)).collect();
    for (at, workers) in [(1, 16), (2, 128)] {
        let mut ratios: Vec<f64> = rounds.iter().map(|times| times[at] / times[0]).collect();
        ratios.sort_by(f64::total_cmp);
        println!("a step with {workers} workers is {:.2} times a step with 2", ratios[ratios.len() / 2]);
    }
}

/// The coverage and the speed of an exhaustive search.
fn exhaustive(_: &mut Criterion) {
    for (name, budget) in [("serve-1-1", 1_000_000), ("serve-2-0", 1_000_000), ("standard", 300_000)] {
        let scenario: Scenario<ReplyServer> = name.parse().expect("the name is valid");
        let started = Instant::now();
        let coverage =
            explore::exhaustive(&scenario.world(), budget).expect("a check fails only on a defect");
        let states = u32::try_from(coverage.worlds + coverage.ends).expect("bounded by the budget");
        println!("{name}: {coverage}; {:.0} states/s", f64::from(states) / started.elapsed().as_secs_f64());
    }
}

criterion_group!(benches, runs, steps, flatness, exhaustive);
criterion_main!(benches);
