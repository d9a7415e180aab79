//! A worker's state over a real channel whose other end is the test.

use super::*;
use crate::listener_handle::ListenerHandle;
use crate::worker::ListenError;
use cluster_core::{Limits, WorkerId};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::fs::File;
use std::io::{self, BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::thread::{self, JoinHandle};

#[tokio::test]
async fn a_program_that_does_not_take_its_messages_is_not_read_from_until_it_does() {
    let (inner, far) = worker();
    inner.start();
    // More than one read and the kernel hold.
    let many = 64 * WAITING;
    let writer = write(far, many);
    assert_eq!(number_of(inner.next().await), Some(0));
    until_full(&inner).await;
    assert!(!writer.is_finished());
    for number in 1..many {
        assert_eq!(number_of(inner.next().await), Some(number));
    }
    writer.join().expect("no panic").expect("everything was written");
}

#[tokio::test(start_paused = true)]
async fn the_death_of_a_primary_is_noticed_by_a_program_that_takes_no_messages() {
    let (inner, mut far) = worker();
    inner.start();
    let lines: Vec<String> = (0..=WAITING).map(|number| format!("{number}\n")).collect();
    far.write_all(lines.concat().as_bytes()).expect("written");
    assert_eq!(number_of(inner.next().await), Some(0));
    until_full(&inner).await;
    writeln!(far, "{}", WAITING + 1).expect("written");
    drop(far);
    inner.wait_for_phase(Phase::Disconnected).await;
    for number in 1..WAITING + 2 {
        assert_eq!(number_of(inner.next().await), Some(number), "nothing is forgotten");
    }
    assert!(matches!(inner.next().await, Some(WorkerEvent::Disconnect)));
}

#[tokio::test]
async fn a_program_that_never_asks_for_messages_does_not_stop_its_worker() {
    let (inner, far) = worker();
    inner.start();
    let writer = write(far, 3 * WAITING);
    inner.wait_for_phase(Phase::Disconnected).await;
    assert_eq!(inner.inbox.len(), WAITING + 1);
    for number in 0..WAITING {
        assert_eq!(number_of(inner.next().await), Some(number));
    }
    assert!(matches!(inner.next().await, Some(WorkerEvent::Disconnect)));
    writer.join().expect("no panic").expect("everything was written");
}

#[tokio::test]
async fn nothing_comes_between_the_last_event_and_the_end_of_a_worker_that_was_not_asked_to_go() {
    let (inner, far) = worker();
    inner.start();
    drop(far);
    assert!(matches!(inner.next().await, Some(WorkerEvent::Disconnect)));
    assert!(inner.inbox.has_ended());
}

#[tokio::test]
async fn what_is_no_socket_is_refused_and_its_message_not_delivered() {
    let (inner, far) = worker();
    inner.start();
    let file = File::open("/dev/null").expect("a file");
    send_with(&far, "{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Socket\",\"msg\":1}\n2\n", file.as_fd());
    // The message after it is the first that is heard.
    assert_eq!(number_of(inner.next().await), Some(2));
    let mut said = [0; 1000];
    let length = (&far).read(&mut said).expect("it has answered before");
    assert!(String::from_utf8_lossy(&said[..length]).ends_with("{\"cmd\":\"NODE_HANDLE_NACK\"}\n"));
}

/// The answer and the wish that it goes come together: the server is bound, and closed before anyone hears of it.
#[tokio::test]
async fn a_server_that_is_closed_before_its_program_knows_that_it_listens_says_so() {
    let (inner, mut far) = worker();
    inner.start();
    let opening = tokio::spawn(ListenerHandle::open(inner, ListenOptions::default()));
    let answer = answer(&far).await;
    far.write_all(format!("{answer}\n{LEAVE}\n").as_bytes()).expect("written");
    let opened = opening.await.expect("no panic");
    assert!(matches!(opened, Err(ListenError::Closed)), "{opened:?}");
}

/// A connection comes, and the wish that the worker goes. Whoever hears of the wish leaves its listener alone.
#[tokio::test]
async fn what_is_on_its_way_to_who_waits_for_it_is_taken_before_it_is_said_that_the_worker_is_to_go() {
    let (inner, mut far, mut server) = serving().await;
    let mut leaving = pin!(inner.wait_for_phase(Phase::Disconnecting));
    {
        let mut accepted = pin!(server.next_accepted());
        assert!(poll(accepted.as_mut()).is_pending());
        offer(&far);
        line_with(&far, r#""accepted":true"#).await;
        writeln!(far, "{LEAVE}").expect("written");
        line_with(&far, r#""act":"close""#).await;
        assert!(poll(leaving.as_mut()).is_pending());
        assert!(matches!(poll(accepted.as_mut()), Poll::Ready(Some(_))));
    }
    leaving.await;
}

/// The same, while its acknowledgement waits for room in the channel.
#[tokio::test]
async fn what_is_being_acknowledged_is_taken_before_it_is_said_that_the_worker_is_to_go() {
    let (inner, mut far, mut server) = serving().await;
    let mut leaving = pin!(inner.wait_for_phase(Phase::Disconnecting));
    {
        let mut accepted = pin!(server.next_accepted());
        assert!(poll(accepted.as_mut()).is_pending());
        inner.command(|machine| machine.send("x".repeat(1 << 20))).expect("its channel is open");
        offer(&far);
        while !inner.with_machine(cluster_core::Worker::is_acknowledging) {
            tokio::task::yield_now().await;
        }
        writeln!(far, "{LEAVE}").expect("written");
        while !inner.with_machine(cluster_core::Worker::exited_after_disconnect) {
            tokio::task::yield_now().await;
        }
        assert!(poll(leaving.as_mut()).is_pending());
        line_with(&far, r#""act":"close""#).await;
        assert!(poll(leaving.as_mut()).is_pending());
        assert!(matches!(poll(accepted.as_mut()), Poll::Ready(Some(_))));
    }
    leaving.await;
}

/// A worker that listens, its primary's end, and its server.
async fn serving() -> (Arc<Inner>, UnixStream, ListenerHandle) {
    let (inner, mut far) = worker();
    inner.start();
    let opening = tokio::spawn(ListenerHandle::open(inner.clone(), ListenOptions::default()));
    writeln!(far, "{}", answer(&far).await).expect("written");
    let (server, _) = opening.await.expect("no panic").expect("it listens");
    (inner, far, server)
}

/// The primary offers a connection.
fn offer(far: &UnixStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let client = TcpStream::connect(listener.local_addr().expect("it has one")).expect("it listens");
    let offer = r#"{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_CLUSTER","act":"newconn","key":"key","seq":7}}"#;
    send_with(far, &format!("{offer}\n"), client.as_fd());
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// The worker is to go.
const LEAVE: &str = r#"{"cmd":"NODE_CLUSTER","act":"disconnect","seq":0}"#;

/// What lets it listen, once it asks.
async fn answer(far: &UnixStream) -> String {
    let question: serde_json::Value =
        serde_json::from_str(&line_with(far, "queryServer").await).expect("it is JSON");
    let seq = question["seq"].as_u64().expect("a number");
    format!(r#"{{"cmd":"NODE_CLUSTER","ack":{seq},"key":"key","errno":null,"data":null}}"#)
}

/// The next line in which this is. What came with it is forgotten.
async fn line_with(far: &UnixStream, text: &'static str) -> String {
    let lines = BufReader::new(far.try_clone().expect("a copy")).lines().map_while(Result::ok);
    let mut found = lines.filter(move |line| line.contains(text));
    let found = tokio::task::spawn_blocking(move || found.next()).await.expect("no panic");
    found.expect("it says so")
}

/// Writes lines, and a descriptor with the first.
fn send_with(far: &UnixStream, lines: &str, descriptor: BorrowedFd<'_>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    sendmsg(far, &[IoSlice::new(lines.as_bytes())], &mut control, SendFlags::empty()).expect("sent");
}

/// What a message says.
fn number_of(event: Option<WorkerEvent>) -> Option<usize> {
    match event? {
        WorkerEvent::Message { message, .. } => message.to().ok(),
        WorkerEvent::Error(_) | WorkerEvent::Disconnect => None,
    }
}

/// A worker, and its primary's end.
fn worker() -> (Arc<Inner>, UnixStream) {
    let (near, far) = UnixStream::pair().expect("a pair");
    let unix = Unix::with_channel(near).expect("a channel");
    let machine =
        cluster_core::Worker::new(WorkerId(1), cluster_core::Serialization::Json, Limits::default());
    let inner = Arc::new(Inner::new(machine, unix, Handle::current()));
    inner.keep_running();
    (inner, far)
}

/// Writes numbers and then that the worker is to go, and keeps the channel open.
fn write(mut far: UnixStream, count: usize) -> JoinHandle<io::Result<UnixStream>> {
    thread::spawn(move || {
        for number in 0..count {
            writeln!(far, "{number}")?;
        }
        writeln!(far, r#"{{"cmd":"NODE_CLUSTER","act":"disconnect","seq":0}}"#)?;
        Ok(far)
    })
}

async fn until_full(inner: &Inner) {
    let mut before = 0;
    while before < WAITING || inner.inbox.len() > before {
        before = inner.inbox.len();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    // What came with the last read is here, too: a number and the end of its line each.
    assert!(before < WAITING + (64 << 10) / 2, "{before}");
}
