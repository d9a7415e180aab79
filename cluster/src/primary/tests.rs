//! A primary with counters near the ends of 31 bits, 32 bits and Node's 2^53, over Node workers; the turns of
//! the kernel and of remotes; received sockets.

use std::future::poll_fn;
use std::io::{self, Read};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cluster_core::{Call, ExitStatus, HandleType, Os, Serialization, SpawnOptions, TimerId};
use serde_json::json;
use tokio::time::timeout;

use super::*;

mod counting;
mod keeping;

/// Bounds each wait of a test.
const LONG: Duration = Duration::from_secs(30);

/// Numbers shortly before the limits: 31 bits, 32 bits, and 2^53, where Node no longer distinguishes
/// neighbours.
const NEAR_ENDS: [u64; 3] = [(1 << 31) - 20, (1 << 32) - 20, (1 << 53) - 1_000];

/// Serves, echoes messages and sends the worker's id.
const WORKER: &str = "
    setTimeout(() => process.exit(9), 60000).unref();
    const cluster = require('cluster');
    process.on('message', (message) => process.send({ id: cluster.worker.id, message }));
    require('net').createServer((connection) => connection.end('node')).listen(0, '127.0.0.1');
";

/// Whether Node.js is missing. Then a test prints a line and passes.
fn lacks_node() -> bool {
    let lacks = std::process::Command::new("node").arg("--version").stdout(Stdio::null()).status().is_err();
    if lacks {
        eprintln!("there is no `node` here");
    }
    lacks
}

fn script() -> io::Result<tempfile::TempPath> {
    let file = tempfile::Builder::new().suffix(".cjs").tempfile()?.into_temp_path();
    std::fs::write(&file, WORKER)?;
    Ok(file)
}

/// A primary of workers that run the script. The program `env` adds `environment` to the environment.
fn primary(script: &tempfile::TempPath, serialization: Serialization, environment: &[&str]) -> Primary {
    let words = environment.iter().copied().chain(["node"]).map(String::from);
    let args = words.chain([script.to_string_lossy().into_owned()]);
    let command = SpawnOptions::new().exec("env").args(args).serialization(serialization);
    Primary::new(Settings { spawn: command, ..Settings::default() }).expect("a primary")
}

fn unix(primary: &mut Primary) -> &mut crate::unix::Unix {
    primary.system.unix().expect("the real system")
}

async fn next(primary: &mut Primary) -> Event {
    timeout(LONG, primary.next()).await.expect("in time").expect("workers live")
}

async fn port(primary: &mut Primary) -> u16 {
    loop {
        if let Event::Listening { address, .. } = next(primary).await {
            return u16::try_from(address.port).expect("a port");
        }
    }
}

/// Reads from a worker until the end of the connection, while the primary runs.
async fn answer(primary: &mut Primary, port: u16) -> String {
    let mut reading = tokio::task::spawn_blocking(move || {
        let mut client = TcpStream::connect(("127.0.0.1", port))?;
        client.set_read_timeout(Some(LONG))?;
        let mut text = String::new();
        client.read_to_string(&mut text).map(|_| text)
    });
    loop {
        tokio::select! {
            read = &mut reading => return read.expect("no panic").expect("the worker answers"),
            _ = primary.next() => {}
        }
    }
}

async fn echo(primary: &mut Primary, worker: WorkerId) -> Message {
    primary.send(worker, json!("hello")).expect("the worker reads");
    loop {
        if let Event::Message { message, .. } = next(primary).await {
            return message;
        }
    }
}

/// The counters pass each end while a worker has connections, sends messages and disconnects.
async fn passes_ends(serialization: Serialization) {
    if lacks_node() {
        return;
    }
    let script = script().expect("a file");
    for last in NEAR_ENDS {
        let mut primary = primary(&script, serialization, &[]);
        primary.machine.change(|machine| machine.count_after(last));
        unix(&mut primary).count_after(last);
        let worker = primary.fork().expect("the settings are valid");
        let port = port(&mut primary).await;
        for _ in 0..40 {
            assert_eq!(answer(&mut primary, port).await, "node", "after {last}");
        }
        assert_eq!(echo(&mut primary, worker).await, json!({ "id": 1, "message": "hello" }));
        assert!(primary.machine.ledger().owned() == 40 && unix(&mut primary).last_socket().0 > last + 40);
        end(&mut primary, worker).await;
    }
}

