//! The driver of a worker over a real channel; the test is the primary.

use super::*;
use crate::error::ListenError;
use crate::listener_handle::ListenerHandle;
use crate::unix::Unix;
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

mod ends;
mod failing;
mod waiting;

/// Bounds each wait of a test.
const LONG: Duration = Duration::from_secs(10);

/// Once a program stops taking events, the worker does not read the channel until the next take.
#[tokio::test]
async fn full_inbox_pauses_reading() {
    let (inner, far) = worker();
    inner.start();
    // More than a read and the kernel hold together.
    let many = 64 * INBOX_EVENTS;
    let writer = write(far, many);
    assert_eq!(number_of(next(&inner).await), Some(0));
    until_full(&inner).await;
    assert!(!writer.is_finished());
    for number in 1..many {
        assert_eq!(number_of(next(&inner).await), Some(number));
    }
    writer.join().expect("no panic").expect("everything was written");
}

/// The worker notices the death of the primary though the inbox is full.
#[tokio::test(start_paused = true)]
async fn full_inbox_notices_lost_primary() {
    let (inner, mut far) = worker();
    inner.start();
    let lines: Vec<String> = (0..=INBOX_EVENTS).map(|number| format!("{number}\n")).collect();
    far.write_all(lines.concat().as_bytes()).expect("written");
    assert_eq!(number_of(inner.next().await), Some(0));
    until_full(&inner).await;
    writeln!(far, "{}", INBOX_EVENTS + 1).expect("written");
    drop(far);
    let noticed = timeout(LONG, inner.wait_for_phase(Phase::Disconnected)).await;
    noticed.expect("the lost primary is noticed in time");
    for number in 1..INBOX_EVENTS + 2 {
        assert_eq!(number_of(inner.next().await), Some(number), "a message was lost");
    }
    assert!(matches!(inner.next().await, Some(WorkerEvent::Disconnect)));
}

/// A program that never takes an event loses messages, and the worker continues.
#[tokio::test]
async fn unasked_inbox_never_pauses_reading() {
    let (inner, far) = worker();
    inner.start();
    let writer = write(far, 3 * INBOX_EVENTS);
    timeout(LONG, inner.wait_for_phase(Phase::Disconnected)).await.expect("disconnected in time");
    assert_eq!(inner.inbox.len(), INBOX_EVENTS + 1);
    for number in 0..INBOX_EVENTS {
        assert_eq!(number_of(next(&inner).await), Some(number));
    }
    assert!(matches!(next(&inner).await, Some(WorkerEvent::Disconnect)));
    writer.join().expect("no panic").expect("everything was written");
}

#[tokio::test]
async fn lost_worker_has_no_later_event() {
    let (inner, far) = worker();
    inner.start();
    drop(far);
    assert!(matches!(next(&inner).await, Some(WorkerEvent::Disconnect)));
    assert!(inner.inbox.has_ended());
}

/// A descriptor that is not a socket is rejected, and the message is dropped.
#[tokio::test]
async fn received_file_is_rejected() {
    let (inner, far) = worker();
    inner.start();
    let file = File::open("/dev/null").expect("a file");
    send_with(&far, "{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Socket\",\"msg\":1}\n2\n", file.as_fd());
    // The message after the dropped message is the first event.
    assert_eq!(number_of(next(&inner).await), Some(2));
    let mut written = [0; 1000];
    let length = (&far).read(&mut written).expect("the worker has answered before");
    assert!(String::from_utf8_lossy(&written[..length]).ends_with("{\"cmd\":\"NODE_HANDLE_NACK\"}\n"));
}

/// The reply and the request to disconnect arrive together. The listener is bound, and is closed before the
/// delivery of the reply.
#[tokio::test]
async fn listener_closed_before_reply_reports_closed() {
    let (inner, mut far) = worker();
    inner.start();
    let opening = tokio::spawn(ListenerHandle::open(inner, ListenOptions::default()));
    let answer = answer(&far).await;
    far.write_all(format!("{answer}\n{DISCONNECT}\n").as_bytes()).expect("written");
    let opened = timeout(LONG, opening).await.expect("an answer in time").expect("no panic");
    assert!(matches!(opened, Err(ListenError::Closed)), "{opened:?}");
}

