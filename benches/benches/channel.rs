//! The channel between a primary and a worker on the real system: round trips, bytes, passed descriptors, and
//! the time from a fork to `listening`, here and in Node's cluster. Two processes with blocking reads and
//! writes on pipes show the share of the kernel in a round trip.
//!
//! `cargo bench -p cluster-benches --bench channel` needs `node` in the `PATH`. The last lines are medians of
//! interleaved rounds, because the speed of a shared machine drifts.

use std::env;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Lines, Read, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use cluster::{Event, Message, Primary, Role, Settings, Signal, Socket, Worker, WorkerEvent, WorkerId};
use cluster_benches::processes::median;
use criterion::{Criterion, Throughput};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

/// The variable with the path of another Node.js.
const NODE: &str = "NODE";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/node/channel.cjs");
/// With this variable, the program sends its input back.
const ECHO: &str = "CHANNEL_ECHO";
const ROUNDS: usize = 11;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A kind of work.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// Messages of `size` characters, at most `window` of them before an answer.
    Exchange { size: usize, window: u64 },
    /// Messages with a listening socket, one after the other.
    Descriptor,
    /// A fork until the worker listens.
    Fork,
}

/// A name, the work, and the number of repetitions in a round of the comparison.
const WORKS: [(&str, Work, u64); 5] = [
    ("round trip", Work::Exchange { size: 16, window: 1 }, 5_000),
    ("round trip, 64 messages at a time", Work::Exchange { size: 16, window: 64 }, 20_000),
    ("64 KiB to the worker and back, 4 at a time", Work::Exchange { size: 65_536, window: 4 }, 500),
    ("descriptor to the worker, and an answer", Work::Descriptor, 2_000),
    ("fork to listening", Work::Fork, 5),
];

