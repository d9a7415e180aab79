//! Requests with replies, broadcasts, and sockets through a supervisor.

use std::future::Future;
use std::io::Read;
use std::time::Duration;

use ::cluster::{
    Event, IncomingRequest, Primary, RequestError, Serialization, Settings, SpawnOptions, Supervisor,
    SupervisorEvent, SupervisorSettings, WorkerId,
};
use libtest_mimic::{Failed, Trial};
use serde_json::json;
use tokio::time::timeout;

use super::node::is_absent;
use super::programs::supervised::SUPERVISED;
use super::support::{TIMEOUT, TestResult, asynchronous, fork, message, primary, primary_of, rest, until};

/// Answers requests in plain JavaScript.
const NODE: &str = "
    process.on('message', ({ cmd, id, body }) => {
        if (cmd === 'CLUSTER_REQUEST') process.send({ cmd: 'CLUSTER_REPLY', id, body: body === 'big' ? 2n ** 100n : body.map(n => 2 * n) });
    });
    process.send('ready');
";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        asynchronous("requests_match_their_replies", concurrent),
        asynchronous("failed_request_has_reason", failures),
        asynchronous("reply_with_socket_is_an_event", reply_with_socket),
        asynchronous("worker_asks_primary", from_worker),
        asynchronous("node_worker_answers_request", node).with_ignored_flag(is_absent()),
        asynchronous("broadcast_reaches_every_worker", broadcast),
        asynchronous("supervisor_passes_messages_and_sockets", supervised),
    ]
}

/// The result of a future. The primary must be driven meanwhile.
async fn driven<T>(primary: &mut Primary, future: impl Future<Output = T>) -> Result<T, Failed> {
    tokio::pin!(future);
    loop {
        tokio::select! {
            result = &mut future => return Ok(result),
            event = primary.next() => drop(event.ok_or("no worker is left")?),
        }
    }
}

async fn ended(mut primary: Primary) -> TestResult {
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

/// The worker answers the second request first.
async fn concurrent() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "answer requests");
    let remote = primary.remote();
    let both = async {
        tokio::join!(
            remote.request::<_, String>(worker, "pair, one", TIMEOUT),
            remote.request::<_, String>(worker, "pair, two", TIMEOUT)
        )
    };
    let (one, two) = driven(&mut primary, both).await?;
    assert_eq!((one?.as_str(), two?.as_str()), ("re: pair, one", "re: pair, two"));
    drop(remote);
    ended(primary).await
}

/// The failures of a request: a refusal, a timeout, a reply of another type, an unknown worker, and a death.
async fn failures() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "answer requests");
    let refused = primary.request::<_, String>(worker, "refuse", TIMEOUT).await;
    assert_eq!(refused, Err(RequestError::Refused("no".into())));
    let short = Duration::from_millis(20);
    assert_eq!(primary.request::<_, String>(worker, "never", short).await, Err(RequestError::Timeout(short)));
    assert!(matches!(
        primary.request::<_, u64>(worker, "text", TIMEOUT).await,
        Err(RequestError::Message(_))
    ));
    assert!(matches!(primary.request::<_, ()>(WorkerId(9), "", TIMEOUT).await, Err(RequestError::Send(_))));
    let ended = primary.request::<_, String>(worker, "exit", TIMEOUT).await;
    assert_eq!(ended, Err(RequestError::Disconnected));
    rest(&mut primary).await.map(drop)
}

/// A reply with a socket: the request fails at once, not at its timeout, and the program receives the message
/// with the socket.
async fn reply_with_socket() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "answer requests");
    let asked = primary.request::<_, String>(worker, "with a socket", TIMEOUT).await;
    assert_eq!(asked, Err(RequestError::Socket));
    let seen = until(&mut primary, |event| matches!(event, Event::Message { .. })).await?;
    let Some(Event::Message { handle: Some(handle), .. }) = seen.last() else {
        return Err(format!("{seen:?}").into());
    };
    assert!(primary.take_socket(*handle).is_some());
    ended(primary).await
}

async fn from_worker() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "ask the primary");
    let seen = until(&mut primary, |event| matches!(event, Event::Message { .. })).await?;
    let Some(Event::Message { message: question, .. }) = seen.last() else {
        return Err("no question".into());
    };
    let request = IncomingRequest::of(question).ok_or("no request")?;
    primary.send(worker, request.reply(&(request.body::<u64>()? + 1))?)?;
    assert_eq!(message(&mut primary).await?, json!(21));
    ended(primary).await
}

async fn node() -> TestResult {
    let script = super::node::script(NODE)?;
    let mut primary = primary_of("node", &[&script.to_string_lossy()])?;
    let worker = primary.fork()?;
    assert_eq!(message(&mut primary).await?, json!("ready"));
    assert_eq!(primary.request::<_, Vec<u64>>(worker, &[1, 2], TIMEOUT).await?, [2, 4]);
    ended(primary).await?;
    // The reply is a big integer, which has no JSON form.
    let mut primary = primary_of("node", &[&script.to_string_lossy()])?;
    primary.setup(SpawnOptions::new().serialization(Serialization::Advanced));
    let worker = primary.fork()?;
    assert_eq!(message(&mut primary).await?, json!("ready"));
    assert_eq!(primary.request::<_, i128>(worker, "big", TIMEOUT).await?, 1 << 100);
    ended(primary).await
}

async fn broadcast() -> TestResult {
    let mut primary = primary()?;
    let workers = [fork(&mut primary, "echo"), fork(&mut primary, "echo")];
    let results = primary.broadcast("all");
    assert!(results.iter().all(|(_, sent)| sent.is_ok()));
    assert_eq!(results.iter().map(|(worker, _)| *worker).collect::<Vec<_>>(), workers);
    for _ in workers {
        assert_eq!(message(&mut primary).await?, json!("all"));
    }
    ended(primary).await
}

async fn supervised() -> TestResult {
    let spawn = SpawnOptions::new().args([SUPERVISED, "answer requests"]);
    let settings = SupervisorSettings::new(2).primary(Settings { spawn, ..Settings::default() });
    let mut supervisor = Supervisor::new(settings)?;
    let handle = supervisor.handle();
    let mut ready = Vec::new();
    while ready.len() < 2 {
        if let SupervisorEvent::SlotReady { worker, .. } =
            timeout(TIMEOUT, supervisor.next()).await?.ok_or("the end")?
        {
            ready.push(worker);
        }
    }
    let end = tokio::spawn(supervisor.run());
    let (first, second) = tokio::join!(
        handle.request::<_, String>(ready[0], "one", TIMEOUT),
        handle.request::<_, String>(ready[1], "two", TIMEOUT)
    );
    assert_eq!((first?.as_str(), second?.as_str()), ("re: one", "re: two"));
    assert!(handle.broadcast("all").await?.iter().all(|(_, sent)| sent.is_ok()));
    handle.send_when_room(ready[0], "room").await?;
    // The worker writes to the socket, and then closes the socket.
    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    handle.send_with(ready[1], "socket", theirs).await?;
    let text = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        ours.read_to_string(&mut text).map(|_| text)
    });
    assert_eq!(timeout(TIMEOUT, text).await???, "through a socket");
    let ended = handle.request::<_, String>(ready[0], "exit", TIMEOUT).await;
    assert_eq!(ended, Err(RequestError::Disconnected));
    handle.shutdown().await?;
    Ok(timeout(TIMEOUT, end).await???)
}
