//! Accepted messages arrive. Both sides send more than fits, and a process ends, each time in another way,
//! while the peer is busy.

use std::io;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use ::cluster::{
    Errno, Event, ExitStatus, Message, Primary, Serialization, Settings, Signal, SpawnOptions, WorkerError,
};
use libtest_mimic::Trial;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use serde_json::json;

use super::ends::abandon;
use super::node::script;
use super::programs::sending::{PIECE, PIECES};
use super::support::{
    TestResult, asynchronous, connect, fork, message, output, port, primary, primary_of, rest, until,
};

/// The number of runs of each case, because a loss would not happen in every run.
const TIMES: usize = 5;

pub(crate) fn trials() -> Vec<Trial> {
    let ends = ["exit", "return", "kill", "disconnect", "flush"].into_iter().flat_map(|how| {
        ["one", "many"]
            .map(|what| asynchronous(&format!("sent_{what}_survives_{how}"), move || worker_ends(how, what)))
    });
    let floods = [Serialization::Json, Serialization::Advanced].into_iter().flat_map(|how| {
        [
            asynchronous(&format!("floods_cross_{how:?}"), move || flood(how)),
            asynchronous(&format!("floods_cross_with_node_{how:?}"), move || node_flood(how)),
            asynchronous(&format!("floods_cross_under_node_{how:?}"), move || flood_under_node(how)),
        ]
    });
    let others = vec![
        asynchronous("sent_survives_a_dropped_primary", primary_ends),
        asynchronous("sent_survives_a_returning_primary", primary_returns),
        asynchronous("sent_survives_a_disconnecting_primary", primary_disconnects),
        asynchronous("sent_survives_exit_under_node", exit_under_node),
        asynchronous("exit_waits_no_longer_than_lingering", exit_in_vain),
        asynchronous("remote_sends_when_there_is_room", remote),
        asynchronous("listening_late_is_an_error", listen_late),
        asynchronous("hold_allows_a_last_report", report),
        asynchronous("loss_is_reported_with_its_count", lost),
        asynchronous("kill_under_load_is_no_loss", no_loss),
    ];
    ends.chain(floods).chain(others).collect()
}

/// Forks a worker, and waits until the worker is about to end. The primary reads nothing meanwhile.
fn fork_and_wait(
    primary: &mut Primary,
    program: &str,
    how: &str,
    what: &str,
) -> io::Result<::cluster::WorkerId> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let env = [("PROGRAM", program), ("ADDRESS", &address), ("HOW", how), ("WHAT", what)];
    let worker = primary.fork_with_env(env).expect("what can be");
    listener.accept()?;
    Ok(worker)
}

async fn worker_ends(how: &'static str, what: &'static str) -> TestResult {
    for _ in 0..TIMES {
        let mut primary = primary()?;
        let worker = fork_and_wait(&mut primary, "send and end", how, what)?;
        let seen = rest(&mut primary).await?;
        let messages = seen.iter().filter(|event| matches!(event, Event::Message { .. })).count();
        assert_eq!(messages, if what == "one" { 1 } else { 5000 });
        let is_clean = |event: &Event| matches!(event, Event::Exit { worker: ended, status: ExitStatus::Code(0), .. } if *ended == worker);
        assert!(seen.iter().any(is_clean));
    }
    Ok(())
}

/// Sends a long message, and then many short messages.
fn send_all(primary: &mut Primary, worker: ::cluster::WorkerId) -> TestResult {
    primary.send(worker, "x".repeat(PIECE))?;
    for number in 0..4999 {
        primary.send(worker, json!({ "number": number, "filling": "x".repeat(90) }))?;
    }
    Ok(())
}

/// A worker that counts messages, and a listener to which the worker reports the count.
fn sent_to_a_counting_worker() -> Result<(TcpListener, Primary, ::cluster::WorkerId), libtest_mimic::Failed> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut primary = primary()?;
    let address = listener.local_addr()?.to_string();
    let worker = primary.fork_with_env([("PROGRAM", "count all"), ("ADDRESS", &address)])?;
    send_all(&mut primary, worker)?;
    Ok((listener, primary, worker))
}

async fn primary_ends() -> TestResult {
    for _ in 0..TIMES {
        let (listener, primary, _) = sent_to_a_counting_worker()?;
        let counted = abandon(primary, || io::read_to_string(listener.accept()?.0)).await??;
        assert_eq!(counted, "5000");
    }
    Ok(())
}

async fn primary_disconnects() -> TestResult {
    for _ in 0..TIMES {
        let (listener, mut primary, worker) = sent_to_a_counting_worker()?;
        primary.disconnect_worker(worker);
        let counted = tokio::task::spawn_blocking(move || io::read_to_string(listener.accept()?.0));
        rest(&mut primary).await?;
        assert_eq!(counted.await??, "5000");
    }
    Ok(())
}

