//! Hand-offs per second through the core alone: accept, `newconn`, both acknowledgements, close; every message encoded
//! and decoded as on the wire.
#![allow(missing_docs, reason = "criterion's macros write undocumented items")]

use std::hint::black_box;

use cluster_benches::Joined;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn hand_offs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core");
    group.throughput(Throughput::Elements(1));
    for workers in [2, 128] {
        let mut joined = Joined::new(workers);
        group.bench_function(format!("hand-off, {workers} workers"), |bencher| {
            bencher.iter(|| joined.hand_off());
        });
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("a primary and 2 workers come up", |bencher| {
        bencher.iter(|| black_box(Joined::new(2)));
    });
    group.finish();
}

criterion_group!(benches, hand_offs);
criterion_main!(benches);
