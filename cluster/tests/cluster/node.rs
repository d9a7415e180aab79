//! Node.js on the other side: Node workers under a Rust primary, and Rust workers under a Node primary.
//! Ignored with a note where `node` is missing.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, io};

use ::cluster::{Event, ExitStatus, Primary, SchedulingPolicy, Serialization, Settings, SpawnOptions};
use libtest_mimic::{Failed, Trial};
use serde_json::json;

use super::support::{
    TestResult, asynchronous, connect, message, output, port, read_answer, rest, trial, until,
};

const WORKER: &str = "
    const cluster = require('cluster');
    process.on('message', (message) => process.send({ id: cluster.worker.id, message }));
    require('net').createServer((connection) => connection.end(`node ${cluster.worker.id}`)).listen(0, '127.0.0.1');
";

const PRIMARY: &str = "
    const cluster = require('cluster');
    process.execPath = process.argv[2];
    cluster.setupPrimary({ exec: 'none', args: [], serialization: process.argv[4] });
    if (process.argv[3] === 'shared') cluster.schedulingPolicy = cluster.SCHED_NONE;
    const worker = cluster.fork({ PROGRAM: 'serve' });
    worker.on('online', () => console.log('online'));
    worker.on('disconnect', () => console.log('disconnect', worker.exitedAfterDisconnect));
    worker.on('exit', (code, signal) => console.log('exit', code, signal));
    worker.on('listening', ({ address, port }) => {
        console.log('listening', address);
        require('net').connect(port, address).on('data', (data) => console.log('data', String(data)))
            .on('close', () => worker.disconnect());
    });
";

/// Forks one worker after the other, and disconnects each worker at `listening`.
const LIVES_PRIMARY: &str = "
    const cluster = require('cluster');
    process.execPath = process.argv[2];
    cluster.setupPrimary({ exec: 'none', args: [] });
    let left = Number(process.argv[3]);
    const fork = () => left-- > 0 && cluster.fork({ PROGRAM: 'serve' });
    cluster.on('listening', (worker) => worker.disconnect());
    cluster.on('disconnect', () => console.log('disconnect'));
    cluster.on('exit', () => { console.log('exit'); fork(); });
    fork();
";

pub(crate) fn trials() -> Vec<Trial> {
    let absent = is_absent();
    if absent {
        eprintln!("there is no `node` here: the tests with Node.js are ignored");
    }
    let trials = [
        asynchronous("node_workers_serve_under_our_primary", || {
            node_worker(SchedulingPolicy::RoundRobin, Serialization::Json)
        }),
        asynchronous("node_workers_use_advanced_serialization", || {
            node_worker(SchedulingPolicy::RoundRobin, Serialization::Advanced)
        }),
        asynchronous("node_workers_share_under_our_primary", || {
            node_worker(SchedulingPolicy::Shared, Serialization::Advanced)
        }),
        asynchronous("least_connections_with_node_workers", least_connections_with_node_workers),
        trial("node_primary_ignores_reports", node_primary_ignores_reports),
        trial("our_worker_serves_under_node", || our_worker("round-robin", "json")),
        trial("our_worker_leaves_no_trace", our_variables),
        asynchronous("inspectors_listen_as_under_node", inspectors),
        trial("node_primary_reads_last_messages", our_lives),
        trial("our_worker_speaks_v8_under_node", || our_worker("round-robin", "advanced")),
        trial("our_worker_shares_under_node", || our_worker("shared", "advanced")),
        asynchronous("node_worker_may_disconnect_at_once", listen_and_disconnect),
    ];
    trials.into_iter().map(|trial| trial.with_ignored_flag(absent)).collect()
}

pub(crate) fn is_absent() -> bool {
    Command::new("node").arg("--version").stdout(Stdio::null()).status().is_err()
}

/// Ends a Node process that would wait forever.
const DEADLINE: &str = "setTimeout(() => process.exit(9), 60000).unref();";

