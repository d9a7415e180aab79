//! A worker that runs the tasks of a pool.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;

use cluster_core::{Message, SendError, TaskId, TaskReply, TaskRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::{AbortHandle, JoinError, JoinHandle};

use super::Worker;
use crate::event::WorkerEvent;

/// The result of a task as a message, or the error as a text.
type Ended = Result<Message, String>;

impl Worker {
    /// Serves the tasks of a [`Pool`](crate::Pool) until this worker is disconnected and the last reply is
    /// sent; then `main` should return. Each task runs as a task of the runtime. If the pool cancels the
    /// task, the task is aborted. The caller of [`Pool::run`](crate::Pool::run) receives the text of an
    /// error; a panic counts as an error. For a typed error, the task returns `Ok` with a `Result` as the
    /// value.
    ///
    /// A task that computes for long without an `await` delays all others of its thread: use
    /// [`serve_blocking_tasks`](Worker::serve_blocking_tasks) for such tasks. The call takes the events of
    /// the worker, and drops every message that does not belong to a pool.
    ///
    /// ```no_run
    /// # async fn program() -> Result<(), Box<dyn std::error::Error>> {
    /// let worker = cluster::Worker::join()?;
    /// worker.serve_tasks(async |number: String| number.parse::<u64>().map(|number| number + 1)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The channel is closed.
    pub async fn serve_tasks<T, R, E, F>(
        &self,
        run: impl Fn(T) -> F + Send + Sync + 'static,
    ) -> Result<(), SendError>
    where
        T: DeserializeOwned + Send,
        R: Serialize,
        E: Display,
        F: Future<Output = Result<R, E>> + Send + 'static,
    {
        let run = Arc::new(run);
        self.serve(|payload| {
            let run = run.clone();
            tokio::spawn(async move {
                let result = run(decode(&payload)?).await;
                encode(result)
            })
        })
        .await
    }

    /// As [`serve_tasks`](Worker::serve_tasks), for tasks that keep a core busy. Each task runs on a thread
    /// outside the runtime, so the worker can answer the supervisor meanwhile. If a task is cancelled, the
    /// reply is ignored, but the computation continues, unless the setting is
    /// [`CancelRunning::Kill`](crate::CancelRunning::Kill).
    ///
    /// ```no_run
    /// # use std::convert::Infallible;
    /// # async fn program() -> Result<(), Box<dyn std::error::Error>> {
    /// let worker = cluster::Worker::join()?;
    /// worker.serve_blocking_tasks(|n: u64| Ok::<u64, Infallible>((1..=n).sum())).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`serve_tasks`](Worker::serve_tasks).
    pub async fn serve_blocking_tasks<T, R, E>(
        &self,
        run: impl Fn(T) -> Result<R, E> + Send + Sync + 'static,
    ) -> Result<(), SendError>
    where
        T: DeserializeOwned,
        R: Serialize,
        E: Display,
    {
        let run = Arc::new(run);
        self.serve(|payload| {
            let run = run.clone();
            tokio::task::spawn_blocking(move || encode(run(decode(&payload)?)))
        })
        .await
    }

    async fn serve(&self, start: impl Fn(Message) -> JoinHandle<Ended>) -> Result<(), SendError> {
        self.send(message(&TaskReply::Ready))?;
        let mut running: BTreeMap<TaskId, AbortHandle> = BTreeMap::new();
        while let Some(event) = self.next().await {
            let WorkerEvent::Message { message, .. } = event else { continue };
            match TaskRequest::from_message(&message) {
                Some(TaskRequest::Run { task, payload }) => {
                    let work = start(payload);
                    running.retain(|_, work| !work.is_finished());
                    running.insert(task, work.abort_handle());
                    tokio::spawn(reply(self.clone(), task, work));
                }
                Some(TaskRequest::Cancel { task }) => {
                    if let Some(work) = running.get(&task) {
                        work.abort();
                    }
                }
                None => {}
            }
        }
        Ok(())
    }
}

/// Sends the outcome of a task, and holds the channel open until then.
async fn reply(worker: Worker, task: TaskId, work: JoinHandle<Ended>) {
    let _hold = worker.hold();
    let ended = work.await.unwrap_or_else(|error| Err(failure(error)));
    let reply = match ended {
        Ok(result) => TaskReply::Done { task, result },
        Err(error) => TaskReply::Failed { task, error },
    };
    let sent = worker.send_when_room(message(&reply)).await;
    if let Err(error @ SendError::TooLong { .. }) = sent {
        let error = format!("the result cannot be sent: {error}");
        // On a closed channel the reply is lost.
        let _ = worker.send_when_room(message(&TaskReply::Failed { task, error })).await;
    }
}

fn message(reply: &TaskReply) -> Message {
    reply.to_message().expect("a reply of JSON values")
}

fn decode<T: DeserializeOwned>(payload: &Message) -> Result<T, String> {
    payload.to().map_err(|error| format!("the worker cannot read the task: {error}"))
}

fn encode<R: Serialize, E: Display>(result: Result<R, E>) -> Ended {
    let result = result.map_err(|error| error.to_string())?;
    Message::new(&result).map_err(|error| format!("the result cannot be sent as JSON: {error}"))
}

fn failure(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => format!("the task panicked: {}", panic_text(&*panic)),
        Err(_) => "the task was cancelled".to_owned(),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}
