//! Graceful shutdown with a deadline: the primary disconnects all workers, and kills workers that have not
//! exited in time.
//!
//! `cargo run -p cluster --example graceful -- 2`, and then ctrl-c or SIGTERM to the primary. The argument is
//! the deadline in seconds. To see a worker killed, hold a connection open: connect to the printed address
//! before ctrl-c, with `nc` or `bash -c 'exec 3<>/dev/tcp/HOST/PORT; sleep 99'`.

use std::env;
use std::time::Duration;

use anyhow::Context;
use cluster::{Event, ExitStatus, Primary, Role, Settings, Signal, SpawnOptions, Worker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

const WORKERS: usize = 2;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    match cluster::role()? {
        Role::Primary => primary().await,
        Role::Worker => worker().await,
    }
}

async fn primary() -> anyhow::Result<()> {
    let seconds = env::args().nth(1).unwrap_or_else(|| "10".into());
    let deadline = seconds.parse().with_context(|| format!("`{seconds}` is not a number of seconds"))?;
    let deadline = Duration::from_secs(deadline);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // A terminal and a service manager signal the whole process group. The workers ignore the signals,
    // because the primary decides.
    let spawn = SpawnOptions::new().ignore_terminal_signals(true);
    let mut primary = Primary::new(Settings { spawn, ..Settings::default() })?;
    for _ in 0..WORKERS {
        primary.fork()?;
    }
    let mut listening = 0;
    // The deadline. Set when the shutdown has begun.
    let mut end: Option<Instant> = None;
    loop {
        tokio::select! {
            event = primary.next() => match event {
                Some(Event::Listening { address, .. }) => {
                    listening += 1;
                    if listening == WORKERS {
                        println!("{WORKERS} workers serve {address}");
                    }
                }
                Some(Event::Exit { worker, status, .. }) => println!("worker {worker} {}", describe(status)),
                Some(_) => {}
                None => return Ok(()),
            },
            _ = terminate.recv(), if end.is_none() => end = Some(begin(&mut primary, deadline)),
            _ = interrupt.recv(), if end.is_none() => end = Some(begin(&mut primary, deadline)),
            () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => {
                for worker in primary.running_workers().collect::<Vec<_>>() {
                    primary.kill(worker, Signal::SIGKILL);
                }
                end = None;
            }
        }
    }
}

fn begin(primary: &mut Primary, deadline: Duration) -> Instant {
    println!("disconnecting the workers");
    primary.disconnect_all();
    Instant::now() + deadline
}

fn describe(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("exited with code {code}"),
        ExitStatus::Signal(signal) => format!("was killed by {signal}"),
        ExitStatus::ReapedElsewhere => "exited with an unknown status".into(),
    }
}

/// Echoes until the client closes the connection.
async fn worker() -> anyhow::Result<()> {
    let worker = Worker::join()?;
    let mut listener = worker.listen("127.0.0.1:0").await?;
    while let Some(mut connection) = listener.accept().await? {
        tokio::spawn(async move {
            let mut bytes = [0; 1024];
            while let Ok(length @ 1..) = connection.read(&mut bytes).await {
                connection.write_all(&bytes[..length]).await?;
            }
            std::io::Result::Ok(())
        });
    }
    Ok(())
}