/// A script in a temporary file.
pub(crate) fn script(text: &str) -> io::Result<tempfile::TempPath> {
    let file = tempfile::Builder::new().suffix(".cjs").tempfile()?.into_temp_path();
    std::fs::write(&file, [DEADLINE, text].concat())?;
    Ok(file)
}

/// A primary with Node workers that run a script.
pub(crate) fn leading(script: &Path, args: &[&Path], policy: SchedulingPolicy) -> Result<Primary, Failed> {
    let args = [script].into_iter().chain(args.iter().copied());
    let command = ::cluster::SpawnOptions::new().exec("node").args(args);
    Ok(Primary::new(Settings { spawn: command, policy, ..Settings::default() })?)
}

/// The output of a Node primary with a Rust worker.
pub(crate) fn lines(script: &str, args: &[&OsStr]) -> Result<Vec<String>, Failed> {
    let script = self::script(script)?;
    let mut command = Command::new("node");
    command.arg(&*script).arg(env::current_exe()?).args(args).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut node = command.spawn()?;
    let output = BufReader::new(node.stdout.take().ok_or("no output")?);
    let lines: Vec<String> = output.lines().collect::<io::Result<_>>()?;
    assert_eq!(node.wait()?.code(), Some(0));
    Ok(lines)
}

async fn node_worker(policy: SchedulingPolicy, serialization: Serialization) -> TestResult {
    let script = script(WORKER)?;
    let mut primary = leading(&script, &[], policy)?;
    primary.setup(SpawnOptions::new().serialization(serialization));
    let worker = primary.fork()?;
    let port = port(&mut primary).await?;
    for _ in 0..3 {
        assert_eq!(read_answer(&mut primary, connect(port)?).await?, "node 1");
    }
    primary.send(worker, json!(["hello"]))?;
    assert_eq!(message(&mut primary).await?, json!({ "id": 1, "message": ["hello"] }));
    primary.disconnect_all();
    let seen = rest(&mut primary).await?;
    assert!(seen.contains(&Event::Exit {
        worker,
        status: ExitStatus::Code(0),
        exited_after_disconnect: true
    }));
    Ok(())
}

/// Unmodified Node workers ignore the request for reports, and take turns.
async fn least_connections_with_node_workers() -> TestResult {
    let script = script(WORKER)?;
    let mut primary = leading(&script, &[], SchedulingPolicy::LeastConnections)?;
    let workers = [primary.fork()?, primary.fork()?];
    let ports = [port(&mut primary).await?, port(&mut primary).await?];
    assert_eq!(ports[0], ports[1]);
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(read_answer(&mut primary, connect(ports[0])?).await?);
    }
    answers.sort_unstable();
    assert_eq!(answers, ["node 1", "node 1", "node 2", "node 2"]);
    for worker in workers {
        let reported = primary.worker(worker).ok_or("a worker")?.open_connections();
        assert_eq!(reported, None);
    }
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

/// A Node primary ignores the reports of a Rust worker, in acknowledgements and in messages. The primary of
/// the test asks for reports, which Node itself never does.
fn node_primary_ignores_reports() -> TestResult {
    const PRIMARY: &str = "
        const cluster = require('cluster');
        process.execPath = process.argv[2];
        cluster.setupPrimary({ exec: 'none', args: [] });
        const worker = cluster.fork({ PROGRAM: 'serve' });
        const { send } = worker.process;
        worker.process.send = function (message, ...rest) {
            return Reflect.apply(send, this, [message.sockname ? { ...message, report: 1 } : message, ...rest]);
        };
        let at;
        const visit = (then) => require('net').connect(at.port, at.address).on('data', () => {}).on('close', then);
        let [count, loads] = [0, 0];
        worker.process.on('internalMessage', (message) => {
            if (message.accepted === true) count += message.count;
            if (message.cmd === 'NODE_CLUSTER_LOAD' && loads++ === 0) visit(() => worker.disconnect());
        });
        worker.on('listening', (address) => { at = address; visit(() => {}); });
        worker.on('exit', (code) => console.log(count, loads > 0, code));
    ";
    assert_eq!(lines(PRIMARY, &[])?, ["2 true 0"]);
    Ok(())
}

