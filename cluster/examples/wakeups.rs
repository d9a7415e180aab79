//! The cost of a connection for workers with a shared listening socket, by the number of workers and of
//! concurrent clients.
//!
//! `cargo run --release -p cluster --example wakeups -- 8 1 4000` measures 4,000 successive connections of a
//! client to 8 workers: connections per second, the time from `connect` to the answer, and per connection the
//! wakeups (voluntary context switches) and the CPU time of all workers.

#![expect(clippy::cast_precision_loss, reason = "counts of a few seconds are far below 2^52")]

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use cluster::{Event, Primary, Role, SchedulingPolicy, Settings, Worker};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use tokio::io::AsyncWriteExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    match cluster::role()? {
        Role::Primary => primary().await,
        Role::Worker => worker(Worker::join()?).await,
    }
}

async fn worker(worker: Worker) -> anyhow::Result<()> {
    let mut listener = worker.listen((Ipv4Addr::LOCALHOST, 0)).await?;
    while let Some(mut connection) = listener.accept().await? {
        tokio::spawn(async move { connection.write_all(b"!").await });
    }
    Ok(())
}

async fn primary() -> anyhow::Result<()> {
    let argument = |index, default| env::args().nth(index).map_or(Ok(default), |text| text.parse::<usize>());
    let (workers, clients, connections) = (argument(1, 8)?, argument(2, 1)?, argument(3, 4000)?);
    let policy = SchedulingPolicy::Shared;
    let mut primary = Primary::new(Settings { policy, ..Settings::default() })?;
    for _ in 0..workers {
        primary.fork()?;
    }
    let mut listening = 0;
    let mut port = 0;
    while listening < workers {
        match primary.next().await {
            Some(Event::Listening { address, .. }) => {
                port = u16::try_from(address.port)?;
                listening += 1;
            }
            Some(_) => {}
            None => anyhow::bail!("no worker listens"),
        }
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let begin = Instant::now();
    let mut times = tokio::task::spawn_blocking(move || load(address, clients, connections)).await??;
    let seconds = begin.elapsed().as_secs_f64();
    primary.disconnect_all();
    while primary.next().await.is_some() {}
    times.sort();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let per_connection = |count: i64| count as f64 / times.len() as f64;
    let cpu = (usage.user_time() + usage.system_time()).num_microseconds();
    println!(
        "{workers} workers, {clients} clients: {:.0} connections/s, answered after {:?} (median), {:?} (99 %)",
        times.len() as f64 / seconds,
        times[times.len() / 2],
        times[times.len() * 99 / 100],
    );
    println!(
        "per connection: {:.2} wakeups, {:.0} us of CPU time",
        per_connection(usage.voluntary_context_switches()),
        per_connection(cpu)
    );
    Ok(())
}

/// The time of each connection. The connections of a client are successive.
fn load(address: SocketAddr, clients: usize, connections: usize) -> io::Result<Vec<Duration>> {
    let client = move || {
        let times = (0..connections / clients).map(|_| {
            let begin = Instant::now();
            TcpStream::connect(address)?.read_exact(&mut [0])?;
            Ok(begin.elapsed())
        });
        times.collect::<io::Result<Vec<_>>>()
    };
    let clients: Vec<_> = (0..clients).map(|_| thread::spawn(client)).collect();
    let mut times = Vec::new();
    for client in clients {
        times.extend(client.join().map_err(|_| io::Error::other("a client panicked"))??);
    }
    Ok(times)
}
