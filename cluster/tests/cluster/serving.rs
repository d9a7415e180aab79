//! Workers that serve: the distribution of connections, and unaccepted connections.

use ::cluster::{
    Errno, Event, ExitStatus, Primary, SchedulingPolicy, Settings, Signal, WorkerId, WorkerInfo,
};
use libtest_mimic::Trial;
use serde_json::json;
use socket2::SockRef;
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use super::support::{
    FdExhaustion, TestResult, asynchronous, connect, fork, fork_at, message, port, primary, read_answer,
    rest, until,
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        asynchronous("connections_alternate_between_workers", round_robin),
        asynchronous("program_chooses_workers", chosen),
        asynchronous("unacknowledged_connection_is_requeued", || redistributed("never accept")),
        asynchronous("stopped_accept_takes_nothing", || redistributed("stop accepting")),
        asynchronous("dropped_accept_loses_nothing", hesitation),
        asynchronous("reset_client_is_reported", broken_off),
        asynchronous("axum_skips_reset_client", passed_over),
        asynchronous("port_in_use_is_error", port_in_use),
        asynchronous("workers_share_a_socket", shared),
        asynchronous("shared_port_in_use_is_error", shared_port_in_use),
        asynchronous("every_address_includes_ipv4", every_address),
        asynchronous("close_waits_for_connections", closes),
        asynchronous("worker_drains_before_exit", drains),
        asynchronous("disconnected_listener_is_not_reported", leaves_at_once),
        asynchronous("workers_may_have_many_threads", many_threads),
        asynchronous("starving_primary_does_not_spin", starving_does_not_spin),
        asynchronous("worker_with_one_descriptor_serves_many", one_descriptor),
        asynchronous("listen_tries_each_address", tries_each_address),
        asynchronous("serve_reports_the_client_address", client_address),
        asynchronous("disconnect_refuses_later_clients", refuses_later_clients),
        asynchronous("starved_primary_recovers", starved),
        asynchronous("starved_worker_recovers", starved_worker),
    ]
}

