//! A task pool over real processes: results, deaths, cancellation, back-pressure, reload and shutdown; and
//! Node workers.

use std::path::Path;
use std::time::Duration;

use ::cluster::{
    CancelRunning, ClosePolicy, Delivery, ExitStatus, Pool, PoolError, PoolSettings, SendError,
    Serialization, Settings, SpawnOptions, SupervisorSettings, TaskError, TryRunError, WorkerId,
};
use libtest_mimic::{Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::node::{is_absent, script};
use super::programs::supervised::SUPERVISED;
use super::support::{TIMEOUT, TestResult, asynchronous};

/// The program in `docs/tasks.md`.
const NODE_WORKER: &str = include_str!("../../../docs/tasks.cjs");

pub(crate) fn trials() -> Vec<Trial> {
    let absent = is_absent();
    let node = [
        asynchronous("node_worker_serves_tasks", || node(Serialization::Json)),
        asynchronous("node_worker_serves_advanced_tasks", || node(Serialization::Advanced)),
    ];
    let node = node.into_iter().map(|trial| trial.with_ignored_flag(absent));
    [
        asynchronous("pool_runs_tasks", results),
        asynchronous("failed_task_has_its_error", failures),
        asynchronous("killed_worker_fails_its_task", at_most_once),
        asynchronous("killed_worker_returns_its_task", at_least_once),
        asynchronous("fatal_task_has_limited_attempts", fatal_task),
        asynchronous("dropped_task_is_cancelled", cancelled),
        asynchronous("dropped_task_kills_by_setting", cancelled_by_kill),
        asynchronous("dropped_task_is_aborted", aborted),
        asynchronous("late_task_ends_with_its_worker", late),
        asynchronous("late_task_is_sent_again", late_again),
        asynchronous("messages_with_sockets_are_received", with_sockets),
        asynchronous("cancelled_thousands_harm_no_other", thousands),
        asynchronous("oversized_values_harm_no_other", oversized),
        asynchronous("full_queue_delays_run", back_pressure),
        asynchronous("large_tasks_wait_for_channel", large_tasks),
        asynchronous("pool_reload_completes_tasks", reload),
        asynchronous("pool_shutdown_drains_queue", drained),
        asynchronous("pool_shutdown_fails_queue", failed),
        asynchronous("dropped_pool_shuts_down", dropped),
        asynchronous("pool_without_workers_fails_tasks", without_workers),
    ]
    .into_iter()
    .chain(node)
    .collect()
}

/// The settings for workers that run a program of `programs/tasks.rs`.
fn settings(workers: u32, program: &str) -> PoolSettings {
    let spawn = SpawnOptions::new().args([SUPERVISED, program]);
    let primary = Settings { spawn, ..Settings::default() };
    PoolSettings::new(workers).map_supervisor(|settings: SupervisorSettings| settings.primary(primary))
}

fn blocking(workers: u32) -> PoolSettings {
    settings(workers, "serve blocking tasks")
}

async fn run(pool: &Pool, name: &str, argument: u64) -> Result<Value, PoolError> {
    timeout(TIMEOUT, pool.run(&(name, argument))).await.expect("a result within the bound")
}

async fn end(pool: Pool) -> TestResult {
    Ok(timeout(TIMEOUT, pool.shutdown(ClosePolicy::Drain)).await?)
}

/// Tasks that run until the test ends them.
struct HoldingTasks {
    listener: TcpListener,
    port: u64,
}

/// A running task.
struct RunningTask {
    process: Pid,
    connection: TcpStream,
}

impl HoldingTasks {
    async fn new() -> Result<Self, Failed> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port().into();
        Ok(HoldingTasks { listener, port })
    }

    /// Waits for the next task that starts.
    async fn started(&self) -> Result<RunningTask, Failed> {
        let (mut connection, _) = timeout(TIMEOUT, self.listener.accept()).await??;
        let process = Pid::from_raw(i32::try_from(connection.read_u32().await?)?);
        Ok(RunningTask { process, connection })
    }

    /// Starts a task, and waits until the task is running.
    async fn start(&self, pool: &Pool) -> Result<(::cluster::PendingTask<String>, RunningTask), Failed> {
        let task = pool.try_run(("hold", self.port))?;
        Ok((task, self.started().await?))
    }
}