const COUNTING_PRIMARY: &str = "
    const cluster = require('cluster');
    process.execPath = process.argv[2];
    cluster.setupPrimary({ exec: 'none', args: [] });
    let count = 0;
    const [HOW, WHAT, ADDRESS] = ['exit', process.argv[3], process.argv[4]];
    cluster.fork({ PROGRAM: 'send and end', HOW, WHAT, ADDRESS }).on('message', () => count++)
        .on('exit', (code) => console.log(count, code));
";

async fn exit_under_node() -> TestResult {
    if output(Command::new("node").arg("--version").stderr(Stdio::null())).is_err() {
        return Ok(());
    }
    let script = script(COUNTING_PRIMARY)?;
    for (what, all) in [("one", "1 0\n"), ("many", "5000 0\n")] {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let mut node = Command::new("node");
        node.arg(&*script).arg(std::env::current_exe()?).args([what, &address]);
        let seen = tokio::task::spawn_blocking(move || output(&mut node));
        listener.accept()?;
        assert_eq!(seen.await??, all);
    }
    Ok(())
}

/// The primary is another process, and its `main` returns.
async fn primary_returns() -> TestResult {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut primary = primary()?;
    let address = listener.local_addr()?.to_string();
    primary.fork_with_env([("PROGRAM", "lead and return"), ("ADDRESS", &address)])?;
    let counted = tokio::task::spawn_blocking(move || io::read_to_string(listener.accept()?.0));
    rest(&mut primary).await?;
    assert_eq!(counted.await??, "5000");
    Ok(())
}

/// The process exits although the primary has read nothing.
async fn exit_in_vain() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "exit in vain");
    until(&mut primary, |event| matches!(event, Event::Fork { .. })).await?;
    let pid = primary.worker(worker).and_then(::cluster::WorkerInfo::pid).ok_or("a process id")?;
    let pid = Pid::from_raw(i32::try_from(pid)?);
    let ended = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
    assert_eq!(ended, WaitStatus::Exited(pid, 5));
    rest(&mut primary).await.map(drop)
}

fn speaking(serialization: Serialization) -> Result<Primary, libtest_mimic::Failed> {
    let mut primary = primary()?;
    primary.setup(SpawnOptions::new().serialization(serialization));
    Ok(primary)
}

/// Sends more than fits before it takes any message, and disconnects in the middle.
async fn flood_of(primary: &mut Primary, worker: ::cluster::WorkerId) -> TestResult {
    let piece = Message::from("x".repeat(PIECE));
    for _ in 0..PIECES {
        primary.send_when_room(worker, piece.clone()).await?;
    }
    primary.flush().await;
    let mut pieces = 0;
    let mut got = None;
    while got.is_none() {
        let Event::Message { message, .. } =
            until(primary, |event| matches!(event, Event::Message { .. })).await?.pop().ok_or("a message")?
        else {
            return Err("no message".into());
        };
        let message = message.json()?;
        pieces += usize::from(message.is_string());
        got = message["got"].as_u64();
    }
    assert_eq!((pieces, got), (PIECES, Some(PIECES as u64)));
    primary.disconnect_all();
    assert!(rest(primary).await?.contains(&Event::Exit {
        worker,
        status: ExitStatus::Code(0),
        exited_after_disconnect: true,
    }));
    Ok(())
}

async fn flood(serialization: Serialization) -> TestResult {
    let mut primary = speaking(serialization)?;
    let worker = fork(&mut primary, "flood");
    flood_of(&mut primary, worker).await
}

const NODE_WORKER: &str = "
    let got = 0;
    process.on('message', () => ++got === 18 && process.send({ got }));
    for (let n = 0; n < 18; n++) process.send('x'.repeat(1 << 20));
";

async fn node_flood(serialization: Serialization) -> TestResult {
    if output(Command::new("node").arg("--version").stderr(Stdio::null())).is_err() {
        return Ok(());
    }
    let worker = script(NODE_WORKER)?;
    let mut primary = primary_of("node", &[&worker.to_string_lossy()])?;
    primary.setup(SpawnOptions::new().serialization(serialization));
    let worker = primary.fork()?;
    flood_of(&mut primary, worker).await
}

