//! This library beside Node's cluster: connections per second, CPU time per connection of the primary and of
//! the workers (each under both policies), and the resident memory of a primary.
//!
//! `cargo bench -p cluster-benches --bench servers -- --help`. Needs `wrk` and `node` in the `PATH`. Both
//! sides run the same server on loopback, which reads, answers and closes. The rounds of both sides are
//! interleaved, and the results are medians, because the speed of a shared machine drifts.
#![allow(clippy::cast_precision_loss, reason = "the counts of a few seconds are far below 2^52")]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use clap::Parser;
use cluster::{Event, Primary, Role, SchedulingPolicy, Settings, Worker};
use cluster_benches::processes::{self, median, processor_time};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
const NODE_SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/node/server.cjs");

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Measures this cluster and Node's with the same load.
#[derive(Parser)]
struct Options {
    /// Number of workers.
    #[arg(long, default_value_t = 2)]
    workers: u32,
    /// Seconds of load for each server and round.
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// Number of measurements of each server; medians are printed.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Number of concurrent clients.
    #[arg(long, default_value_t = 32)]
    clients: u32,
    /// Serve with this policy instead of measuring.
    #[arg(long, hide = true)]
    serve: Option<String>,
    /// Passed by cargo to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Outcome<()> {
    let options = Options::parse();
    match &options.serve {
        Some(policy) => serve(policy, options.workers),
        None => measure(&options),
    }
}

// ---- the server of this library

#[tokio::main(flavor = "current_thread")]
async fn serve(policy: &str, workers: u32) -> Outcome<()> {
    match cluster::role()? {
        Role::Worker => work().await,
        Role::Primary if policy == "single" => {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            println!("{}", listener.local_addr()?.port());
            loop {
                let (mut stream, _) = listener.accept().await?;
                tokio::spawn(async move { answer(&mut stream).await });
            }
        }
        Role::Primary => lead(policy, workers).await,
    }
}

async fn lead(policy: &str, workers: u32) -> Outcome<()> {
    let policy = if policy == "shared" { SchedulingPolicy::Shared } else { SchedulingPolicy::RoundRobin };
    let mut primary = Primary::new(Settings { policy, ..Settings::default() })?;
    for _ in 0..workers {
        primary.fork()?;
    }
    let mut listening = 0;
    while let Some(event) = primary.next().await {
        if let Event::Listening { address, .. } = event {
            listening += 1;
            if listening == workers {
                println!("{}", address.port);
            }
        }
    }
    Ok(())
}

async fn work() -> Outcome<()> {
    let worker = Worker::join()?;
    let mut listener = worker.listen("127.0.0.1:0").await?;
    while let Some(mut connection) = listener.accept().await? {
        tokio::spawn(async move { answer(&mut connection).await });
    }
    Ok(())
}

/// Serves one client. Ignores the errors of the connection.
async fn answer(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) {
    let mut request = [0; 1024];
    if stream.read(&mut request).await.is_ok_and(|read| read > 0) {
        let _ = stream.write_all(ANSWER).await;
        let _ = stream.shutdown().await;
    }
}

// ---- the measurement

/// A server under test. Its workers exit when the primary is killed.
struct Server {
    primary: Child,
    port: u16,
}

impl Server {
    fn start(name: &str, workers: u32) -> Outcome<Self> {
        let (runtime, policy) = name.split_once(' ').ok_or("a name consists of a runtime and a policy")?;
        let mut command = if runtime == "node" {
            let mut command = Command::new("node");
            command.args([NODE_SERVER, policy, &workers.to_string()]);
            command
        } else {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["--serve", policy, "--workers", &workers.to_string()]);
            command
        };
        let mut primary = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{runtime}: {error}; is it in the PATH?"))?;
        let output = primary.stdout.take().ok_or("the output is no pipe")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let port = line.trim().parse().map_err(|_| format!("{name} printed no port"))?;
        Ok(Server { primary, port })
    }

    /// The process id of the primary, and the process ids of the workers.
    fn processes(&self) -> Outcome<(i32, Vec<i32>)> {
        let primary = self.primary.id().cast_signed();
        Ok((primary, processes::children(primary)?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only if the process has already ended.
        let _ = self.primary.kill();
        let _ = self.primary.wait();
    }
}

/// The figures of one server in one round.
#[derive(Clone, Copy)]
struct Sample {
    per_second: f64,
    primary_us: f64,
    workers_us: f64,
}

fn sample(name: &str, options: &Options) -> Outcome<Sample> {
    let server = Server::start(name, options.workers)?;
    load(server.port, options.clients, 1)?;
    let (primary, workers) = server.processes()?;
    let spent = || Outcome::Ok([processor_time(&[primary])?, processor_time(&workers)?]);
    let before = spent()?;
    let started = Instant::now();
    let connections = load(server.port, options.clients, options.seconds)? as f64;
    let elapsed = started.elapsed().as_secs_f64();
    let after = spent()?;
    Ok(Sample {
        per_second: connections / elapsed,
        primary_us: (after[0] - before[0]) / connections * 1e6,
        workers_us: (after[1] - before[1]) / connections * 1e6,
    })
}

/// Opens connections as fast as the server answers. Returns the number of answered connections.
fn load(port: u16, clients: u32, seconds: u32) -> Outcome<u64> {
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{clients}"), &format!("-d{seconds}s"), "-H", "Connection: close"])
        .arg(format!("http://127.0.0.1:{port}/"))
        .output()
        .map_err(|error| format!("wrk: {error}; it is in Debian's package `wrk`"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let answered = text.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok());
    Ok(answered.ok_or_else(|| format!("unexpected output of wrk: {text}"))?)
}

fn measure(options: &Options) -> Outcome<()> {
    let names =
        ["rust round-robin", "node round-robin", "rust shared", "node shared", "rust single", "node single"];
    let mut samples: BTreeMap<&str, Vec<Sample>> = BTreeMap::new();
    for round in 1..=options.rounds {
        for name in names {
            eprintln!("round {round} of {}: {name}", options.rounds);
            samples.entry(name).or_default().push(sample(name, options)?);
        }
    }
    println!(
        "{} workers, {} concurrent clients, medians of {} rounds:\n",
        options.workers, options.clients, options.rounds
    );
    println!("| | connections/s | CPU of the primary per connection | CPU of the workers per connection |");
    println!("|---|---|---|---|");
    for name in names {
        let of = |figure: fn(&Sample) -> f64| median(samples[name].iter().map(figure));
        let (per_second, primary, workers) =
            (of(|sample| sample.per_second), of(|sample| sample.primary_us), of(|sample| sample.workers_us));
        println!("| {name} | {per_second:.0} | {primary:.1} µs | {workers:.1} µs |");
    }
    println!();
    for policy in ["round-robin", "shared", "single"] {
        let pairs = samples[&*format!("rust {policy}")].iter().zip(&samples[&*format!("node {policy}")]);
        println!(
            "* {policy}: {:.2} times Node's connections",
            median(pairs.map(|(rust, node)| rust.per_second / node.per_second))
        );
    }
    for runtime in ["rust", "node"] {
        let server = Server::start(&format!("{runtime} round-robin"), 4)?;
        let resident = processes::memory(server.primary.id().cast_signed())?.resident as f64;
        println!(
            "* resident memory of a {runtime} primary with 4 workers: {:.1} MiB",
            resident / 1_048_576.0
        );
    }
    Ok(())
}
