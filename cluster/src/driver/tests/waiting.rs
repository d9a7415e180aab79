//! Callers that wait: for events, for room, and for the end of a flush.

use std::sync::Arc;
use std::task::Wake;

use super::*;
use crate::socket::Socket;

/// A waker that counts.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// An event that leaves the queue full does not wake the driver; room in the queue does.
#[test]
fn full_inbox_wakes_driver_at_room() {
    let (inbox, count) = (Inbox::new(1), Arc::new(Count::default()));
    let driver = Waker::from(count.clone());
    let driver = Context::from_waker(&driver);
    let nobody = Context::from_waker(Waker::noop());
    let mut ticket = None;
    assert!(inbox.poll_room(&driver).is_ready() && !inbox.is_asked());
    assert!(inbox.poll_next(&mut ticket, &nobody).is_pending());
    assert!(inbox.poll_room(&driver).is_ready() && inbox.is_asked() && !inbox.is_full());
    inbox.put(1);
    inbox.put(2);
    assert!(inbox.poll_room(&driver).is_pending() && inbox.is_full());
    assert_eq!(inbox.poll_next(&mut ticket, &nobody), Poll::Ready(Some(1)));
    assert!(inbox.is_full() && count.0.load(Ordering::Relaxed) == 0);
    assert_eq!(inbox.poll_next(&mut ticket, &nobody), Poll::Ready(Some(2)));
    assert!(!inbox.is_full() && count.0.load(Ordering::Relaxed) == 1);
}

/// A queue with as many events as the limit has no room.
#[test]
fn inbox_at_limit_has_no_room() {
    let inbox = Inbox::new(2);
    let nobody = Context::from_waker(Waker::noop());
    assert!(inbox.poll_next(&mut None, &nobody).is_pending());
    inbox.put(1);
    assert!(inbox.poll_room(&nobody).is_ready());
    inbox.put(2);
    assert!(inbox.poll_room(&nobody).is_pending() && !inbox.has_ended());
}

/// An event wakes every waiting caller.
#[test]
fn event_wakes_every_caller() {
    let inbox = Inbox::new(1);
    let counts = [(); 2].map(|()| Arc::new(Count::default()));
    for count in &counts {
        let waker = Waker::from(count.clone());
        assert!(inbox.poll_next(&mut None, &Context::from_waker(&waker)).is_pending());
    }
    inbox.put(1);
    assert_eq!(counts.map(|count| count.0.load(Ordering::Relaxed)), [1, 1]);
}

/// A caller that stops waiting leaves no waker, whether the caller has used a future or a ticket.
#[test]
fn dropped_caller_leaves_no_waker() {
    let (inbox, count) = (Inbox::<()>::new(1), Arc::new(Count::default()));
    let waker = Waker::from(count.clone());
    let mut cx = Context::from_waker(&waker);
    let before = Arc::strong_count(&count);
    {
        let mut next = pin!(inbox.next());
        assert!(next.as_mut().poll(&mut cx).is_pending());
        assert_eq!(Arc::strong_count(&count), before + 1);
    }
    assert_eq!(Arc::strong_count(&count), before);
    let mut ticket = None;
    assert!(inbox.poll_next(&mut ticket, &cx).is_pending());
    inbox.stop_waiting(ticket);
    assert_eq!(Arc::strong_count(&count), before);
}

/// A flush waits for a message with a socket. After the flush no task counts as a sender.
#[tokio::test]
async fn flush_waits_for_passed_socket() {
    let (inner, far) = worker();
    inner.start();
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    inner.send_with("x".repeat(1 << 20).into(), Socket::from(socket)).expect("accepted");
    {
        let mut flush = pin!(inner.flush());
        assert!(poll(flush.as_mut()).is_pending());
        assert_eq!(inner.senders.load(Ordering::Relaxed), 1);
        let mut read = far.try_clone().expect("a copy");
        let reader = thread::spawn(move || io::copy(&mut read, &mut io::sink()));
        timeout(LONG, flush).await.expect("the message is written in time").expect("an open channel");
        far.shutdown(std::net::Shutdown::Both).expect("an open channel");
        reader.join().expect("no panic").expect("the end");
    }
    assert_eq!(inner.senders.load(Ordering::Relaxed), 0);
}

/// Two programs that both send before receiving do not wait for each other: a worker with a waiting sender
/// reads even into a full inbox.
#[tokio::test]
async fn waiting_sender_reads_past_limit() {
    let (inner, far) = worker();
    inner.start();
    let mut primary = far.try_clone().expect("a copy");
    let primary = thread::spawn(move || {
        for number in 0..8 * INBOX_EVENTS {
            writeln!(primary, "{number}")?;
        }
        io::copy(&mut primary, &mut io::sink())
    });
    assert_eq!(number_of(next(&inner).await), Some(0));
    until_full(&inner).await;
    inner.send("x".repeat(1 << 20)).expect("accepted");
    timeout(LONG, inner.flush()).await.expect("the primary reads in time").expect("an open channel");
    far.shutdown(std::net::Shutdown::Both).expect("an open channel");
    primary.join().expect("no panic").expect("the end");
}

/// A primary that sends more than the inbox and the kernel hold has no room until the program takes an event.
#[tokio::test]
async fn full_inbox_blocks_its_primary() {
    let (inner, mut far) = worker();
    inner.start();
    writeln!(far, "0").expect("written");
    assert_eq!(number_of(next(&inner).await), Some(0));
    far.set_nonblocking(true).expect("a flag");
    // A read returns about a thousand such messages, and the driver delivers a single message per turn.
    let message = format!("\"{}\"\n", "x".repeat(60));
    let (lines, mut written, mut refused) = (message.repeat(100), 0, 0);
    while refused < 5_000 {
        match far.write(lines.as_bytes()) {
            Ok(count) => (written, refused) = (written + count, 0),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                refused += 1;
            }
        }
        assert!(written < 2 << 20, "the worker reads without a bound");
        tokio::task::yield_now().await;
    }
}
