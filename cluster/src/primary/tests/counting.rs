//! The counts of connections, the stream of events, and the linger time of a primary.

use std::pin::pin;

use super::keeping::{kill, silent};
use super::*;

/// A primary is a stream of events.
#[tokio::test]
async fn primary_streams_its_events() {
    let mut primary = silent();
    let worker = primary.fork().expect("a worker");
    {
        let mut stream = pin!(&mut primary);
        let first = timeout(LONG, poll_fn(|cx| stream.as_mut().poll_next(cx))).await;
        assert!(first.expect("an event in time").is_some());
    }
    kill(primary, worker).await;
}

/// `set_linger` sets the bound of the end, and the `Debug` text shows whether commands are possible.
#[tokio::test]
async fn linger_of_primary_is_kept() {
    let mut primary = Primary::new(Settings::default()).expect("a primary");
    primary.set_linger(Duration::from_secs(4_321));
    assert_eq!(primary.linger, Duration::from_secs(4_321));
    let text = format!("{primary:?}");
    assert!(text.contains("CommandQueue { possible: false }"), "{text}");
    let _remote = primary.remote();
    let text = format!("{primary:?}");
    assert!(text.contains("CommandQueue { possible: true }"), "{text}");
}

/// Clients of a stopped worker: the first is handed off, the second is queued. The worker dies, and both are
/// closed.
#[tokio::test]
async fn connections_are_counted_by_state() {
    if lacks_node() {
        return;
    }
    let script = script().expect("a file");
    let mut primary = primary(&script, Serialization::Json, &[]);
    let worker = primary.fork().expect("a worker");
    let port = port(&mut primary).await;
    primary.kill(worker, cluster_core::Signal::SIGSTOP);
    let _clients = [(); 2].map(|()| TcpStream::connect(("127.0.0.1", port)).expect("a client"));
    counted(&mut primary, |counts| counts.accepted == 2 && counts.handed_off > 0).await;
    let expected = ConnectionCounts { accepted: 2, queued: 1, handed_off: 1, ..ConnectionCounts::default() };
    assert_eq!(primary.connections(), expected);
    primary.kill(worker, cluster_core::Signal::SIGKILL);
    counted(&mut primary, |counts| counts.queued + counts.handed_off == 0).await;
    let expected = ConnectionCounts { accepted: 2, closed: 2, requeued: 1, ..ConnectionCounts::default() };
    assert_eq!(primary.connections(), expected);
    kill(primary, worker).await;
}

/// Runs the primary until the counts are as wanted.
async fn counted(primary: &mut Primary, wanted: impl Fn(ConnectionCounts) -> bool) {
    let reached = poll_fn(|cx| {
        while let Poll::Ready(Some(_)) = primary.poll_event(cx) {}
        if wanted(primary.connections()) { Poll::Ready(()) } else { Poll::Pending }
    });
    timeout(LONG, reached).await.expect("the counts are reached in time");
}