impl RunningTask {
    /// Ends the task with this result.
    async fn end(mut self, result: &str) -> TestResult {
        Ok(self.connection.write_all(result.as_bytes()).await?)
    }

    /// Waits for the end of the connection: the process or the task has ended without a result.
    async fn lost(mut self) -> TestResult {
        // A killed process resets the connection, or ends it.
        let _ = timeout(TIMEOUT, self.connection.read(&mut [0])).await?;
        Ok(())
    }
}

async fn results() -> TestResult {
    let pool = Pool::new(blocking(2))?;
    let tasks = (0..20).map(|n| pool.try_run(("double", n)));
    let tasks: Vec<::cluster::PendingTask<u64>> = tasks.collect::<Result<_, _>>()?;
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(timeout(TIMEOUT, task).await??, 2 * n);
    }
    end(pool).await
}

/// The error of a task, a panic of a task, and an unsuitable value are errors of this task alone.
async fn failures() -> TestResult {
    let pool = Pool::new(blocking(1))?;
    let failed = |text: &str| Err(PoolError::Task(TaskError::Failed(text.to_owned())));
    assert_eq!(run(&pool, "fail", 3).await, failed("3 is wrong"));
    let Err(PoolError::Task(TaskError::Failed(text))) = run(&pool, "panic", 1).await else {
        return Err("no failed task".into());
    };
    assert!(text.starts_with("the task panicked") && text.contains("a planted panic"), "{text}");
    let text = pool.run::<_, Value>("no pair").await.err().ok_or("no error")?.to_string();
    assert!(text.starts_with("the task failed: the worker cannot read the task"), "{text}");
    let decoded = pool.run::<_, String>(&("double", 1)).await;
    assert!(matches!(decoded, Err(PoolError::Decode(_))), "{decoded:?}");
    let no_json = std::collections::BTreeMap::from([((1, 2), 3)]);
    assert!(matches!(pool.run::<_, Value>(&no_json).await, Err(PoolError::Encode(_))));
    assert!(matches!(pool.try_run::<_, Value>(no_json), Err(TryRunError::Encode(..))));
    assert_eq!(run(&pool, "double", 4).await, Ok(8.into()));
    end(pool).await
}

/// At most once: the caller receives the exit status, and the task does not run again.
async fn at_most_once() -> TestResult {
    let (pool, holding) = (Pool::new(blocking(1))?, HoldingTasks::new().await?);
    let (task, running) = holding.start(&pool).await?;
    kill(running.process, Signal::SIGKILL)?;
    let error = timeout(TIMEOUT, task).await?.err().ok_or("no error")?;
    let PoolError::Task(TaskError::WorkerDied { status, .. }) = error else { return Err(error.into()) };
    assert_eq!(status, Some(ExitStatus::Signal(::cluster::Signal::SIGKILL)));
    let (task, next) = holding.start(&pool).await?;
    assert_ne!(next.process, running.process);
    next.end("next").await?;
    assert_eq!(timeout(TIMEOUT, task).await??, "next");
    let exited = run(&pool, "exit", 7).await;
    let Err(PoolError::Task(TaskError::WorkerDied { status, .. })) = exited else {
        return Err("the worker has not exited".into());
    };
    assert_eq!(status, Some(ExitStatus::Code(7)));
    end(pool).await
}

/// At least once: another worker receives the task.
async fn at_least_once() -> TestResult {
    let settings = blocking(2).delivery(Delivery::AtLeastOnce { attempts: 3 });
    let (pool, holding) = (Pool::new(settings)?, HoldingTasks::new().await?);
    let (task, running) = holding.start(&pool).await?;
    kill(running.process, Signal::SIGKILL)?;
    let again = holding.started().await?;
    assert_ne!(again.process, running.process);
    again.end("second").await?;
    assert_eq!(timeout(TIMEOUT, task).await??, "second");
    end(pool).await
}

async fn fatal_task() -> TestResult {
    let pool = Pool::new(blocking(1).delivery(Delivery::AtLeastOnce { attempts: 2 }))?;
    let status = Some(ExitStatus::Code(9));
    let error = PoolError::Task(TaskError::TooManyAttempts { attempts: 2, status });
    assert_eq!(run(&pool, "exit", 9).await, Err(error));
    assert_eq!(run(&pool, "double", 4).await, Ok(8.into()));
    end(pool).await
}

