//! Events kept while a command waits, and the flush of a primary.

use std::pin::pin;
use std::task::Waker;

use super::super::sending::MOST_EVENTS;
use super::*;

/// A primary with a worker that never reads.
pub(super) fn silent() -> Primary {
    let command = SpawnOptions::new().exec("sleep").args(["60"]);
    Primary::new(Settings { spawn: command, ..Settings::default() }).expect("a primary")
}

pub(super) async fn kill(mut primary: Primary, worker: WorkerId) {
    primary.kill(worker, cluster_core::Signal::SIGKILL);
    while timeout(LONG, primary.next()).await.expect("the worker ends in time").is_some() {}
}

/// The state of the worker of a kept event is available until the next event is taken.
#[tokio::test]
async fn kept_event_has_its_state() {
    let mut primary = silent();
    let worker = primary.fork().expect("a worker");
    let info = primary.worker(worker).cloned().expect("a new worker");
    let mut kept = KeptEvents::default();
    let event = Event::Online { worker };
    kept.put(event.clone(), Some(info.clone()));
    assert!(kept.known(worker).is_none());
    assert_eq!(kept.take(), Some(event));
    assert_eq!(kept.known(worker).map(WorkerInfo::pid), Some(info.pid()));
    assert!(kept.known(WorkerId(worker.0 + 1)).is_none());
    assert!(kept.take().is_none() && kept.known(worker).is_none());
    kill(primary, worker).await;
}

/// A flush waits for a worker that does not read, and not for a dead worker.
#[tokio::test]
async fn flush_waits_for_unread_messages() {
    let mut primary = silent();
    let worker = primary.fork().expect("a worker");
    timeout(LONG, primary.flush()).await.expect("nothing was sent");
    primary.send(worker, json!("x".repeat(1 << 20))).expect("accepted");
    {
        let mut flush = pin!(primary.flush());
        assert!(flush.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    primary.kill(worker, cluster_core::Signal::SIGKILL);
    timeout(LONG, primary.flush()).await.expect("a dead worker is not waited for");
    kill(primary, worker).await;
}

/// A worker that floods the primary and never replies ends the waits at the bound. The kept events remain,
/// and later events follow.
#[tokio::test]
async fn flood_ends_wait_at_bound() {
    let command = SpawnOptions::new().exec("sh").args(["-c", "exec yes '\"x\"' >&3"]);
    let mut primary = Primary::new(Settings { spawn: command, ..Settings::default() }).expect("a primary");
    let worker = primary.fork().expect("a worker");
    let asked = timeout(LONG, primary.request::<_, ()>(worker, "", LONG)).await.expect("the wait is bounded");
    assert_eq!(asked, Err(RequestError::TooManyEvents));
    assert_eq!(primary.kept.len(), MOST_EVENTS);
    while primary.send(worker, json!("x".repeat(1 << 20))).is_ok() {}
    let sent = timeout(LONG, primary.send_when_room(worker, "more")).await.expect("the wait is bounded");
    assert_eq!(sent, Err(SendError::Full));
    for _ in 0..2 * MOST_EVENTS {
        assert!(timeout(LONG, primary.next()).await.expect("events remain").is_some());
    }
    kill(primary, worker).await;
}