const NODE_PRIMARY: &str = "
    const cluster = require('cluster');
    process.execPath = process.argv[2];
    cluster.setupPrimary({ exec: 'none', args: [], serialization: process.argv[3] });
    const worker = cluster.fork({ PROGRAM: 'flood' });
    let pieces = 0;
    worker.on('online', () => { for (let n = 0; n < 18; n++) worker.send('x'.repeat(1 << 20)); });
    worker.on('message', (message) => {
        pieces += typeof message === 'string';
        if (message.got) { console.log(pieces, message.got); worker.disconnect(); }
    });
    worker.on('exit', (code) => console.log('exit', code));
";

async fn flood_under_node(serialization: Serialization) -> TestResult {
    if output(Command::new("node").arg("--version").stderr(Stdio::null())).is_err() {
        return Ok(());
    }
    let script = script(NODE_PRIMARY)?;
    let how = if serialization == Serialization::Json { "json" } else { "advanced" };
    let mut node = Command::new("node");
    node.arg(&*script).arg(std::env::current_exe()?).arg(how);
    let seen = tokio::task::spawn_blocking(move || output(&mut node)).await??;
    assert_eq!(seen, "18 18\nexit 0\n");
    Ok(())
}

async fn remote() -> TestResult {
    let limits = ::cluster::Limits { unsent_bytes: PIECE, ..::cluster::Limits::default() };
    let mut primary = Primary::new(Settings { limits, ..Settings::default() })?;
    let worker = fork(&mut primary, "echo");
    let remote = primary.remote();
    let sending = tokio::spawn(async move {
        for number in 0..PIECES {
            remote.send_when_room(worker, json!([number, "x".repeat(PIECE)])).await?;
        }
        Ok::<_, ::cluster::RemoteError>(())
    });
    for number in 0..PIECES {
        assert_eq!(message(&mut primary).await?[0].as_u64(), Some(number as u64));
    }
    sending.await??;
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

async fn listen_late() -> TestResult {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let mut primary = primary()?;
    primary.fork_with_env([("PROGRAM", "listen late"), ("ADDRESS", &address)])?;
    until(&mut primary, |event| matches!(event, Event::Online { .. })).await?;
    primary.disconnect_all();
    let report = tokio::task::spawn_blocking(move || io::read_to_string(listener.accept()?.0));
    rest(&mut primary).await?;
    assert_eq!(report.await??, "true, true");
    Ok(())
}

async fn report() -> TestResult {
    for _ in 0..TIMES {
        let mut primary = primary()?;
        let worker = fork(&mut primary, "report at the end");
        let client = connect(port(&mut primary).await?)?;
        assert_eq!(message(&mut primary).await?, json!("accepted"));
        primary.disconnect_worker(worker);
        let seen = rest(&mut primary).await?;
        let messages: Vec<_> = seen.iter().filter(|event| matches!(event, Event::Message { .. })).collect();
        assert_eq!(messages.len(), 1);
        assert!(seen.contains(&Event::Exit {
            worker,
            status: ExitStatus::Code(0),
            exited_after_disconnect: true,
        }));
        drop(client);
    }
    Ok(())
}

async fn lost() -> TestResult {
    let mut primary = primary_of("sleep", &["1000"])?;
    let worker = primary.fork()?;
    primary.send(worker, "x".repeat(PIECE))?;
    primary.send(worker, "never")?;
    primary.kill(worker, Signal::SIGKILL);
    let seen = rest(&mut primary).await?;
    let errors: Vec<_> = seen.into_iter().filter(|event| matches!(event, Event::Error { .. })).collect();
    let error = |errno| Event::Error { worker, error: WorkerError::Write { errno, lost: 2 } };
    assert!([Errno::EPIPE, Errno::ECONNRESET].map(|errno| errors == [error(errno)]).contains(&true));
    Ok(())
}

/// Compares the messages, except those of the cluster itself.
async fn no_loss() -> TestResult {
    for _ in 0..TIMES {
        let mut primary = primary()?;
        let workers = [fork(&mut primary, "serve"), fork(&mut primary, "serve")];
        let number = port(&mut primary).await?;
        port(&mut primary).await?;
        primary.kill(workers[0], Signal::SIGKILL);
        let clients = (0..32).map(|_| connect(number)).collect::<Result<Vec<_>, _>>()?;
        let reading = tokio::task::spawn_blocking(move || {
            clients.into_iter().filter_map(|client| io::read_to_string(client).ok()).count()
        });
        tokio::pin!(reading);
        let served = loop {
            tokio::select! {
                served = &mut reading => break served?,
                event = primary.next() => if let Some(Event::Error { error, .. }) = event {
                    return Err(format!("{error:?}").into());
                }
            }
        };
        assert_eq!(served, 32);
        primary.disconnect_all();
        let seen = rest(&mut primary).await?;
        assert!(!(seen.iter().any(|event| matches!(event, Event::Error { .. }))));
    }
    Ok(())
}
