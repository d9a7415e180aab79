//! The pause after a crash, beside the start of the same program without a cluster.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, io};

use anyhow::{Context, ensure};
use cluster::{Event, SpawnOptions, SupervisorEvent};
use nix::sys::signal::{Signal, kill};
use nix::unistd::getuid;
use tokio::time::sleep;

use crate::measurement::{Cluster, impatient};
use crate::server;

/// The server in Node.js.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/supervised/server.cjs");

/// The time before each measurement. Longer than `min_uptime`, so that the next restart is immediate.
const REST: Duration = Duration::from_millis(20);

/// The measurements of a round, in order.
const ROWS: [&str; 5] = [
    "start by itself",
    "start by itself, by `fork`",
    "kill, wait and start, without a cluster",
    "crash to the exit",
    "crash to the next worker that listens",
];

/// Compares the pause after a crash with a start without a cluster, and with the least possible pause: the
/// program is killed, awaited and started again. Each round measures everything once, for the server of this
/// program and for the server in Node.js. The standard library starts a program by `posix_spawn`, and with a
/// user by `fork`, as the supervisor starts a worker.
pub(crate) async fn restart(rounds: usize) -> anyhow::Result<ExitCode> {
    println!("| program | | median | least | by the start by itself |\n|---|---|---|---|---|");
    for (name, script) in [("Rust", None), ("Node.js", Some(SCRIPT))] {
        let spawn =
            script.map_or_else(SpawnOptions::new, |script| SpawnOptions::new().exec("node").args([script]));
        let settings = impatient(1).map_primary(|primary| cluster::Settings { spawn, ..primary });
        let mut cluster = Cluster::start(settings, 1).await?;
        let mut times = ROWS.map(|_| Vec::new());
        for _ in 0..rounds {
            let round = round(&mut cluster, script).await?;
            times.iter_mut().zip(round).for_each(|(times, time)| times.push(time));
        }
        cluster.handle.shutdown().await?;
        let [alone, ..] = times.each_mut().map(|times| median(times));
        for (row, mut times) in ROWS.into_iter().zip(times) {
            let time = median(&mut times);
            let (least, ratio) = (times[0], time.as_secs_f64() / alone.as_secs_f64());
            println!("| {name} | {row} | {time:.2?} | {least:.2?} | {ratio:.2} |");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures each of [`ROWS`].
async fn round(cluster: &mut Cluster, script: Option<&str>) -> anyhow::Result<[Duration; ROWS.len()]> {
    sleep(REST).await;
    let begin = Instant::now();
    let first = Alone::start(script, false)?;
    let alone = begin.elapsed();
    sleep(REST).await;
    let begin = Instant::now();
    first.end()?;
    let second = Alone::start(script, false)?;
    let replaced = begin.elapsed();
    second.end()?;
    sleep(REST).await;
    let begin = Instant::now();
    let third = Alone::start(script, true)?;
    let forked = begin.elapsed();
    third.end()?;
    sleep(REST).await;
    let [exit, pause] = crash(cluster).await?;
    Ok([alone, forked, replaced, exit, pause])
}

/// Kills the worker, and returns the time until the exit is reported, and the time until the successor
/// listens.
async fn crash(cluster: &mut Cluster) -> anyhow::Result<[Duration; 2]> {
    let worker = cluster.random().await?.context("no worker is ready")?;
    let begin = Instant::now();
    kill(worker, Signal::SIGKILL)?;
    let exit = loop {
        if let (time, SupervisorEvent::Primary(Event::Exit { .. })) = cluster.next().await? {
            break time;
        }
    };
    Ok([exit - begin, cluster.next_ready().await? - begin])
}

/// A listening server without a cluster, killed when dropped.
struct Alone(Child);

impl Alone {
    /// Starts this program, or a script of Node.js, and returns when the server listens.
    fn start(script: Option<&str>, forks: bool) -> anyhow::Result<Self> {
        let mut command = Command::new(script.map_or_else(env::current_exe, |_| Ok("node".into()))?);
        command.args(script).env(server::ALONE, "1").stdout(Stdio::piped());
        if forks {
            command.uid(getuid().as_raw());
        }
        let mut server = Alone(command.spawn()?);
        let output = server.0.stdout.take().context("the server has no output")?;
        let read = BufReader::new(output).read_line(&mut String::new())?;
        ensure!(read > 0, "the server does not listen");
        Ok(server)
    }

    /// Kills the server, and waits for the exit.
    fn end(mut self) -> io::Result<()> {
        self.0.kill()?;
        self.0.wait().map(drop)
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // After `end` the calls do nothing. A failure leaves a server behind, and does not change a figure.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sorts the times.
fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}
