//! Handoffs per second through the core alone: accept, `newconn`, both acknowledgements, close. Every
//! message is encoded and decoded as on a channel. By policy and number of workers, for connections one after
//! the other, and for a queue of connections.
#![allow(missing_docs, reason = "criterion's macros expand to undocumented items")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use cluster_benches::{InMemoryCluster, policies};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// The number of connections that are queued at a time.
const QUEUED: u32 = 256;

fn handoffs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core");
    group.throughput(Throughput::Elements(1));
    for policy in policies::ASSIGNED {
        for workers in [2, 16, 128] {
            let mut cluster = InMemoryCluster::with_policy(workers, policy.setting);
            group.bench_function(format!("handoff, {}, {workers} workers", policy.name), |bencher| {
                bencher.iter_custom(|rounds| (0..rounds).map(|_| timed(&mut cluster)).sum());
            });
        }
    }
    group.bench_function("start of a primary and 2 workers", |bencher| {
        bencher.iter(|| black_box(InMemoryCluster::new(2)));
    });
    group.throughput(Throughput::Elements(QUEUED.into()));
    for policy in policies::ASSIGNED {
        let mut cluster = InMemoryCluster::with_policy(16, policy.setting);
        group.bench_function(
            format!("{QUEUED} queued connections, {}, 16 workers", policy.name),
            |bencher| {
                bencher.iter(|| cluster.distribute(QUEUED));
            },
        );
    }
    group.finish();
}

/// The time of one handoff, without the search for the worker that has accepted.
fn timed(cluster: &mut InMemoryCluster) -> Duration {
    let started = Instant::now();
    cluster.connect();
    let connected = started.elapsed();
    let accepted = cluster.accepted().expect("the connection was handed off");
    let resumed = Instant::now();
    cluster.complete(accepted);
    connected + resumed.elapsed()
}

criterion_group!(benches, handoffs);
criterion_main!(benches);
