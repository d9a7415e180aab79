//! Hand-offs per second through the core alone: accept, `newconn`, both acknowledgements, close. Every
//! message is encoded and decoded as on a channel.
#![allow(missing_docs, reason = "criterion's macros expand to undocumented items")]

use std::hint::black_box;

use cluster_benches::InMemoryCluster;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn hand_offs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core");
    group.throughput(Throughput::Elements(1));
    for workers in [2, 128] {
        let mut cluster = InMemoryCluster::new(workers);
        group.bench_function(format!("hand-off, {workers} workers"), |bencher| {
            bencher.iter(|| cluster.hand_off());
        });
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("start of a primary and 2 workers", |bencher| {
        bencher.iter(|| black_box(InMemoryCluster::new(2)));
    });
    group.finish();
}

criterion_group!(benches, hand_offs);
criterion_main!(benches);
