//! Every accepted message arrives, in whatever way the worker is held when `main` returns, and on either kind
//! of runtime.

use std::io;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use ::cluster::{Event, ExitStatus};
use libtest_mimic::Trial;

use super::node::script;
use super::support::{TestResult, asynchronous, output, port, primary, rest};

/// The ways to hold a worker, as in `programs/holding.rs`.
const WAYS: [&str; 8] =
    ["return", "static", "static_listener", "forget", "cycle", "task", "thread", "disconnect"];

/// Each kind of runtime, with the variable THREADS. A current-thread runtime has no variable.
const RUNTIMES: [(&str, Option<&str>); 2] = [("current_thread", None), ("multi_thread", Some("2"))];

pub(crate) fn trials() -> Vec<Trial> {
    let held = WAYS.into_iter().flat_map(|way| {
        RUNTIMES.map(|(name, threads)| {
            asynchronous(&format!("held_worker_loses_nothing_{way}_{name}"), move || all_arrive(way, threads))
        })
    });
    let ended =
        asynchronous("background_shutdown_loses_nothing_current_thread", || all_arrive("background", None));
    let under_node = asynchronous("held_worker_loses_nothing_under_node", under_node);
    held.chain([ended, under_node]).collect()
}

async fn all_arrive(way: &'static str, threads: Option<&'static str>) -> TestResult {
    let mut primary = primary()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut env = vec![("PROGRAM", "hold"), ("WAY", way)];
    let address = listener.local_addr()?.to_string();
    env.push(("ADDRESS", &address));
    env.extend(threads.map(|threads| ("THREADS", threads)));
    let worker = primary.fork_with_env(env)?;
    if way == "static_listener" {
        port(&mut primary).await?;
        primary.send(worker, "listening")?;
    }
    // The primary reads nothing until the worker is about to return.
    listener.accept()?;
    let accepted = tokio::task::spawn_blocking(move || io::read_to_string(listener.accept()?.0));
    let events = rest(&mut primary).await?;
    let arrived = events.iter().filter(|event| matches!(event, Event::Message { .. })).count();
    assert_eq!(arrived.to_string(), accepted.await??);
    let exited_after_disconnect = way == "disconnect";
    assert!(events.contains(&Event::Exit { worker, status: ExitStatus::Code(0), exited_after_disconnect }));
    Ok(())
}

const COUNTING_PRIMARY: &str = "
    const cluster = require('cluster');
    process.execPath = process.argv[2];
    cluster.setupPrimary({ exec: 'none', args: [] });
    let count = 0;
    const [WAY, ADDRESS] = process.argv.slice(3);
    const worker = cluster.fork({ PROGRAM: 'hold', WAY, ADDRESS });
    worker.on('listening', () => worker.send('listening')).on('message', () => count++)
        .on('exit', (code) => console.log(count, code));
";

async fn under_node() -> TestResult {
    if output(Command::new("node").arg("--version").stderr(Stdio::null())).is_err() {
        return Ok(());
    }
    let script = script(COUNTING_PRIMARY)?;
    for way in WAYS {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let mut node = Command::new("node");
        node.arg(&*script).arg(std::env::current_exe()?).args([way, &address]);
        let seen = tokio::task::spawn_blocking(move || output(&mut node));
        listener.accept()?;
        let accepted = tokio::task::spawn_blocking(move || io::read_to_string(listener.accept()?.0));
        assert_eq!(seen.await??, format!("{} 0\n", accepted.await??), "{way}");
    }
    Ok(())
}
