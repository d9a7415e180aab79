//! A worker ends when `main` returns: destructors run, the rest of a disconnect happens, and a deadline ends
//! a process that has lost its primary.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use ::cluster::{Event, ExitStatus, Message, Primary, Signal, WorkerError, WorkerId, WorkerInfo};
use libtest_mimic::Trial;
use serde_json::json;
use tokio::time::timeout;

use super::ends::abandon;
use super::support::{TIMEOUT, TestResult, asynchronous, connect, message, port, primary, rest, until};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        asynchronous("disconnected_worker_runs_destructors", disconnected),
        asynchronous("self_disconnected_worker_runs_destructors", self_disconnected),
        asynchronous("lost_worker_runs_destructors", lost),
        asynchronous("events_end_before_main_returns", events),
        asynchronous("stream_of_events_ends", stream),
        asynchronous("datagrams_end_before_main_returns", datagrams),
        asynchronous("hold_allows_report_after_last_accept", report),
        asynchronous("disconnected_worker_that_stays_is_reported", stays),
        asynchronous("lost_worker_exits_at_deadline", never_returns),
        asynchronous("blocked_worker_exits_at_deadline", blocked),
        asynchronous("blocked_runtime_exits_at_deadline", blocked_before),
        asynchronous("deadline_spares_worker_that_keeps_running", keeps_running),
        asynchronous("axum_serve_reports_client_address", application),
        asynchronous("serve_keeps_times_of_drain", times_of_drain),
    ]
}

/// Forks a worker. Returns the listener to which the destructor writes.
fn start(primary: &mut Primary, program: &str) -> io::Result<(WorkerId, TcpListener)> {
    let witness = TcpListener::bind("127.0.0.1:0")?;
    let (program, address) = (format!("until main returns: {program}"), witness.local_addr()?.to_string());
    let env = [("PROGRAM", program), ("ADDRESS", address)];
    let worker = primary.fork_with_env(env).map_err(io::Error::other)?;
    Ok((worker, witness))
}

/// The text that the destructor has written, after the process has exited.
fn last_words(witness: &TcpListener) -> io::Result<String> {
    let connection = witness.accept()?.0;
    connection.set_read_timeout(Some(TIMEOUT))?;
    io::read_to_string(connection)
}

/// Asserts an exit with code 0 after a disconnect. Returns the messages of the worker.
async fn exits(primary: &mut Primary, worker: WorkerId) -> Result<Vec<Message>, libtest_mimic::Failed> {
    let seen = rest(primary).await?;
    let is_clean = |event: &Event| matches!(event, Event::Exit { worker: it, status: ExitStatus::Code(0), .. } if *it == worker);
    assert!(seen.iter().any(is_clean));
    let messages = seen.into_iter().filter_map(|event| match event {
        Event::Message { message, .. } => Some(message),
        _ => None,
    });
    Ok(messages.collect())
}

async fn disconnected() -> TestResult {
    let mut primary = primary()?;
    let (worker, witness) = start(&mut primary, "serve")?;
    port(&mut primary).await?;
    primary.disconnect_all();
    exits(&mut primary, worker).await?;
    assert_eq!(last_words(&witness)?, "dropped");
    Ok(())
}

async fn self_disconnected() -> TestResult {
    let mut primary = primary()?;
    let (worker, witness) = start(&mut primary, "disconnect and serve")?;
    exits(&mut primary, worker).await?;
    assert_eq!(last_words(&witness)?, "dropped");
    Ok(())
}

async fn lost() -> TestResult {
    let mut primary = primary()?;
    let (_, witness) = start(&mut primary, "serve")?;
    port(&mut primary).await?;
    let words = abandon(primary, || last_words(&witness)).await??;
    assert_eq!(words, "dropped");
    Ok(())
}

async fn events() -> TestResult {
    let mut primary = primary()?;
    let (worker, witness) = start(&mut primary, "take events")?;
    until(&mut primary, |event| matches!(event, Event::Online { .. })).await?;
    primary.disconnect_worker(worker);
    exits(&mut primary, worker).await?;
    assert_eq!(last_words(&witness)?, "dropped");
    Ok(())
}

async fn stream() -> TestResult {
    let mut primary = primary()?;
    let (worker, witness) = start(&mut primary, "take events of the stream")?;
    until(&mut primary, |event| matches!(event, Event::Online { .. })).await?;
    primary.send(worker, json!("echo"))?;
    assert_eq!(message(&mut primary).await?, json!("echo"));
    primary.disconnect_worker(worker);
    exits(&mut primary, worker).await?;
    assert_eq!(last_words(&witness)?, "dropped");
    Ok(())
}

async fn datagrams() -> TestResult {
    let mut primary = primary()?;
    let (worker, witness) = start(&mut primary, "receive datagrams")?;
    assert_eq!(message(&mut primary).await?, json!("bound"));
    primary.disconnect_worker(worker);
    exits(&mut primary, worker).await?;
    assert_eq!(last_words(&witness)?, "dropped");
    Ok(())
}

