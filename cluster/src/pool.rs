//! A task pool from the program's side: the handle of the pool, and the future result of a task. A task of
//! the runtime drives the pool, in `pool/pool_driver.rs`. The machine decides.

use std::fmt;
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use cluster_core::{ClosePolicy, Message, PoolSettings, TaskError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot};

use crate::supervisor::{Supervisor, SupervisorHandle};

mod pool_driver;
mod pool_error;

use pool_driver::{PoolCommand, PoolDriver, Submission, Ticket};
pub use pool_error::{PoolError, PoolStartError, TryRunError};

/// Worker processes that run tasks, for work that keeps a core busy or may crash. Clones are cheap and denote
/// the same pool.
///
/// ```no_run
/// # async fn program() -> Result<(), Box<dyn std::error::Error>> {
/// use cluster::{ClosePolicy, Pool, PoolSettings};
///
/// let pool = Pool::new(PoolSettings::new(cluster::cores()))?;
/// let length: usize = pool.run("a task is any value of serde").await?;
/// pool.shutdown(ClosePolicy::Drain).await;
/// # Ok(()) }
/// ```
///
/// The workers run this program, unless the settings of the supervisor name another, and call
/// [`Worker::serve_tasks`](crate::Worker::serve_tasks) or
/// [`Worker::serve_blocking_tasks`](crate::Worker::serve_blocking_tasks). A Node.js worker can serve tasks as
/// well: see `docs/tasks.md` in the repository.
///
/// A [`Supervisor`](crate::Supervisor) replaces workers that exit. [`Delivery`](cluster_core::Delivery) is
/// the setting for the task of such a worker: the task fails or runs again. A reload, for instance, asks a
/// worker to exit: the worker receives no further task, and is disconnected after the last reply. The pool
/// handles no signals.
///
/// A task of the runtime drives the pool until [`shutdown`](Pool::shutdown). The pool also shuts down when
/// the last clone and the last [`PendingTask`] are dropped, as long as the runtime exists.
#[derive(Clone)]
pub struct Pool {
    commands: mpsc::UnboundedSender<PoolCommand>,
    /// A permit for each task without a worker yet.
    room: Arc<Semaphore>,
    last_ticket: Arc<AtomicU64>,
    supervisor: SupervisorHandle,
}

impl Pool {
    /// Starts a pool and its workers.
    ///
    /// # Errors
    /// The settings contradict each other, or [`Supervisor::new`](crate::Supervisor::new) fails.
    pub fn new(settings: PoolSettings) -> Result<Self, PoolStartError> {
        let machine = cluster_core::Pool::new(&settings).map_err(PoolStartError::Settings)?;
        let room = Arc::new(Semaphore::new(settings.queue.min(Semaphore::MAX_PERMITS)));
        let mut supervisor =
            Supervisor::new(settings.into_supervisor()).map_err(PoolStartError::Supervisor)?;
        supervisor.reap_as_init();
        let (commands, receiver) = mpsc::unbounded_channel();
        let pool = Pool {
            commands,
            room: room.clone(),
            last_ticket: Arc::default(),
            supervisor: supervisor.handle(),
        };
        tokio::spawn(PoolDriver::new(machine, supervisor, receiver, room).run());
        Ok(pool)
    }

    /// Runs a task on a worker, and returns the result. While [`PoolSettings::queue`] tasks wait for a
    /// worker, the call waits for room; callers are served in the order of their calls. Dropping the future
    /// cancels the task.
    ///
    /// # Errors
    /// [`PoolError`]: the task has failed, its worker has exited, the pool was shut down, or the task or the
    /// result does not fit its type.
    pub async fn run<T, R>(&self, task: &T) -> Result<R, PoolError>
    where
        T: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let payload = Message::new(task).map_err(PoolError::Encode)?;
        let permit = self.room.clone().acquire_owned().await;
        let permit = permit.map_err(|_| PoolError::Task(TaskError::Closed))?;
        self.submit(payload, permit).await
    }

    /// As [`run`](Pool::run), but never waits for room. The task starts whether or not the returned future is
    /// polled.
    ///
    /// # Errors
    /// [`TryRunError`] returns the task: there is no room, the pool was shut down, or the task has no JSON
    /// form.
    pub fn try_run<T, R>(&self, task: T) -> Result<PendingTask<R>, TryRunError<T>>
    where
        T: Serialize,
        R: DeserializeOwned,
    {
        let payload = match Message::new(&task) {
            Ok(payload) => payload,
            Err(error) => return Err(TryRunError::Encode(task, error)),
        };
        match self.room.clone().try_acquire_owned() {
            Ok(permit) => Ok(self.submit(payload, permit)),
            Err(TryAcquireError::NoPermits) => Err(TryRunError::Full(task)),
            Err(TryAcquireError::Closed) => Err(TryRunError::Closed(task)),
        }
    }

    fn submit<R>(&self, payload: Message, permit: OwnedSemaphorePermit) -> PendingTask<R> {
        let ticket = Ticket(self.last_ticket.fetch_add(1, Ordering::Relaxed));
        let (reply, outcome) = oneshot::channel();
        // If the queue is closed, the reply is dropped, and the caller observes the drop.
        let _ = self.commands.send(PoolCommand::Run(Submission { ticket, payload, permit, reply }));
        PendingTask { ticket, outcome, commands: self.commands.clone(), is_over: false, result: PhantomData }
    }

    /// Shuts down, and completes when every worker has exited. With [`ClosePolicy::Drain`] the queued tasks
    /// run first; with [`ClosePolicy::Fail`] the queued tasks end with [`TaskError::Closed`]. Running tasks
    /// complete in both cases: with `Fail` within the
    /// [time of a shutdown](crate::SupervisorSettings::shutdown), with `Drain` without a bound, until a later
    /// call with `Fail`. Dropping the future does not revoke the shutdown.
    pub async fn shutdown(&self, policy: ClosePolicy) {
        self.room.close();
        let (reply, ended) = oneshot::channel();
        if self.commands.send(PoolCommand::Shutdown { policy, reply }).is_ok() {
            // On an error the pool has ended, too.
            let _ = ended.await;
        }
    }

    /// A remote control of the supervisor, to reload or to scale the workers. The
    /// [`shutdown`](SupervisorHandle::shutdown) of the supervisor fails the queued tasks.
    pub fn supervisor(&self) -> &SupervisorHandle {
        &self.supervisor
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("room", &self.room.available_permits()).finish_non_exhaustive()
    }
}

/// The future result of an accepted task. Dropping the future cancels the task.
#[must_use = "dropping the future cancels the task"]
pub struct PendingTask<R> {
    ticket: Ticket,
    outcome: oneshot::Receiver<Result<Message, TaskError>>,
    commands: mpsc::UnboundedSender<PoolCommand>,
    is_over: bool,
    result: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> Future for PendingTask<R> {
    type Output = Result<R, PoolError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(pin!(&mut self.outcome).poll(cx));
        self.is_over = true;
        Poll::Ready(match outcome {
            Ok(Ok(result)) => result.to().map_err(PoolError::Decode),
            Ok(Err(error)) => Err(PoolError::Task(error)),
            // The driver has ended, with the pool or with the runtime.
            Err(_) => Err(PoolError::Task(TaskError::Closed)),
        })
    }
}

impl<R> Drop for PendingTask<R> {
    fn drop(&mut self) {
        if !self.is_over {
            let _ = self.commands.send(PoolCommand::Cancel(self.ticket));
        }
    }
}

impl<R> fmt::Debug for PendingTask<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingTask").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}
