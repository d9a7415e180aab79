//! A driver that has failed, connections that a program never takes, and the rules of the end.

use super::*;

/// After a panic of the driver every call returns as after a lost channel.
#[tokio::test]
async fn failed_driver_is_disconnected() {
    let (inner, far) = worker();
    inner.start();
    let opening = tokio::spawn(ListenerHandle::open(inner.clone(), ListenOptions::default()));
    line_with(&far, "queryServer").await;
    inner.fail();
    let disconnected = timeout(LONG, inner.wait_for_phase(Phase::Disconnected)).await;
    disconnected.expect("the phase is over in time");
    assert!(timeout(LONG, inner.next()).await.expect("the events end in time").is_none());
    let opened = timeout(LONG, opening).await.expect("the call returns in time").expect("no panic");
    assert!(matches!(opened, Err(ListenError::Disconnected)), "{opened:?}");
}

/// A connection that arrives during the close of the listener is closed. The close does not wait until an
/// `accept` takes the connection.
#[tokio::test]
async fn close_refuses_untaken_connection() {
    let (inner, far, mut server) = serving().await;
    {
        let mut accepted = pin!(server.next_accepted());
        assert!(poll(accepted.as_mut()).is_pending());
        offer(&far);
        line_with(&far, r#""accepted":true"#).await;
    }
    assert!(!inner.lock().listeners.is_empty());
    timeout(LONG, server.close()).await.expect("the listener closes in time");
}

/// After the drop of the listener, the primary hands no connection to the worker.
#[tokio::test]
async fn dropped_listener_is_reported() {
    let (_inner, far, server) = serving().await;
    drop(server);
    line_with(&far, r#""act":"close""#).await;
}

/// Under Node's rule with `keep_running`, every call returns instead of waiting for the end of the process.
#[tokio::test]
async fn running_worker_waits_for_no_exit() {
    let (inner, _far) = ruled(ExitRule::Node);
    assert!(poll(pin!(inner.wait_for_exit())).is_pending());
    inner.keep_running_as_node();
    timeout(LONG, inner.wait_for_exit()).await.expect("the call returns in time");
}

/// A killed worker that keeps running observes the close of its servers until the process exits.
#[tokio::test]
async fn killed_worker_returns_its_results() {
    let (running, _far) = ruled(ExitRule::KeepRunning);
    running.kill();
    timeout(LONG, running.wait_for_exit()).await.expect("the call returns in time");
    let (exiting, _far) = ruled(ExitRule::Return);
    exiting.kill();
    assert!(poll(pin!(exiting.wait_for_exit())).is_pending());
}

/// Only under Node's rule may a program handle the end by itself.
#[tokio::test]
async fn returning_worker_keeps_its_rule() {
    let (inner, _far) = ruled(ExitRule::Return);
    inner.keep_running_as_node();
    assert!(format!("{:?}", inner.exit).contains("Return"), "{:?}", inner.exit);
}

fn ruled(rule: ExitRule) -> (Arc<Inner>, UnixStream) {
    let (near, far) = UnixStream::pair().expect("a pair");
    let unix = Unix::with_channel(near).expect("a channel");
    let json = cluster_core::Serialization::Json;
    let machine = cluster_core::Worker::new(WorkerId(1), json, Limits::default());
    (Arc::new(Inner::new(machine, unix, Handle::current(), rule)), far)
}
