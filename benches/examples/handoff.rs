//! The system calls of a handoff: a primary and a worker under `strace -c`, with many short connections.
//!
//! `cargo run --release -p cluster-benches --example handoff` needs `strace` (Debian:
//! `apt-get install strace`).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::{env, fs, thread};

use anyhow::{Context, ensure};
use clap::Parser;
use cluster::{Event, Primary, Role, Settings, Worker};
use cluster_benches::processes::children;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Counts the system calls of a handoff, in the primary and in the worker.
#[derive(Parser)]
struct Arguments {
    /// Number of connections of each client.
    #[arg(long, default_value_t = 500)]
    connections: u32,
    /// Number of concurrent clients.
    #[arg(long, default_value_t = 16)]
    clients: u32,
    /// Serve instead of measuring.
    #[arg(long, hide = true)]
    serve: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if arguments.serve { serve() } else { measure(&arguments) }
}

#[tokio::main(flavor = "current_thread")]
async fn serve() -> anyhow::Result<()> {
    match cluster::role()? {
        Role::Primary => lead().await,
        Role::Worker => work().await,
    }
}

async fn lead() -> anyhow::Result<()> {
    let mut primary = Primary::new(Settings::default())?;
    primary.fork()?;
    while let Some(event) = primary.next().await {
        if let Event::Listening { address, .. } = event {
            println!("{}", address.port);
        }
    }
    Ok(())
}

async fn work() -> anyhow::Result<()> {
    let worker = Worker::join()?;
    let mut listener = worker.listen("127.0.0.1:0").await?;
    while let Some(mut connection) = listener.accept().await? {
        tokio::spawn(async move {
            let mut request = [0; 64];
            if connection.read(&mut request).await.is_ok_and(|read| read > 0) {
                // A failure means that the client has closed the connection.
                let _ = connection.write_all(b"hello").await;
            }
        });
    }
    Ok(())
}

/// A primary with one worker. The worker exits after the primary was killed.
struct Server {
    primary: Child,
    port: u16,
}

impl Server {
    fn start() -> anyhow::Result<Self> {
        let mut primary = Command::new(env::current_exe()?).arg("--serve").stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(primary.stdout.take().context("the output is no pipe")?).read_line(&mut line)?;
        Ok(Server { primary, port: line.trim().parse()? })
    }

    /// The process ids of the primary and of the worker.
    fn processes(&self) -> anyhow::Result<[i32; 2]> {
        let primary = self.primary.id().cast_signed();
        let workers = children(primary)?;
        Ok([primary, *workers.first().context("there is no worker")?])
    }

    fn load(&self, arguments: &Arguments) -> anyhow::Result<()> {
        let (port, connections) = (self.port, arguments.connections);
        let client = move || (0..connections).try_for_each(|_| request(port));
        let clients: Vec<_> = (0..arguments.clients).map(|_| thread::spawn(client)).collect();
        for client in clients {
            client.join().map_err(|_| anyhow::anyhow!("a client has panicked"))??;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both calls fail only for a process that has ended already.
        let _ = self.primary.kill();
        let _ = self.primary.wait();
    }
}

fn request(port: u16) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"x")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    ensure!(answer == b"hello", "a connection has no answer");
    Ok(())
}

/// A process under `strace`.
struct Traced {
    strace: Child,
    report: tempfile::NamedTempFile,
}

impl Traced {
    /// Returns when `strace` is attached.
    fn attach(process: i32) -> anyhow::Result<Self> {
        let report = tempfile::NamedTempFile::new()?;
        let mut strace = Command::new("strace")
            .args(["-c", "-f", "-p", &process.to_string(), "-o"])
            .arg(report.path())
            .stderr(Stdio::piped())
            .spawn()
            .context("`strace` cannot be started: install it, on Debian with `apt-get install strace`")?;
        let mut line = String::new();
        BufReader::new(strace.stderr.take().context("the output is no pipe")?).read_line(&mut line)?;
        ensure!(line.contains("attached"), "strace is not attached: {line}");
        Ok(Traced { strace, report })
    }

    /// The number of calls by name.
    fn counts(mut self) -> anyhow::Result<BTreeMap<String, u64>> {
        kill(Pid::from_raw(self.strace.id().cast_signed()), Signal::SIGINT)?;
        self.strace.wait()?;
        let report = fs::read_to_string(self.report.path())?;
        let row = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let name = fields.last().filter(|name| **name != "total")?;
            Some(((*name).to_owned(), fields.get(3)?.parse().ok()?))
        };
        Ok(report.lines().filter_map(row).collect())
    }
}

fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let server = Server::start()?;
    server.load(arguments)?;
    let traced = server.processes()?.map(Traced::attach);
    server.load(arguments)?;
    println!("| | system calls per connection | |\n|---|---|---|");
    for (name, traced) in ["primary", "worker"].into_iter().zip(traced) {
        let counts = traced?.counts()?;
        let connections = f64::from(arguments.connections * arguments.clients);
        #[allow(clippy::cast_precision_loss, reason = "the counts of a run are far below 2^52")]
        let per_connection = |count: u64| count as f64 / connections;
        let calls = counts.iter().filter(|(_, count)| per_connection(**count) >= 0.01);
        let calls: Vec<String> =
            calls.map(|(call, count)| format!("{call} {:.2}", per_connection(*count))).collect();
        println!("| {name} | {:.1} | {} |", per_connection(counts.values().sum()), calls.join(", "));
    }
    Ok(())
}
