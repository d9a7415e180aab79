//! Counts primes on every core: each task is a range of numbers, and runs in a worker process.
//!
//! `cargo run --release -p cluster --example tasks -- 20000000`
//!
//! ctrl-c cancels the tasks that are left.

use std::env;

use anyhow::Context;
use cluster::{ClosePolicy, Pool, PoolSettings, Role, Worker};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

/// The numbers of one task.
const RANGE: usize = 10_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    match cluster::role()? {
        Role::Primary => primary().await,
        Role::Worker => Ok(Worker::join()?.serve_blocking_tasks(count_primes).await?),
    }
}

async fn primary() -> anyhow::Result<()> {
    let limit = env::args().nth(1).unwrap_or_else(|| "1000000".into());
    let limit: u64 = limit.parse().with_context(|| format!("`{limit}` is not a number"))?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let pool = Pool::new(PoolSettings::new(cluster::cores()))?;
    let mut tasks = JoinSet::new();
    for start in (0..limit).step_by(RANGE) {
        let (pool, range) = (pool.clone(), (start, limit.min(start + RANGE as u64)));
        tasks.spawn(async move { pool.run::<_, u64>(&range).await });
    }
    println!("{} tasks for {} workers", tasks.len(), cluster::cores());
    let mut primes = 0;
    loop {
        tokio::select! {
            count = tasks.join_next() => match count {
                Some(count) => primes += count??,
                None => break println!("{primes} primes below {limit}"),
            },
            _ = interrupt.recv() => break println!("interrupted: {} tasks are left", tasks.len()),
        }
    }
    drop(tasks);
    pool.shutdown(ClosePolicy::Fail).await;
    Ok(())
}

fn count_primes((start, end): (u64, u64)) -> anyhow::Result<usize> {
    anyhow::ensure!(start < end, "no number is in {start}..{end}");
    let is_prime = |n: u64| n > 1 && (2..=n.isqrt()).all(|divisor| !n.is_multiple_of(divisor));
    Ok((start..end).filter(|n| is_prime(*n)).count())
}