/// A queued task that is cancelled never starts. After the cancellation of a running task, the worker first
/// completes the task, and then receives the next task.
async fn cancelled() -> TestResult {
    let (pool, holding) = (Pool::new(blocking(1))?, HoldingTasks::new().await?);
    let (first, running) = holding.start(&pool).await?;
    drop(pool.try_run::<_, Value>(("exit", 1))?);
    drop(first);
    let last = pool.try_run::<_, String>(("hold", holding.port))?;
    let process = running.process;
    running.end("ignored").await?;
    let running = holding.started().await?;
    assert_eq!(running.process, process);
    running.end("last").await?;
    assert_eq!(timeout(TIMEOUT, last).await??, "last");
    end(pool).await
}

/// The killed worker is replaced at once. The exit does not count as a restart: none is permitted here.
async fn cancelled_by_kill() -> TestResult {
    let settings = blocking(1)
        .cancel(CancelRunning::Kill)
        .map_supervisor(|settings| settings.intensity(0, Duration::from_mins(1)));
    let (pool, holding) = (Pool::new(settings)?, HoldingTasks::new().await?);
    let (task, running) = holding.start(&pool).await?;
    drop(task);
    running.lost().await?;
    assert_eq!(run(&pool, "double", 4).await, Ok(8.into()));
    end(pool).await
}

/// A task in the runtime of the worker is aborted, and the worker receives the next task.
async fn aborted() -> TestResult {
    let (pool, holding) = (Pool::new(settings(1, "serve tasks"))?, HoldingTasks::new().await?);
    let (task, running) = holding.start(&pool).await?;
    let process = running.process;
    drop(task);
    running.lost().await?;
    let (task, running) = holding.start(&pool).await?;
    assert_eq!(running.process, process);
    running.end("next").await?;
    assert_eq!(timeout(TIMEOUT, task).await??, "next");
    end(pool).await
}

const LIMIT: Duration = Duration::from_secs(2);

/// If a task exceeds the time limit, the worker is killed and replaced.
async fn late() -> TestResult {
    // No restart is permitted, because this exit does not count as a restart.
    let settings = blocking(1)
        .time_limit(LIMIT)
        .map_supervisor(|settings| settings.intensity(0, Duration::from_mins(1)));
    let (pool, holding) = (Pool::new(settings)?, HoldingTasks::new().await?);
    let (task, running) = holding.start(&pool).await?;
    let process = running.process;
    let error = PoolError::Task(TaskError::TimedOut { worker: WorkerId(1), limit: LIMIT });
    assert_eq!(timeout(TIMEOUT, task).await?, Err(error));
    running.lost().await?;
    let (task, running) = holding.start(&pool).await?;
    assert_ne!(running.process, process);
    // The time limit also ends a cancelled task.
    drop(task);
    running.lost().await?;
    end(pool).await
}

/// At least once: another worker receives the task, as after any exit, up to the limit of workers.
async fn late_again() -> TestResult {
    let settings = blocking(1).time_limit(LIMIT).delivery(Delivery::AtLeastOnce { attempts: 2 });
    let (pool, holding) = (Pool::new(settings)?, HoldingTasks::new().await?);
    let (task, first) = holding.start(&pool).await?;
    let second = holding.started().await?;
    assert_ne!(first.process, second.process);
    let error = PoolError::Task(TaskError::TimedOut { worker: WorkerId(2), limit: LIMIT });
    assert_eq!(timeout(TIMEOUT, task).await?, Err(error));
    end(pool).await
}

/// Sockets beside the announcement and beside results are closed.
async fn with_sockets() -> TestResult {
    let pool = Pool::new(settings(1, "serve tasks with sockets"))?;
    for n in 0..3 {
        assert_eq!(run(&pool, "any", n).await, Ok("with a socket".into()));
    }
    end(pool).await
}

/// 100,000 tasks at the same time, most of them cancelled.
async fn thousands() -> TestResult {
    const TASKS: u64 = 100_000;
    let (pool, holding) =
        (Pool::new(blocking(2).queue(usize::try_from(TASKS)?))?, HoldingTasks::new().await?);
    let (first, running) = holding.start(&pool).await?;
    let tasks = (0..TASKS).map(|n| pool.try_run::<_, u64>(("double", n)));
    let mut tasks: Vec<_> = tasks.collect::<Result<_, _>>()?;
    let kept = tasks.split_off(tasks.len() - 100);
    drop(tasks);
    for (n, task) in (TASKS - 100..).zip(kept) {
        assert_eq!(timeout(TIMEOUT, task).await??, 2 * n);
    }
    running.end("first").await?;
    assert_eq!(timeout(TIMEOUT, first).await??, "first");
    end(pool).await
}

