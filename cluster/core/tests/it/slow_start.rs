//! The weighted policy in a cluster: the weight of a worker rises with time.

use std::time::Duration;

use cluster_core::testing::TestCluster;
use cluster_core::{ListenAddress, SchedulingPolicy, Settings, WorkerId};

use crate::listening::{BOUND, LISTENER, serving};

const THREE: WorkerId = WorkerId(3);

/// The number of connections of the third worker, of 42 in all.
fn share_of_three(cluster: &mut TestCluster) -> usize {
    let before = cluster.connections(THREE).len();
    for _ in 0..42 {
        for worker in (1..=3).map(WorkerId) {
            cluster.worker(worker).accept(LISTENER);
        }
        cluster.settle();
        cluster.connect(BOUND);
    }
    cluster.connections(THREE).len() - before
}

/// Lets time pass in the primary.
fn pass(cluster: &mut TestCluster, until: u64) {
    while let Some(timer) = cluster.os.next_timer(Some(until)) {
        cluster.handle(timer);
    }
}

/// A worker beside two warm ones receives 2 of 42 connections at first, and 14 after the slow start.
#[test]
fn new_worker_starts_slowly() {
    let policy = SchedulingPolicy::Weighted { slow_start: Duration::from_secs(10) };
    let mut cluster = serving(Settings { policy, ..Settings::default() }, &ListenAddress::any(80).into());
    pass(&mut cluster, 10_000);
    cluster.fork(1);
    cluster.worker(THREE).listen(ListenAddress::any(80).into());
    cluster.settle();
    assert_eq!(share_of_three(&mut cluster), 2);
    pass(&mut cluster, 14_500);
    let half = share_of_three(&mut cluster);
    assert!((8..=9).contains(&half), "{half}");
    pass(&mut cluster, 30_000);
    let full = share_of_three(&mut cluster);
    assert!((13..=15).contains(&full), "{full}");
    assert_eq!(cluster.os.next_timer(None), None, "every worker is warm");
}