/// Disconnects the worker, and asserts exit code 0.
async fn end(primary: &mut Primary, worker: WorkerId) {
    primary.disconnect_all();
    let mut status = None;
    while let Some(event) = timeout(LONG, primary.next()).await.expect("in time") {
        if let Event::Exit { worker: ended, status: with, .. } = event {
            status = (ended == worker).then_some(with);
        }
    }
    assert_eq!(status, Some(ExitStatus::Code(0)));
}

#[tokio::test]
async fn counters_pass_ends_in_json() {
    passes_ends(Serialization::Json).await;
}

#[tokio::test]
async fn counters_pass_ends_in_v8() {
    passes_ends(Serialization::Advanced).await;
}

/// Node reads the id as a signed 32-bit number, and serves under any id. The primary continues to count.
#[tokio::test]
async fn worker_ids_beyond_node_serve() {
    if lacks_node() {
        return;
    }
    let script = script().expect("a file");
    for (last, id) in [((1 << 31) - 1, -(1_i64 << 31)), ((1 << 32) - 1, 0), ((1 << 53) - 1, 0)] {
        let mut primary = primary(&script, Serialization::Json, &[]);
        primary.machine.change(|machine| machine.count_workers_after(WorkerId(last)));
        let worker = primary.fork().expect("the settings are valid");
        assert_eq!(worker, WorkerId(last + 1));
        let port = port(&mut primary).await;
        assert_eq!(answer(&mut primary, port).await, "node");
        assert_eq!(echo(&mut primary, worker).await, json!({ "id": id, "message": "hello" }));
        end(&mut primary, worker).await;
    }
}

/// A worker may assume another id for itself: the primary does not depend on the worker's id.
#[tokio::test]
async fn worker_may_take_another_number() {
    if lacks_node() {
        return;
    }
    let script = script().expect("a file");
    for id in ["2", "77", "4294967295"] {
        let mut primary = primary(&script, Serialization::Json, &[&format!("NODE_UNIQUE_ID={id}")]);
        let worker = primary.fork().expect("the settings are valid");
        let port = port(&mut primary).await;
        assert_eq!(answer(&mut primary, port).await, "node");
        end(&mut primary, worker).await;
    }
}

// ---- turns

/// For each event of the kernel, the number of requests taken before the event, when all inputs are ready.
async fn turns(events: u64, requests: usize) -> Vec<usize> {
    let mut primary = Primary::new(Settings::default()).expect("a primary");
    let remote = primary.remote();
    for timer in 1..=events {
        unix(&mut primary).perform(Call::SetTimer { timer: TimerId(timer), after_ms: 0 });
    }
    let obeyed = Arc::new(AtomicUsize::new(0));
    for _ in 0..requests {
        let obeyed = obeyed.clone();
        remote
            .command(Box::new(move |_| {
                obeyed.fetch_add(1, Ordering::Relaxed);
            }))
            .await;
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    let mut order = Vec::new();
    let total = usize::try_from(events).expect("few") + requests;
    for _ in 0..total {
        let before = obeyed.load(Ordering::Relaxed);
        assert!(poll_fn(|cx| Poll::Ready(primary.take_input(cx))).await, "everything is ready");
        if obeyed.load(Ordering::Relaxed) == before {
            order.push(before);
        }
    }
    assert!(!poll_fn(|cx| Poll::Ready(primary.take_input(cx))).await, "there is no other input");
    order
}

/// Events of the kernel and requests of a remote alternate.
#[tokio::test]
async fn requests_and_events_take_turns() {
    let order = turns(20, 20).await;
    let fair = |(nth, before): (usize, &usize)| (nth..=nth + 1).contains(before);
    assert!(order.len() == 20 && order.iter().enumerate().all(fair), "{order:?}");
}

/// If only one kind of input is ready, no input waits for the other kind.
#[tokio::test]
async fn turns_are_not_wasted() {
    assert_eq!(turns(5, 0).await, [0; 5]);
    assert!(turns(0, 5).await.is_empty());
}

// ---- sockets

/// Only the event with the socket can take the socket, once.
#[tokio::test]
async fn socket_is_taken_with_its_event() {
    let mut primary = Primary::new(Settings::default()).expect("a primary");
    let (near, _far) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let socket = unix(&mut primary).adopt(near.into());
    primary.unclaimed = Some(socket);
    let passed = |socket| IncomingHandle { socket, kind: HandleType::Socket };
    assert!(primary.take_socket(passed(SocketId(socket.0 + 1))).is_none(), "of another event");
    assert!(primary.take_socket(passed(socket)).is_some());
    assert!(primary.take_socket(passed(socket)).is_none(), "once");
}
