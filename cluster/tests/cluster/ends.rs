//! How the process of a worker ends after the end of the channel.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use ::cluster::{Event, ExitStatus, Primary};
use libtest_mimic::Trial;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use super::support::{
    TIMEOUT, TestResult, asynchronous, children, connect, fork, message, port, primary, rest, until,
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        asynchronous("lost_worker_without_events_ends", ends_at_once),
        asynchronous("lost_worker_reacts_before_exit", answers_first),
        asynchronous("running_worker_exits_itself", stays),
        asynchronous("disconnected_worker_outlives_primary", serves_on),
        asynchronous("disconnected_worker_exits_with_0", asked_to_disconnect),
        asynchronous("exit_when_listening_announces_nothing", exits_when_listening),
    ]
}

async fn ends_at_once() -> TestResult {
    let mut primary = primary()?;
    fork(&mut primary, "never accept");
    let mut client = connect(port(&mut primary).await?)?;
    let mut rest = Vec::new();
    abandon(primary, || {
        // No worker has accepted the connection, so the exit closes or resets the connection.
        let _ = client.read_to_end(&mut rest);
    })
    .await?;
    assert!(rest.is_empty(), "{rest:?}");
    Ok(())
}

async fn answers_first() -> TestResult {
    let mut primary = primary()?;
    fork(&mut primary, "answer the disconnect");
    let mut client = connect(port(&mut primary).await?)?;
    greeted(&mut primary, &mut client).await?;
    let goodbye = abandon(primary, || io::read_to_string(client)).await??;
    assert_eq!(goodbye, ", goodbye");
    Ok(())
}

async fn stays() -> TestResult {
    let mut primary = primary()?;
    fork(&mut primary, "stay");
    let mut client = connect(port(&mut primary).await?)?;
    greeted(&mut primary, &mut client).await?;
    let answer = abandon(primary, || {
        client.write_all(b"still here?")?;
        client.shutdown(Shutdown::Write)?;
        io::read_to_string(client)
    });
    assert_eq!(answer.await??, ", still here?; connected: false; Some(Disconnect), None");
    Ok(())
}

async fn serves_on() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "echo all");
    let mut client = connect(port(&mut primary).await?)?;
    client.write_all(b"hello")?;
    greeted(&mut primary, &mut client).await?;
    // After the answer, the primary has read the acknowledgement of the connection, and no message waits
    // behind the connection.
    primary.send(worker, json!("there?"))?;
    assert_eq!(message(&mut primary).await?, json!("there?"));
    primary.disconnect_worker(worker);
    let answer = abandon(primary, || {
        client.write_all(b"still here?")?;
        client.shutdown(Shutdown::Write)?;
        io::read_to_string(client)
    });
    assert_eq!(answer.await??, "still here?");
    Ok(())
}

async fn asked_to_disconnect() -> TestResult {
    let mut primary = primary()?;
    // Three kinds of workers: never asking for events, asking for events, and waiting for the end.
    let workers =
        [fork(&mut primary, "never accept"), fork(&mut primary, "echo"), fork(&mut primary, "serve")];
    for _ in workers {
        until(&mut primary, |event| matches!(event, Event::Online { .. })).await?;
    }
    primary.disconnect_all();
    let seen = rest(&mut primary).await?;
    let clean = |worker| {
        seen.contains(&Event::Exit { worker, status: ExitStatus::Code(0), exited_after_disconnect: true })
    };
    assert_eq!(workers.map(clean), [true; 3]);
    Ok(())
}

/// If a worker exits in the reaction to `listen`, the server is not announced, as in Node.
async fn exits_when_listening() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "exit when listening");
    let seen = rest(&mut primary).await?;
    assert!(seen.contains(&Event::Exit {
        worker,
        status: ExitStatus::Code(3),
        exited_after_disconnect: false
    }));
    assert!(!(seen.iter().any(|event| matches!(event, Event::Listening { .. }))));
    Ok(())
}

/// Drops a primary, calls `act`, and waits until the runtime has reaped the workers.
pub(crate) async fn abandon<T>(primary: Primary, act: impl FnOnce() -> T) -> io::Result<T> {
    let mut child_ended = signal(SignalKind::child())?;
    drop(primary);
    let result = act();
    while !children().is_empty() {
        let ended = timeout(TIMEOUT, child_ended.recv()).await;
        ended.map_err(|_| io::Error::other("a worker has not ended in time"))?;
    }
    Ok(result)
}

/// Waits for the greeting of the worker while the primary runs.
async fn greeted(primary: &mut Primary, client: &mut std::net::TcpStream) -> TestResult {
    let mut reader = client.try_clone()?;
    let greeting = tokio::task::spawn_blocking(move || {
        let mut hello = [0; 5];
        reader.read_exact(&mut hello).map(|()| hello)
    });
    tokio::select! {
        hello = greeting => assert_eq!(&hello??, b"hello"),
        event = until(primary, |event| matches!(event, Event::Exit { .. })) => return Err(format!("{event:?}").into()),
    }
    Ok(())
}