/// A worker that listens and disconnects in the same tick exits. On Node 26, the worker would not exit if the
/// answer to the query preceded the answer to the disconnect.
async fn listen_and_disconnect() -> TestResult {
    const WORKER: &str = "
        require('net').createServer().listen(0, '127.0.0.1');
        require('cluster').worker.disconnect();
    ";
    let script = script(WORKER)?;
    let mut primary = leading(&script, &[], SchedulingPolicy::RoundRobin)?;
    for _ in 0..6 {
        let worker = primary.fork()?;
        let exit = until(&mut primary, |event| matches!(event, Event::Exit { .. })).await?.pop();
        let exited_after_disconnect = true;
        assert_eq!(exit, Some(Event::Exit { worker, status: ExitStatus::Code(0), exited_after_disconnect }));
    }
    rest(&mut primary).await.map(drop)
}

/// The ports for the inspectors of two workers, for each form of the option that does not wait for a
/// debugger.
async fn inspectors() -> TestResult {
    const WORKER: &str = "process.send(process.debugPort)";
    const PRIMARY: &str = "
        const cluster = require('cluster');
        cluster.setupPrimary({ exec: process.argv[3] });
        const fork = (left) => cluster.fork().on('message', (port) => {
            console.log(port);
            if (left > 0) fork(left - 1); else cluster.disconnect();
        });
        fork(1);
    ";
    let (worker, primary) = (script(WORKER)?, script(PRIMARY)?);
    for options in
        ["--inspect", "--inspect=21000", "--inspect=127.0.0.1:21000", "--inspect-port=21000 --no-warnings"]
    {
        let mut node = Command::new("node");
        node.arg(&*primary)
            .args(["-", &worker.to_string_lossy()])
            .env("NODE_OPTIONS", options)
            .stderr(Stdio::null());
        let theirs = output(&mut node)?;
        let mut primary = with_options(&leading(&worker, &[], SchedulingPolicy::RoundRobin)?, options)?;
        let mut ours = Vec::new();
        for _ in 0..2 {
            primary.fork()?;
            ours.push(message(&mut primary).await?.to_string());
        }
        primary.disconnect_all();
        rest(&mut primary).await?;
        assert_eq!(ours, theirs.lines().collect::<Vec<_>>());
    }
    Ok(())
}

/// A primary with the same settings. The inherited environment has the options for Node.js.
fn with_options(primary: &Primary, options: &str) -> Result<Primary, Failed> {
    let mut primary =
        Primary::new(Settings { node_options: Some(options.into()), ..primary.settings().clone() })?;
    // Silent, because an inspector prints the address.
    primary.setup(SpawnOptions::new().silent(true));
    Ok(primary)
}

/// The programs that a worker starts are not workers. The worker has many threads and a Node primary.
fn our_variables() -> TestResult {
    const PRIMARY: &str = "
        const cluster = require('cluster');
        process.execPath = process.argv[2];
        cluster.setupPrimary({ exec: 'none', args: [] });
        const worker = cluster.fork({ PROGRAM: 'start others', EARLY: '1', THREADS: '4' });
        worker.on('message', (printed) => { console.log(...printed.map((line) => line.trim())); worker.disconnect(); });
    ";
    assert_eq!(lines(PRIMARY, &[])?, vec!["true undefined 1 true".to_owned()]);
    Ok(())
}

fn our_worker(policy: &str, serialization: &str) -> TestResult {
    let lines = lines(PRIMARY, &[policy.as_ref(), serialization.as_ref()])?;
    let expected = ["online", "listening 127.0.0.1", "data 1", "disconnect true", "exit 0 null"];
    if lines == expected { Ok(()) } else { Err(Failed::from(format!("{lines:?}"))) }
}

/// Node drops unread messages after an exit, so the worker exits only after the primary has read all
/// messages.
fn our_lives() -> TestResult {
    let lines = lines(LIVES_PRIMARY, &["40".as_ref()])?;
    if lines == ["disconnect", "exit"].repeat(40) { Ok(()) } else { Err(Failed::from(format!("{lines:?}"))) }
}
