//! The policy of the program: the operating system answers the questions of the primary.

use std::net::{IpAddr, Ipv4Addr};

use cluster_core::testing::TestCluster;
use cluster_core::{Call, HandleId, ListenAddress, OsEvent, SchedulingPolicy, Settings, SocketId, WorkerId};

use crate::listening::{BOUND, LISTENER, ONE, TWO, serving};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn cluster() -> TestCluster {
    let settings = Settings { policy: SchedulingPolicy::Custom, ..Settings::default() };
    let mut cluster = serving(settings, &ListenAddress::any(80).into());
    accept(&mut cluster);
    cluster
}

fn accept(cluster: &mut TestCluster) {
    for worker in [ONE, TWO] {
        cluster.worker(worker).accept(LISTENER);
    }
    cluster.settle();
}

fn received(cluster: &TestCluster) -> [usize; 2] {
    [ONE, TWO].map(|worker| cluster.connections(worker).len())
}

/// The chosen worker receives every connection. A question has the client and the loads.
#[test]
fn program_chooses_worker() {
    let mut cluster = cluster();
    cluster.os.preferred = Some(TWO);
    for _ in 0..3 {
        cluster.connect_from(Some(CLIENT), BOUND);
        accept(&mut cluster);
    }
    assert_eq!(received(&cluster), [0, 3]);
    let questions: Vec<_> = cluster
        .os
        .calls
        .iter()
        .filter_map(|call| match call {
            Call::Choose { client, candidates, .. } => Some((*client, candidates.clone())),
            _ => None,
        })
        .collect();
    let (client, candidates) = questions.last().expect("a question");
    assert_eq!((questions.len(), *client, candidates.len()), (3, Some(CLIENT), 2));
    let two = candidates.iter().find(|candidate| candidate.worker == TWO).expect("a candidate");
    assert_eq!((two.open_connections, two.unanswered, two.slot), (Some(2), 0, None));
}

/// Without a preference the longest waiting worker is chosen: round robin. A single ready worker needs no
/// question.
#[test]
fn first_candidate_waits_longest() {
    let mut cluster = cluster();
    for _ in 0..4 {
        cluster.connect(BOUND);
        accept(&mut cluster);
    }
    assert_eq!(received(&cluster), [2, 2]);
    cluster.kill(ONE);
    cluster.os.take_calls();
    cluster.connect(BOUND);
    assert!(!cluster.os.calls.iter().any(|call| matches!(call, Call::Choose { .. })));
    assert_eq!(cluster.connections(TWO).len(), 3);
}

/// A worker that is no candidate, an answer without a question and an answer for a closed socket are
/// harmless.
#[test]
fn strange_answers_are_harmless() {
    let mut cluster = cluster();
    for handle in [1, 99].map(HandleId) {
        cluster.handle(OsEvent::Chosen { handle, connection: SocketId(9_999), worker: WorkerId(99) });
    }
    cluster.os.preferred = Some(WorkerId(99));
    cluster.os.chooses_strangers = true;
    cluster.connect(BOUND);
    assert_eq!(received(&cluster), [1, 0]);
}
