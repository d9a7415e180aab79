//! Node.js on the other side: its workers under our primary, and our workers under its primary.
//! Where there is no `node`, these tests say so and are ignored.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::{env, io};

use ::cluster::{Event, ExitStatus, Primary, SchedulingPolicy, Settings};
use libtest_mimic::{Failed, Trial};
use serde_json::json;

use super::support::{Tested, asynchronous, connect, message, port, rest, said, same, trial};

const WORKER: &str = "
    const cluster = require('cluster');
    process.on('message', (message) => process.send({ id: cluster.worker.id, message }));
    require('net').createServer((connection) => connection.end(`node ${cluster.worker.id}`)).listen(0, '127.0.0.1');
";

const PRIMARY: &str = "
    const cluster = require('cluster');
    process.execPath = process.argv[2];
    cluster.setupPrimary({ exec: 'none', args: [] });
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

pub(crate) fn trials() -> Vec<Trial> {
    let absent = Command::new("node").arg("--version").stdout(Stdio::null()).status().is_err();
    if absent {
        eprintln!("there is no `node` here: the tests with Node.js are ignored");
    }
    let trials = [
        asynchronous("node_workers_serve_under_our_primary", || node_worker(SchedulingPolicy::RoundRobin)),
        asynchronous("node_workers_share_under_our_primary", || node_worker(SchedulingPolicy::Shared)),
        trial("our_worker_serves_under_a_node_primary", || our_worker("round-robin")),
        trial("our_worker_shares_under_a_node_primary", || our_worker("shared")),
    ];
    trials.into_iter().map(|trial| trial.with_ignored_flag(absent)).collect()
}

/// A script in a file that goes away with it.
fn script(text: &str) -> io::Result<tempfile::TempPath> {
    let file = tempfile::Builder::new().suffix(".cjs").tempfile()?.into_temp_path();
    std::fs::write(&file, text)?;
    Ok(file)
}

async fn node_worker(policy: SchedulingPolicy) -> Tested {
    let script = script(WORKER)?;
    let args = vec![script.to_str().ok_or("the path is not UTF-8")?.into()];
    let command = ::cluster::Command { exec: Some("node".into()), args, ..Default::default() };
    let mut primary = Primary::new(Settings { command: command.into(), policy, ..Settings::default() })?;
    let worker = primary.fork()?;
    let port = port(&mut primary).await?;
    for _ in 0..3 {
        same(said(&mut primary, connect(port)?).await?, "node 1".into())?;
    }
    primary.send(worker, &json!(["hello"]))?;
    same(message(&mut primary).await?, json!({ "id": 1, "message": ["hello"] }))?;
    primary.disconnect();
    let seen = rest(&mut primary).await?;
    same(seen.contains(&Event::Exit { worker, status: ExitStatus::Code(0) }), true)
}

fn our_worker(policy: &str) -> Tested {
    let script = script(PRIMARY)?;
    let mut command = Command::new("node");
    command.arg(&*script).arg(env::current_exe()?).arg(policy).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut node = command.spawn()?;
    let output = BufReader::new(node.stdout.take().ok_or("no output")?);
    let lines: Vec<String> = output.lines().collect::<io::Result<_>>()?;
    same(node.wait()?.code(), Some(0))?;
    let expected = ["online", "listening 127.0.0.1", "data 1", "disconnect true", "exit 0 null"];
    if lines == expected { Ok(()) } else { Err(Failed::from(format!("{lines:?}"))) }
}