fn main() -> Outcome<()> {
    if env::var_os(ECHO).is_some() {
        return echo();
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(async { cluster::role() })? {
        Role::Worker => runtime.block_on(work()),
        Role::Primary => measure(runtime),
    }
}

/// Listens, and answers each message.
async fn work() -> Outcome<()> {
    let worker = Worker::join()?;
    let _listener = worker.listen("127.0.0.1:0").await?;
    while let Some(event) = worker.next().await {
        match event {
            WorkerEvent::Message { socket: Some(_), .. } => {
                worker.send("received")?;
            }
            WorkerEvent::Message { message, socket: None } => {
                worker.send_when_room(message).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

// ---- this library

struct Here {
    runtime: Runtime,
    primary: Primary,
    worker: WorkerId,
    socket: TcpListener,
}

impl Here {
    fn start(runtime: Runtime) -> Outcome<Self> {
        let socket = TcpListener::bind("127.0.0.1:0")?;
        let (primary, worker) = runtime.block_on(async {
            let mut primary = Primary::new(Settings::default())?;
            let worker = primary.fork()?;
            while !matches!(primary.next().await, Some(Event::Listening { .. }) | None) {}
            Outcome::Ok((primary, worker))
        })?;
        Ok(Here { runtime, primary, worker, socket })
    }

    /// The duration of `count` repetitions.
    fn time(&mut self, work: Work, count: u64) -> Outcome<Duration> {
        let Here { runtime, primary, worker, socket } = self;
        runtime.block_on(async {
            match work {
                Work::Exchange { size, window } => {
                    let message = Message::from("x".repeat(size));
                    let send = |primary: &mut Primary| {
                        primary.send(*worker, message.clone())?;
                        Ok(())
                    };
                    exchange(primary, count, window, send).await
                }
                Work::Descriptor => {
                    let send = |primary: &mut Primary| {
                        primary.send_with(*worker, "socket", Socket::duplicate(&*socket)?)?;
                        Ok(())
                    };
                    exchange(primary, count, 1, send).await
                }
                Work::Fork => {
                    let mut elapsed = Duration::ZERO;
                    for _ in 0..count {
                        elapsed += fork(primary).await?;
                    }
                    Ok(elapsed)
                }
            }
        })
    }
}

/// The duration of `count` messages with their answers.
async fn exchange(
    primary: &mut Primary,
    count: u64,
    window: u64,
    send: impl Fn(&mut Primary) -> Outcome<()>,
) -> Outcome<Duration> {
    let started = Instant::now();
    for _ in 0..window.min(count) {
        send(primary)?;
    }
    let mut received = 0;
    while received < count {
        if let Event::Message { .. } = primary.next().await.ok_or("the worker has exited")? {
            received += 1;
            if received + window <= count {
                send(primary)?;
            }
        }
    }
    Ok(started.elapsed())
}

/// The time from a fork until the worker listens. The worker is then killed.
async fn fork(primary: &mut Primary) -> Outcome<Duration> {
    let started = Instant::now();
    let worker = primary.fork()?;
    let mut elapsed = Duration::ZERO;
    loop {
        match primary.next().await.ok_or("the primary has ended")? {
            Event::Listening { .. } => {
                elapsed = started.elapsed();
                primary.kill(worker, Signal::SIGKILL);
            }
            Event::Exit { .. } => return Ok(elapsed),
            _ => {}
        }
    }
}

// ---- Node's cluster

struct Node {
    primary: Child,
    commands: ChildStdin,
    times: Lines<BufReader<ChildStdout>>,
}

impl Node {
    fn start() -> Outcome<Self> {
        let node = env::var_os(NODE).unwrap_or_else(|| "node".into());
        let mut primary =
            Command::new(node).arg(SCRIPT).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let commands = primary.stdin.take().ok_or("the input is no pipe")?;
        let mut times = BufReader::new(primary.stdout.take().ok_or("the output is no pipe")?).lines();
        times.next().ok_or("Node.js has exited")??;
        Ok(Node { primary, commands, times })
    }

    /// The duration of `count` repetitions.
    fn time(&mut self, work: Work, count: u64) -> Outcome<Duration> {
        let command = match work {
            Work::Exchange { size, window } => {
                json!({ "name": "exchange", "count": count, "size": size, "window": window })
            }
            Work::Descriptor => {
                json!({ "name": "exchange", "count": count, "size": 16, "window": 1, "socket": true })
            }
            Work::Fork => json!({ "name": "fork", "count": count }),
        };
        writeln!(self.commands, "{command}")?;
        let nanoseconds = self.times.next().ok_or("Node.js has exited")??;
        Ok(Duration::from_nanos(nanoseconds.parse()?))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Fails only if the process has already ended. The worker exits with its channel.
        let _ = self.primary.kill();
        let _ = self.primary.wait();
    }
}

// ---- the kernel alone

/// Sends the input back, without a runtime.
fn echo() -> Outcome<()> {
    let (mut input, mut output, mut bytes) = (io::stdin().lock(), io::stdout(), [0; 4096]);
    loop {
        let read = input.read(&mut bytes)?;
        if read == 0 {
            return Ok(());
        }
        output.write_all(&bytes[..read])?;
        output.flush()?;
    }
}

/// A process that runs [`echo`].
struct Kernel {
    process: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Kernel {
    fn start() -> Outcome<Self> {
        let mut command = Command::new(env::current_exe()?);
        let mut process = command.env(ECHO, "1").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = process.stdin.take().ok_or("the input is no pipe")?;
        let output = process.stdout.take().ok_or("the output is no pipe")?;
        Ok(Kernel { process, input, output })
    }

    /// The duration of `count` round trips, one after the other. `None` for other work.
    fn time(&mut self, work: Work, count: u64) -> Outcome<Option<Duration>> {
        let Work::Exchange { size, window: 1 } = work else { return Ok(None) };
        let mut message = vec![b'x'; size];
        let started = Instant::now();
        for _ in 0..count {
            self.input.write_all(&message)?;
            self.output.read_exact(&mut message)?;
        }
        Ok(Some(started.elapsed()))
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        // Fails only if the process has already ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

// ---- the measurement

fn measure(runtime: Runtime) -> Outcome<()> {
    let (mut here, mut node) = (Here::start(runtime)?, Node::start()?);
    let mut criterion = Criterion::default().configure_from_args();
    for (name, work, _) in WORKS {
        let mut group = criterion.benchmark_group(name);
        group.throughput(match work {
            Work::Exchange { size, .. } if size > 1024 => Throughput::Bytes(2 * size as u64),
            Work::Exchange { .. } | Work::Descriptor | Work::Fork => Throughput::Elements(1),
        });
        if let Work::Fork = work {
            group.sample_size(10);
        }
        group.bench_function("here", |bencher| {
            bencher.iter_custom(|count| here.time(work, count).expect("the worker answers"));
        });
        group.bench_function("Node", |bencher| {
            bencher.iter_custom(|count| node.time(work, count).expect("the worker answers"));
        });
        group.finish();
    }
    criterion.final_summary();
    compare(&mut here, &mut node)
}

/// Prints the medians of interleaved rounds.
fn compare(here: &mut Here, node: &mut Node) -> Outcome<()> {
    let mut kernel = Kernel::start()?;
    println!("| | here | Node | Node / here | the kernel alone |\n|---|---|---|---|---|");
    for (name, work, count) in WORKS {
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            times[0].push(here.time(work, count)?.as_secs_f64());
            times[1].push(node.time(work, count)?.as_secs_f64());
            times[2].extend(kernel.time(work, count)?.map(|time| time.as_secs_f64()));
        }
        #[allow(clippy::cast_precision_loss, reason = "the counts are far below 2^52")]
        let [here, node] = [0, 1].map(|side| median(times[side].iter().copied()) / count as f64 * 1e6);
        let ratio = median(times[0].iter().zip(&times[1]).map(|(here, node)| node / here));
        #[allow(clippy::cast_precision_loss, reason = "the counts are far below 2^52")]
        let kernel = times[2].first().map(|_| median(times[2].iter().copied()) / count as f64 * 1e6);
        let kernel = kernel.map_or_else(String::new, |time| format!("{time:.1} µs"));
        println!("| {name} | {here:.1} µs | {node:.1} µs | {ratio:.2} | {kernel} |");
    }
    Ok(())
}
