//! The memory of a primary: resident with 0, 4 and 64 workers, here and in Node's cluster (with 0 and 4), and
//! on the heap for each connection in the queue of the primary.
//!
//! `cargo bench -p cluster-benches --bench memory` needs `node` in the `PATH`. The heap is counted
//! for the machine alone, and for a whole primary with clients in another process.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, thread};

use allocation_counter::{AllocationInfo, measure};
use clap::Parser;
use cluster::{Event, Limits, Primary, Role, Settings, Worker, raise_descriptor_limit};
use cluster_benches::{InMemoryCluster, policies, processes};
use tokio::runtime::Builder;
use tokio::time::interval;

const NODE_SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/node/server.cjs");

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Prints the memory of a primary.
#[derive(Parser)]
struct Options {
    /// Number of queued connections.
    #[arg(long, default_value_t = 10_000)]
    connections: u32,
    /// Serve with this number of workers instead of measuring.
    #[arg(long, hide = true)]
    serve: Option<u32>,
    /// Print the heap of a queue instead of measuring.
    #[arg(long, hide = true)]
    queue: bool,
    /// Passed by cargo to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Outcome<()> {
    let options = Options::parse();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    if runtime.block_on(async { cluster::role() })? == Role::Worker {
        return runtime.block_on(work(options.queue));
    }
    match options.serve {
        Some(workers) => runtime.block_on(lead(workers)),
        None if options.queue => queue(options.connections),
        None => print(&options),
    }
}

/// Accepts connections, or never accepts.
async fn work(never_accepts: bool) -> Outcome<()> {
    let worker = Worker::join()?;
    let mut listener = worker.listen("127.0.0.1:0").await?;
    if never_accepts {
        worker.disconnected().await;
    }
    while listener.accept().await?.is_some() {}
    Ok(())
}

async fn lead(workers: u32) -> Outcome<()> {
    let mut primary = Primary::new(Settings::default())?;
    for _ in 0..workers {
        primary.fork()?;
    }
    let mut listening = 0;
    while listening < workers {
        let event = primary.next().await.ok_or("the workers have exited")?;
        listening += u32::from(matches!(event, Event::Listening { .. }));
    }
    println!("listening");
    // Without workers, the primary has no event and would end.
    while primary.next().await.is_some() || workers == 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Runs a primary and a worker without `accept`. Prints the port, and the heap of the queued connections.
fn queue(connections: u32) -> Outcome<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    raise_descriptor_limit()?;
    let mut primary = runtime.block_on(async {
        let limits = Limits { queued_connections: usize::MAX, ..Limits::default() };
        let mut primary = Primary::new(Settings { limits, ..Settings::default() })?;
        primary.fork()?;
        loop {
            if let Event::Listening { address, .. } = primary.next().await.ok_or("the worker has exited")? {
                println!("{}", address.port);
                return Outcome::Ok(primary);
            }
        }
    })?;
    // The first connections create the parts of the queue.
    runtime.block_on(queued(&mut primary, 64));
    let heap = measure(|| runtime.block_on(queued(&mut primary, 64 + u64::from(connections))));
    println!("{}", heap.bytes_current);
    Ok(())
}

/// Returns when the queue has `connections` connections.
async fn queued(primary: &mut Primary, connections: u64) {
    let mut looks = interval(Duration::from_millis(5));
    while primary.connections().queued < connections {
        tokio::select! {
            _ = looks.tick() => {}
            _ = primary.next() => {}
        }
    }
}

// ---- the measurement

/// A primary of its own. The workers exit when the primary is killed.
struct Subject(Child);

impl Subject {
    /// Returns when the primary has printed its first line.
    fn start(command: &mut Command) -> Outcome<(Self, String, BufReader<std::process::ChildStdout>)> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut output = BufReader::new(child.stdout.take().ok_or("the output is no pipe")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        Ok((Subject(child), line, output))
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // Fails only if the process has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn print(options: &Options) -> Outcome<()> {
    println!("| primary | workers | resident (RSS) | proportional (PSS) |\n|---|---|---|---|");
    for workers in [0, 4, 64] {
        let mut command = Command::new(env::current_exe()?);
        resident("here", workers, command.args(["--serve", &workers.to_string()]))?;
    }
    for workers in [0, 4] {
        let policy = if workers == 0 { "single" } else { "round-robin" };
        let mut command = Command::new("node");
        resident("Node", workers, command.args([NODE_SERVER, policy, &workers.to_string()]))?;
    }
    println!("\n| heap of a queued connection | bytes |\n|---|---|");
    for policy in policies::ASSIGNED {
        let mut cluster = InMemoryCluster::with_policy(2, policy.setting);
        // The first connections are handed off.
        (0..64).for_each(|_| cluster.connect());
        let heap = measure(|| (0..options.connections).for_each(|_| cluster.connect()));
        println!("| the machine, {} | {:.1} |", policy.name, each(&heap, options.connections));
    }
    println!("| a whole primary, round-robin | {:.1} |", whole(options.connections)?);
    Ok(())
}

fn resident(name: &str, workers: u32, command: &mut Command) -> Outcome<()> {
    let (subject, _, _output) = Subject::start(command)?;
    // The last worker has just sent its message.
    thread::sleep(Duration::from_millis(200));
    let memory = processes::memory(subject.0.id().cast_signed())?;
    #[allow(clippy::cast_precision_loss, reason = "the bytes of a process are far below 2^52")]
    let [resident, proportional] =
        [memory.resident, memory.proportional].map(|bytes| bytes as f64 / 1_048_576.0);
    println!("| {name} | {workers} | {resident:.1} MiB | {proportional:.1} MiB |");
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "the bytes of a process are far below 2^52")]
fn each(heap: &AllocationInfo, connections: u32) -> f64 {
    heap.bytes_current as f64 / f64::from(connections)
}

/// The heap of each queued connection in a primary on the real system.
fn whole(connections: u32) -> Outcome<f64> {
    raise_descriptor_limit()?;
    let mut command = Command::new(env::current_exe()?);
    command.args(["--queue", "--connections", &connections.to_string()]);
    let (_subject, port, mut output) = Subject::start(&mut command)?;
    let port: u16 = port.trim().parse()?;
    // One connection is offered to the worker, and does not count.
    let connect = |_| TcpStream::connect(("127.0.0.1", port));
    let _clients: Vec<TcpStream> = (0..=64 + connections).map(connect).collect::<Result<_, _>>()?;
    let mut heap = String::new();
    output.read_line(&mut heap)?;
    let heap: f64 = heap.trim().parse()?;
    Ok(heap / f64::from(connections))
}