/// A task beyond the limit is not sent. A result beyond the limit of the worker is an error of the task, and
/// a result beyond the limit of the primary ends the worker. Every other task has a result.
async fn oversized() -> TestResult {
    const LIMIT: usize = 1 << 20;
    let spawn = SpawnOptions::new().args([SUPERVISED, "serve blocking tasks"]);
    let mut primary = Settings { spawn, ..Settings::default() };
    primary.limits.message_bytes = LIMIT;
    let pool = Pool::new(PoolSettings::new(1).map_supervisor(|settings| settings.primary(primary)))?;
    let long = pool.try_run::<_, Value>(("double", 1, " ".repeat(LIMIT)))?;
    let filling = pool.try_run::<_, Value>(("fill", 2 * LIMIT))?;
    let after = pool.try_run::<_, u64>(("double", 2))?;
    let unsent = TaskError::NotSent(SendError::TooLong { limit: LIMIT });
    assert_eq!(timeout(TIMEOUT, long).await?, Err(PoolError::Task(unsent)));
    let ended = timeout(TIMEOUT, filling).await?;
    assert!(matches!(ended, Err(PoolError::Task(TaskError::WorkerDied { .. }))));
    assert_eq!(timeout(TIMEOUT, after).await??, 4);
    end(pool).await?;

    let pool = Pool::new(blocking(1))?;
    let limit = ::cluster::Limits::default().message_bytes;
    let Err(PoolError::Task(TaskError::Failed(text))) = run(&pool, "fill", u64::try_from(limit)?).await
    else {
        return Err("the result was sent".into());
    };
    assert!(text.starts_with("the result cannot be sent"), "{text}");
    assert_eq!(run(&pool, "double", 4).await, Ok(8.into()));
    end(pool).await
}

/// With a full queue, `try_run` returns the task, and `run` waits.
async fn back_pressure() -> TestResult {
    let (pool, holding) = (Pool::new(blocking(1).queue(1))?, HoldingTasks::new().await?);
    let (first, running) = holding.start(&pool).await?;
    let second = pool.try_run::<_, String>(("hold", holding.port))?;
    let full = pool.try_run::<_, Value>(("double", 1)).err().ok_or("there was room")?;
    assert_eq!(full, TryRunError::Full(("double", 1)));
    let third = tokio::spawn({
        let pool = pool.clone();
        async move { run(&pool, "double", 3).await }
    });
    running.end("first").await?;
    assert_eq!(timeout(TIMEOUT, first).await??, "first");
    holding.started().await?.end("second").await?;
    assert_eq!(timeout(TIMEOUT, second).await??, "second");
    assert_eq!(third.await?, Ok(6.into()));
    end(pool).await
}

/// The tasks have more bytes than a channel accepts, and a result has more bytes than a socket holds.
async fn large_tasks() -> TestResult {
    let spawn = SpawnOptions::new().args([SUPERVISED, "serve blocking tasks"]);
    let mut primary = Settings { spawn, ..Settings::default() };
    primary.limits.unsent_bytes = 100_000;
    let settings =
        PoolSettings::new(1).tasks_per_worker(8).map_supervisor(|settings| settings.primary(primary));
    let pool = Pool::new(settings)?;
    let padded = |n: u64| pool.try_run::<_, Value>(("double", n, " ".repeat(300_000)));
    let tasks: Vec<_> = (0..8).map(padded).collect::<Result<_, _>>()?;
    for task in tasks {
        let error = timeout(TIMEOUT, task).await?.err().ok_or("three values are no task")?;
        assert!(matches!(error, PoolError::Task(TaskError::Failed(_))), "{error}");
    }
    let length = run(&pool, "fill", 1_000_000).await?.as_str().map(str::len);
    assert_eq!(length, Some(1_000_000));
    end(pool).await
}