/// Without the guard, the channel closes with the last listener, and the report fails.
async fn report() -> TestResult {
    let mut primary = primary()?;
    let (worker, witness) = start(&mut primary, "serve and report")?;
    port(&mut primary).await?;
    primary.disconnect_worker(worker);
    assert_eq!(exits(&mut primary, worker).await?, vec![Message::from("last report")]);
    assert_eq!(last_words(&witness)?, "dropped");
    Ok(())
}

/// The channel is closed as requested, but `main` does not return. After the close, the clock advances
/// automatically.
async fn stays() -> TestResult {
    let mut primary = primary()?;
    let (worker, _witness) = start(&mut primary, "never return")?;
    assert_eq!(message(&mut primary).await?, json!("ready"));
    primary.disconnect_worker(worker);
    until(&mut primary, |event| *event == Event::Disconnect { worker }).await?;
    tokio::time::pause();
    let reported = timeout(Duration::from_hours(1), primary.next()).await;
    tokio::time::resume();
    primary.kill(worker, Signal::SIGKILL);
    rest(&mut primary).await?;
    assert_eq!(reported?, Some(Event::Error { worker, error: WorkerError::Lingers }));
    Ok(())
}

/// The deadline ends the process, so no destructor runs.
async fn never_returns() -> TestResult {
    let mut primary = primary()?;
    let (_, witness) = start(&mut primary, "never return")?;
    assert_eq!(message(&mut primary).await?, json!("ready"));
    let words = abandon(primary, || last_words(&witness)).await??;
    assert_eq!(words, String::new());
    Ok(())
}

/// The deadline also holds for a program that blocks the thread of the runtime.
async fn blocked() -> TestResult {
    let mut primary = primary()?;
    let (_, witness) = start(&mut primary, "block the runtime")?;
    assert_eq!(message(&mut primary).await?, json!("ready"));
    let words = abandon(primary, || last_words(&witness)).await??;
    assert_eq!(words, String::new());
    Ok(())
}

/// The program blocks the thread of the runtime already before the loss of the primary.
async fn blocked_before() -> TestResult {
    let mut primary = primary()?;
    let (_, witness) = start(&mut primary, "block the runtime at once")?;
    assert_eq!(message(&mut primary).await?, json!("ready"));
    let words = abandon(primary, || last_words(&witness)).await??;
    assert_eq!(words, String::new());
    Ok(())
}

async fn keeps_running() -> TestResult {
    let mut primary = primary()?;
    let (_, witness) = start(&mut primary, "keep running")?;
    assert_eq!(message(&mut primary).await?, json!("ready"));
    let words = abandon(primary, || last_words(&witness)).await??;
    assert_eq!(words, "dropped");
    Ok(())
}

/// `axum::serve` with the listener of this library: `ConnectInfo` works, and the server ends gracefully.
async fn application() -> TestResult {
    let mut primary = primary()?;
    let (worker, witness) = start(&mut primary, "serve an application")?;
    let client = connect(port(&mut primary).await?)?;
    let address = client.local_addr()?.to_string();
    let answer = tokio::task::spawn_blocking(move || request(client));
    let answer = tokio::select! {
        answer = answer => answer??,
        events = rest(&mut primary) => return Err(format!("{events:?}").into()),
    };
    assert!(answer.ends_with(&address));
    primary.disconnect_worker(worker);
    let seen = until(&mut primary, |event| matches!(event, Event::Exit { .. })).await?;
    assert!(matches!(seen.last(), Some(Event::Exit { status: ExitStatus::Code(0), .. })), "{seen:?}");
    assert_eq!((primary.connections().accepted, primary.connections().owned), (1, 1));
    assert_eq!(primary.worker(worker).map(WorkerInfo::acknowledged_connections), Some(1));
    assert_eq!(last_words(&witness)?, "dropped");
    Ok(())
}

/// After the first time, an idle connection is closed. After both times, an unanswered request is cut off.
/// The clock of the worker advances automatically.
async fn times_of_drain() -> TestResult {
    for (path, seconds) in [("/", 5), ("/pending", 12)] {
        let mut primary = primary()?;
        let (worker, _witness) = start(&mut primary, "serve with times")?;
        let mut client = connect(port(&mut primary).await?)?;
        write!(client, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")?;
        assert_eq!(message(&mut primary).await?, json!("requested"));
        primary.disconnect_worker(worker);
        assert_eq!(message(&mut primary).await?, json!(seconds));
        exits(&mut primary, worker).await?;
    }
    Ok(())
}

fn request(mut client: TcpStream) -> io::Result<String> {
    client.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    client.read_to_string(&mut answer).map(|_| answer)
}