/// A connection was acknowledged before the request to disconnect: a program that drops the listener at
/// [`Phase::Disconnecting`] must have received the connection.
#[tokio::test]
async fn disconnecting_waits_for_pending_accept() {
    let (inner, mut far, mut server) = serving().await;
    let mut disconnecting = pin!(inner.wait_for_phase(Phase::Disconnecting));
    {
        let mut accepted = pin!(server.next_accepted());
        assert!(poll(accepted.as_mut()).is_pending());
        offer(&far);
        line_with(&far, r#""accepted":true"#).await;
        writeln!(far, "{DISCONNECT}").expect("written");
        line_with(&far, r#""act":"close""#).await;
        assert!(poll(disconnecting.as_mut()).is_pending());
        assert!(matches!(poll(accepted.as_mut()), Poll::Ready(Some(_))));
    }
    timeout(LONG, disconnecting).await.expect("the worker disconnects in time");
}

/// As the test before, but the acknowledgement still waits for room in the channel.
#[tokio::test]
async fn disconnecting_waits_for_acknowledgement() {
    let (inner, mut far, mut server) = serving().await;
    let mut disconnecting = pin!(inner.wait_for_phase(Phase::Disconnecting));
    {
        let mut accepted = pin!(server.next_accepted());
        assert!(poll(accepted.as_mut()).is_pending());
        inner.command(|machine| machine.send("x".repeat(1 << 20))).expect("an open channel");
        offer(&far);
        eventually(|| inner.with_machine(cluster_core::Worker::is_acknowledging)).await;
        writeln!(far, "{DISCONNECT}").expect("written");
        eventually(|| inner.with_machine(cluster_core::Worker::exited_after_disconnect)).await;
        assert!(poll(disconnecting.as_mut()).is_pending());
        line_with(&far, r#""act":"close""#).await;
        assert!(poll(disconnecting.as_mut()).is_pending());
        assert!(matches!(poll(accepted.as_mut()), Poll::Ready(Some(_))));
    }
    timeout(LONG, disconnecting).await.expect("the worker disconnects in time");
}

/// `main` returns as soon as the listeners are closed. A connection handed off by the primary before the
/// answer to the report is rejected, and not lost.
#[test]
fn dropped_worker_completes_its_disconnect() {
    let (near, far) = UnixStream::pair().expect("a pair");
    let primary = thread::spawn(move || {
        let mut seen = Vec::new();
        for line in BufReader::new(far.try_clone().expect("a copy")).lines().map_while(Result::ok) {
            if line.contains("queryServer") {
                writeln!(&far, "{}", answer_to(&line)).expect("written");
            } else if line.contains("exitedAfterDisconnect") {
                // Lets the worker begin to wait for the answer.
                thread::sleep(Duration::from_millis(20));
                offer(&far);
                writeln!(&far, "{}", answer_to(&line)).expect("written");
            }
            seen.push(line);
        }
        seen
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let unix = Unix::with_channel(near).expect("a channel");
        let machine =
            cluster_core::Worker::new(WorkerId(1), cluster_core::Serialization::Json, Limits::default());
        let inner = Arc::new(Inner::new(machine, unix, Handle::current(), ExitRule::Return));
        inner.start();
        let opened = ListenerHandle::open(inner.clone(), ListenOptions::default()).await;
        let (mut server, _) = opened.expect("a listener");
        inner.command(cluster_core::Worker::disconnect);
        assert!(server.next_accepted().await.is_none());
    });
    drop(runtime);
    let seen = primary.join().expect("no panic");
    assert!(seen.iter().any(|line| line.contains(r#""accepted":false"#)), "{seen:#?}");
}

/// A listening worker, the primary's end of the channel, and the listener.
async fn serving() -> (Arc<Inner>, UnixStream, ListenerHandle) {
    let (inner, mut far) = worker();
    inner.start();
    let opening = tokio::spawn(ListenerHandle::open(inner.clone(), ListenOptions::default()));
    writeln!(far, "{}", answer(&far).await).expect("written");
    let opened = timeout(LONG, opening).await.expect("an answer in time").expect("no panic");
    let (server, _) = opened.expect("a listener");
    (inner, far, server)
}

/// Hands off a connection, as a primary.
fn offer(far: &UnixStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a listener");
    let offer = r#"{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_CLUSTER","act":"newconn","key":"key","seq":7}}"#;
    send_with(far, &format!("{offer}\n"), client.as_fd());
}

/// The next event.
async fn next(inner: &Inner) -> Option<WorkerEvent> {
    timeout(LONG, inner.next()).await.expect("an event in time")
}

/// Waits until the driver has reached a state.
async fn eventually(reached: impl Fn() -> bool) {
    let begin = std::time::Instant::now();
    while !reached() {
        assert!(begin.elapsed() < LONG, "the driver has not reached the state in time");
        tokio::task::yield_now().await;
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// The request to disconnect.
const DISCONNECT: &str = r#"{"cmd":"NODE_CLUSTER","act":"disconnect","seq":0}"#;

/// Waits for the request to listen, and returns the reply.
async fn answer(far: &UnixStream) -> String {
    answer_to(&line_with(far, "queryServer").await)
}

fn answer_to(question: &str) -> String {
    let question: serde_json::Value = serde_json::from_str(question).expect("JSON");
    let seq = question["seq"].as_u64().expect("a number");
    format!(r#"{{"cmd":"NODE_CLUSTER","ack":{seq},"key":"key","errno":null,"data":null}}"#)
}

/// The next line with the text. Later lines of the same read are lost.
async fn line_with(far: &UnixStream, text: &'static str) -> String {
    let lines = BufReader::new(far.try_clone().expect("a copy")).lines().map_while(Result::ok);
    let mut found = lines.filter(move |line| line.contains(text));
    let found = tokio::task::spawn_blocking(move || found.next()).await.expect("no panic");
    found.expect("a line with the text")
}

/// Writes lines, and a descriptor with the first line.
fn send_with(far: &UnixStream, lines: &str, descriptor: BorrowedFd<'_>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    sendmsg(far, &[IoSlice::new(lines.as_bytes())], &mut control, SendFlags::empty()).expect("sent");
}

/// The number in a message.
fn number_of(event: Option<WorkerEvent>) -> Option<usize> {
    match event? {
        WorkerEvent::Message { message, .. } => message.to().ok(),
        WorkerEvent::Error(_) | WorkerEvent::LameDuck | WorkerEvent::Disconnect => None,
    }
}

/// A worker, and the primary's end of the channel.
fn worker() -> (Arc<Inner>, UnixStream) {
    let (near, far) = UnixStream::pair().expect("a pair");
    far.set_read_timeout(Some(LONG)).expect("a bound");
    let unix = Unix::with_channel(near).expect("a channel");
    let machine =
        cluster_core::Worker::new(WorkerId(1), cluster_core::Serialization::Json, Limits::default());
    let inner = Arc::new(Inner::new(machine, unix, Handle::current(), ExitRule::KeepRunning));
    (inner, far)
}

/// Writes numbers and a request to disconnect, and keeps the channel open.
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
    let (begin, mut before) = (std::time::Instant::now(), 0);
    while before < INBOX_EVENTS || inner.inbox.len() > before {
        assert!(begin.elapsed() < LONG, "the inbox is not full in time");
        before = inner.inbox.len();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    // The last read may exceed the bound by 64 KiB. The shortest line has two bytes.
    assert!(before < INBOX_EVENTS + (64 << 10) / 2, "{before}");
}