async fn round_robin() -> TestResult {
    let mut primary = primary()?;
    let workers = [fork(&mut primary, "serve"), fork(&mut primary, "serve, and take events")];
    let first = port(&mut primary).await?;
    assert_eq!(port(&mut primary).await?, first);
    let mut who = Vec::new();
    for _ in 0..6 {
        who.push(read_answer(&mut primary, connect(first)?).await?);
    }
    assert_eq!(
        who[..2].iter().cloned().collect::<BTreeSet<_>>(),
        workers.map(|worker| worker.to_string()).into_iter().collect::<BTreeSet<_>>()
    );
    assert_eq!(&who[..2], &who[2..4]);
    assert_eq!(&who[..2], &who[4..6]);
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

/// A function of the program chooses the second worker whenever both are ready.
async fn chosen() -> TestResult {
    let mut primary = primary()?;
    primary.set_policy(SchedulingPolicy::Custom)?;
    primary.choose_by(|client, workers| {
        assert_eq!(client, Some(Ipv4Addr::LOCALHOST.into()));
        workers.iter().position(|candidate| candidate.worker == WorkerId(2)).unwrap_or(99)
    });
    let workers = [fork(&mut primary, "serve"), fork(&mut primary, "serve")];
    let first = port(&mut primary).await?;
    assert_eq!(port(&mut primary).await?, first);
    for _ in 0..6 {
        assert_eq!(read_answer(&mut primary, connect(first)?).await?, workers[1].to_string());
    }
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

async fn redistributed(program: &str) -> TestResult {
    let mut primary = primary()?;
    let idle = fork(&mut primary, program);
    let port_number = port(&mut primary).await?;
    let client = connect(port_number)?;
    // The worker has a connection, but does not accept. The next connection waits for another worker.
    let other = fork(&mut primary, "serve");
    assert_eq!(port(&mut primary).await?, port_number);
    let second = read_answer(&mut primary, connect(port_number)?).await?;
    assert_eq!(second, other.to_string());
    primary.kill(idle, Signal::SIGKILL);
    assert_eq!(read_answer(&mut primary, client).await?, other.to_string());
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

async fn hesitation() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "hesitate, then serve");
    let port = port(&mut primary).await?;
    for _ in 0..5 {
        assert_eq!(read_answer(&mut primary, connect(port)?).await?, worker.to_string());
    }
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

async fn broken_off() -> TestResult {
    let mut primary = primary()?;
    fork(&mut primary, "report input");
    let port = port(&mut primary).await?;
    for _ in 0..5 {
        break_off(connect(port)?)?;
        assert_eq!(message(&mut primary).await?, json!(["a request", "ConnectionReset"]));
    }
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

/// A reset connection has no address for axum, and no client to answer. The server skips the connection.
async fn passed_over() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "serve with axum");
    let port = port(&mut primary).await?;
    for _ in 0..5 {
        break_off(connect(port)?)?;
        assert_eq!(read_answer(&mut primary, connect(port)?).await?, worker.to_string());
    }
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

/// Resets a connection before the accept: the primary does not run meanwhile.
fn break_off(client: TcpStream) -> io::Result<()> {
    (&client).write_all(b"a request")?;
    SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
    drop(client);
    Ok(())
}

fn port_taken(address: &str) -> String {
    format!(
        "cannot bind {address}: EADDRINUSE (the address is in use); stop what listens there, or choose another address"
    )
}

async fn port_in_use() -> TestResult {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let mut primary = primary()?;
    let unlucky = fork_at(&mut primary, "serve", &address);
    let seen = until(&mut primary, |event| matches!(event, Event::Message { .. })).await?;
    let text = port_taken(&address);
    assert_eq!(
        seen.last(),
        Some(&Event::Message { worker: unlucky, message: json!({ "listen": text }).into(), handle: None })
    );
    assert!(!(seen.iter().any(|event| matches!(event, Event::Listening { .. }))));
    // The workers are unharmed.
    let lucky = fork(&mut primary, "serve");
    let port = port(&mut primary).await?;
    assert_eq!(read_answer(&mut primary, connect(port)?).await?, lucky.to_string());
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

/// As in tokio's `bind`: after a failed address the next address is tried, and the error is the error of the
/// last address.
async fn tries_each_address() -> TestResult {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    for mut primary in [primary()?, sharing()?] {
        fork_at(&mut primary, "listen at the first that can be bound", &address);
        assert_eq!(message(&mut primary).await?, json!("127.0.0.1"));
        assert_eq!(message(&mut primary).await?, json!("127.0.0.1"));
        let error = message(&mut primary).await?.to_string();
        assert!(error.contains(&format!("{address}: EADDRINUSE")));
        primary.disconnect_all();
        rest(&mut primary).await?;
    }
    Ok(())
}

/// A handler extracts the address by `ConnectInfo`.
async fn client_address() -> TestResult {
    let mut primary = primary()?;
    fork(&mut primary, "serve an application");
    let mut seen = until(&mut primary, |event| matches!(event, Event::Listening { .. })).await?;
    let Some(Event::Listening { address, .. }) = seen.pop() else { return Err("no address".into()) };
    let port = u16::try_from(address.port)?;
    // The message of the program may arrive before the event.
    let text =
        |event: &Event| if let Event::Message { message, .. } = event { message.json().ok() } else { None };
    let debug = seen.iter().find_map(text);
    let debug = match debug {
        Some(debug) => debug,
        None => message(&mut primary).await?,
    };
    let text = format!("Serve {{ listener: 127.0.0.1:{port}, close_idle_after: ");
    assert!(debug.as_str().is_some_and(|debug| debug.starts_with(&text)), "{debug}");
    let mut client = connect(port)?;
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let address = client.local_addr()?.to_string();
    let answer = read_answer(&mut primary, client).await?;
    assert!(answer.ends_with(&format!("\r\n\r\n{address}")));
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

fn sharing() -> Result<Primary, ::cluster::PrimaryError> {
    Primary::new(Settings { policy: SchedulingPolicy::Shared, ..Settings::default() })
}

async fn shared() -> TestResult {
    let mut primary = sharing()?;
    let workers = [fork(&mut primary, "serve"), fork(&mut primary, "serve")];
    let first = port(&mut primary).await?;
    assert_eq!(port(&mut primary).await?, first);
    let names = workers.map(|worker| worker.to_string());
    for _ in 0..20 {
        let who = read_answer(&mut primary, connect(first)?).await?;
        assert!(names.contains(&who));
    }
    primary.kill(workers[0], Signal::SIGKILL);
    until(&mut primary, |event| matches!(event, Event::Exit { .. })).await?;
    for _ in 0..5 {
        assert_eq!(read_answer(&mut primary, connect(first)?).await?, names[1].clone());
    }
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

async fn shared_port_in_use() -> TestResult {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let mut primary = sharing()?;
    fork_at(&mut primary, "serve", &address);
    assert_eq!(message(&mut primary).await?, json!({ "listen": port_taken(&address) }));
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

async fn every_address() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "serve everywhere");
    let port = port(&mut primary).await?;
    assert_eq!(read_answer(&mut primary, connect(port)?).await?, worker.to_string());
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

/// `close` waits until the last connection has ended.
async fn closes() -> TestResult {
    let mut primary = primary()?;
    fork(&mut primary, "close");
    let client = connect(port(&mut primary).await?)?;
    assert_eq!(message(&mut primary).await?, json!("closing"));
    client.shutdown(Shutdown::Write)?;
    assert_eq!(message(&mut primary).await?, json!("ended"));
    assert_eq!(message(&mut primary).await?, json!("closed"));
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

async fn drains() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "leave");
    let client = connect(port(&mut primary).await?)?;
    assert_eq!(message(&mut primary).await?, json!({ "leaving": true }));
    // The worker still waits for the end of the connection.
    assert_eq!(primary.worker(worker).map(WorkerInfo::is_connected), Some(true));
    client.shutdown(Shutdown::Write)?;
    assert_eq!(message(&mut primary).await?, json!({ "accept": "None" }));
    until(&mut primary, |event| matches!(event, Event::Disconnect { .. })).await?;
    assert_eq!(primary.worker(worker).and_then(WorkerInfo::exited_after_disconnect), Some(true));
    assert_eq!(read_answer(&mut primary, client).await?, String::new());
    rest(&mut primary).await.map(drop)
}

/// While the last worker still has a connection, later clients are refused, with and without
/// `keep_listening`: no worker would serve them.
async fn refuses_later_clients() -> TestResult {
    for keep_listening in [false, true] {
        let mut primary = Primary::new(Settings { keep_listening, ..Settings::default() })?;
        fork(&mut primary, "echo all");
        let port = port(&mut primary).await?;
        let mut client = connect(port)?;
        client.write_all(b"hello")?;
        let answered = tokio::task::spawn_blocking(move || client.read_exact(&mut [0; 5]).map(|()| client));
        tokio::pin!(answered);
        let client = loop {
            tokio::select! {
                client = &mut answered => break client??,
                event = primary.next() => assert!(event.is_some()),
            }
        };
        primary.disconnect_all();
        let late = connect(port).map(drop).map_err(|error| error.kind());
        assert_eq!(late, Err(io::ErrorKind::ConnectionRefused));
        drop(client);
        rest(&mut primary).await?;
    }
    Ok(())
}

/// A command that the program gives right away precedes the report of the listener, as in the callback of
/// Node's `listen`.
async fn leaves_at_once() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "leave when listening");
    let seen = until(&mut primary, |event| matches!(event, Event::Exit { .. })).await?;
    assert_eq!(
        seen.last(),
        Some(&Event::Exit { worker, status: ExitStatus::Code(0), exited_after_disconnect: true })
    );
    assert!(!(seen.iter().any(|event| matches!(event, Event::Listening { .. }))));
    assert_eq!(primary.worker(worker).and_then(WorkerInfo::exited_after_disconnect), Some(true));
    Ok(())
}

async fn many_threads() -> TestResult {
    let mut primary = primary()?;
    let env = [("PROGRAM", "serve, and take events"), ("THREADS", "2")];
    let names = [primary.fork_with_env(env)?, primary.fork_with_env(env)?].map(|worker| worker.to_string());
    let first = port(&mut primary).await?;
    assert_eq!(port(&mut primary).await?, first);
    for _ in 0..20 {
        let who = read_answer(&mut primary, connect(first)?).await?;
        assert!(names.contains(&who));
    }
    primary.disconnect_all();
    let seen = rest(&mut primary).await?;
    assert_eq!(
        seen.iter().filter(|event| matches!(event, Event::Exit { status: ExitStatus::Code(0), .. })).count(),
        2
    );
    Ok(())
}

async fn starved() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "serve");
    let client = connect(port(&mut primary).await?)?;
    let exhaustion = FdExhaustion::new()?;
    let failed = Event::AcceptFailed { errno: Errno::EMFILE };
    until(&mut primary, |event| *event == failed).await?;
    drop(exhaustion);
    assert_eq!(read_answer(&mut primary, client).await?, worker.to_string());
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

/// A timer never fires early, so ten failures take at least as long as the nine pauses between them: 1, 2, 4,
/// 8, 16, 32 and 3 x 64 ms.
async fn starving_does_not_spin() -> TestResult {
    let mut primary = primary()?;
    fork(&mut primary, "serve");
    let client = connect(port(&mut primary).await?)?;
    let exhaustion = FdExhaustion::new()?;
    let start = std::time::Instant::now();
    for _ in 0..10 {
        until(&mut primary, |event| matches!(event, Event::AcceptFailed { .. })).await?;
    }
    let pauses = Duration::from_millis(63 + 3 * 64);
    assert!(start.elapsed() >= pauses);
    drop(exhaustion);
    assert_eq!(read_answer(&mut primary, client).await?, "1");
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

/// Each connection is closed while the worker cannot accept the next, and the worker tries again at each
/// close. If each failure cost a tenth of a second, the clients would exceed the deadline.
async fn one_descriptor() -> TestResult {
    const CLIENTS: usize = 40;
    const DEADLINE: Duration = Duration::from_secs(3);
    let mut primary = sharing()?;
    let worker = fork(&mut primary, "serve with one descriptor").to_string();
    assert_eq!(message(&mut primary).await?, json!("serving"));
    let port = port(&mut primary).await?;
    let clients = (0..CLIENTS).map(|_| connect(port)).collect::<io::Result<Vec<_>>>()?;
    let all = async {
        for client in clients {
            assert_eq!(read_answer(&mut primary, client).await?, worker.clone());
        }
        TestResult::Ok(())
    };
    tokio::time::timeout(DEADLINE, all).await.map_err(|_| "each failure costs too much")??;
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

/// The worker accepts from an exclusive socket, has no free descriptor, and frees descriptors after a
/// message.
async fn starved_worker() -> TestResult {
    let mut primary = sharing()?;
    let worker = fork(&mut primary, "exhaust descriptors, then serve");
    assert_eq!(message(&mut primary).await?, json!("exhausted"));
    let client = connect(port(&mut primary).await?)?;
    // Two round trips: enough for a failed `accept`.
    for turn in 0..2 {
        primary.send(worker, json!(turn))?;
        assert_eq!(message(&mut primary).await?, json!(turn));
    }
    primary.send(worker, json!("give up"))?;
    assert_eq!(read_answer(&mut primary, client).await?, worker.to_string());
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}