/// The old worker completes the task, and the new worker receives the next task.
async fn reload() -> TestResult {
    let (pool, holding) = (Pool::new(blocking(1))?, HoldingTasks::new().await?);
    let (first, running) = holding.start(&pool).await?;
    let next = pool.try_run::<_, String>(("hold", holding.port))?;
    let supervisor = pool.supervisor().clone();
    let reload = tokio::spawn(async move { supervisor.reload().await });
    let other = holding.started().await?;
    assert_ne!(other.process, running.process);
    running.end("old").await?;
    assert_eq!(timeout(TIMEOUT, first).await??, "old");
    timeout(TIMEOUT, reload).await???;
    other.end("new").await?;
    assert_eq!(timeout(TIMEOUT, next).await??, "new");
    end(pool).await
}

async fn drained() -> TestResult {
    let (pool, holding) = (Pool::new(blocking(1))?, HoldingTasks::new().await?);
    let (first, running) = holding.start(&pool).await?;
    let second = pool.try_run::<_, u64>(("double", 2))?;
    let closing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.shutdown(ClosePolicy::Drain).await }
    });
    while !matches!(pool.try_run::<_, u64>(("double", 1)), Err(TryRunError::Closed(_))) {
        tokio::task::yield_now().await;
    }
    running.end("first").await?;
    assert_eq!(timeout(TIMEOUT, first).await??, "first");
    assert_eq!(timeout(TIMEOUT, second).await??, 4);
    timeout(TIMEOUT, closing).await??;
    assert_eq!(run(&pool, "double", 1).await, Err(PoolError::Task(TaskError::Closed)));
    end(pool).await
}

async fn failed() -> TestResult {
    let (pool, holding) = (Pool::new(blocking(1))?, HoldingTasks::new().await?);
    let (first, running) = holding.start(&pool).await?;
    let second = pool.try_run::<_, u64>(("double", 2))?;
    let closing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.shutdown(ClosePolicy::Fail).await }
    });
    assert_eq!(timeout(TIMEOUT, second).await?, Err(PoolError::Task(TaskError::Closed)));
    running.end("first").await?;
    assert_eq!(timeout(TIMEOUT, first).await??, "first");
    Ok(timeout(TIMEOUT, closing).await??)
}

/// The workers of a dropped pool exit.
async fn dropped() -> TestResult {
    let (pool, holding) = (Pool::new(blocking(1))?, HoldingTasks::new().await?);
    let (task, running) = holding.start(&pool).await?;
    let supervisor = pool.supervisor().clone();
    drop((pool, task));
    running.end("ignored").await?;
    // The last command is rejected when the supervisor has ended.
    while timeout(TIMEOUT, supervisor.status()).await?.is_ok() {}
    Ok(())
}

/// Every slot is suspended: a task fails instead of waiting.
async fn without_workers() -> TestResult {
    let settings =
        settings(1, "exit").map_supervisor(|settings| settings.intensity(1, Duration::from_mins(1)));
    let pool = Pool::new(settings)?;
    assert_eq!(run(&pool, "double", 1).await, Err(PoolError::Task(TaskError::NoWorkers)));
    end(pool).await
}

async fn node(serialization: Serialization) -> TestResult {
    assert!(include_str!("../../../docs/tasks.md").contains(NODE_WORKER), "docs/tasks.md has another text");
    let path = script(NODE_WORKER)?;
    let path: &Path = &path;
    let spawn = SpawnOptions::new().exec("node").args([path]).serialization(serialization);
    let primary = Settings { spawn, ..Settings::default() };
    let settings = PoolSettings::new(2)
        .delivery(Delivery::AtLeastOnce { attempts: 2 })
        .map_supervisor(|settings| settings.primary(primary));
    let pool = Pool::new(settings)?;
    let task = |n: u64| pool.try_run::<_, u64>(serde_json::json!({ "double": n }));
    let tasks: Vec<_> = (0..20).map(task).collect::<Result<_, _>>()?;
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(timeout(TIMEOUT, task).await??, 2 * n);
    }
    let failed = timeout(TIMEOUT, pool.run::<_, Value>("no number")).await?;
    let expected = TaskError::Failed("Error: a task is { double: number }".to_owned());
    assert_eq!(failed, Err(PoolError::Task(expected)));
    timeout(TIMEOUT, pool.supervisor().reload()).await??;
    assert_eq!(timeout(TIMEOUT, task(4)?).await??, 8);
    end(pool).await
}
