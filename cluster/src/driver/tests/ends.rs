//! Ends of a worker under the default rule: `main` returns.

use super::*;

/// Without a request to disconnect a worker does not wait for an answer of the primary.
#[test]
fn dropped_worker_awaits_no_answer() {
    let (near, mut far) = UnixStream::pair().expect("a pair");
    let primary = thread::spawn(move || io::copy(&mut far, &mut io::sink()));
    let (ended, end) = std::sync::mpsc::channel();
    let worker = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let inner = returning(near);
            inner.set_linger(6 * LONG);
            inner.start();
        });
        drop(runtime);
        ended.send(()).expect("the test waits");
    });
    end.recv_timeout(LONG).expect("the worker is dropped in time");
    worker.join().expect("no panic");
    primary.join().expect("no panic").expect("the end");
}

/// The deadline of a lost primary does not bound `main` after a disconnect: the process of the test
/// continues.
#[tokio::test]
async fn disconnected_worker_has_no_deadline() {
    let (near, mut far) = UnixStream::pair().expect("a pair");
    let inner = returning(near);
    inner.set_exit_deadline(Duration::ZERO);
    inner.start();
    inner.command(cluster_core::Worker::disconnect);
    let report = line_with(&far, "exitedAfterDisconnect").await;
    writeln!(far, "{}", answer_to(&report)).expect("written");
    let disconnected = timeout(LONG, inner.wait_for_phase(Phase::Disconnected)).await;
    disconnected.expect("disconnected in time");
    assert!(matches!(next(&inner).await, Some(WorkerEvent::Disconnect)));
    // Long enough for a wrong exit to happen.
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// An event that the driver has taken before the end, here the room of a full channel, belongs to the
/// machine.
#[tokio::test]
async fn event_before_the_end_is_used() {
    let (near, far) = UnixStream::pair().expect("a pair");
    let inner = returning(near);
    let message = serde_json::Value::from("x".repeat(1 << 20));
    inner.command(|machine| machine.send(message)).expect("an open channel");
    assert!(inner.lock().has_unwritten());
    let reader = thread::spawn(move || io::copy(&mut &far, &mut io::sink()));
    let found =
        future::poll_fn(|cx| if inner.lock().find_next(cx) { Poll::Ready(()) } else { Poll::Pending });
    timeout(LONG, found).await.expect("room in time");
    inner.lock().finish(LONG);
    assert!(!inner.lock().has_unwritten(), "the worker has waited for a second event");
    drop(inner);
    reader.join().expect("no panic").expect("the end");
}

fn returning(near: UnixStream) -> Arc<Inner> {
    let unix = Unix::with_channel(near).expect("a channel");
    let json = cluster_core::Serialization::Json;
    let machine = cluster_core::Worker::new(WorkerId(1), json, Limits::default());
    Arc::new(Inner::new(machine, unix, Handle::current(), ExitRule::Return))
}
