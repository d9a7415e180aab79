//! The simulator's figures, one core, tracing off: standard runs per second ("primary, 2 workers, 2 connections,
//! graceful disconnect", random schedules) and steps per second, with and without faults, and the cost of a step as
//! workers are added.
#![allow(missing_docs, reason = "criterion's macros write undocumented items")]

use std::time::{Duration, Instant};

use cluster_core::Settings;
use cluster_sim::standard::{self, Serve};
use cluster_sim::{Failure, Schedule, World};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Runs until so many steps are done, with ever new seeds, and gives the time for exactly that many.
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
            standard::run(seed).expect("a check fails only on a defect")
        });
    });
    group.bench_function("standard, a swarm of faults", |bencher| {
        bencher.iter(|| {
            seed += 1;
            standard::run_with_faults(seed).expect("a check fails only on a defect")
        });
    });
    group.finish();
}

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("simulator steps");
    group.throughput(Throughput::Elements(1));
    group
        .bench_function("standard", |bencher| bencher.iter_custom(|steps| timed_steps(steps, standard::run)));
    for workers in [2, 16, 128] {
        group.bench_function(format!("{workers} workers, {workers} connections"), |bencher| {
            bencher.iter_custom(|steps| {
                timed_steps(steps, |seed| {
                    let program = Serve::new(workers, workers);
                    let mut world = World::new(program, Settings::default()).on(Schedule::seed(seed));
                    world.run().map(|()| world.steps())
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, runs, steps);
criterion_main!(benches);
