//! A hint in the log when a worker is late: the condition for readiness, and how the program fulfils the
//! condition.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cluster::{Event, SupervisorEvent, SupervisorHandle, SupervisorSettings, WorkerId};
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::feed::Feed;
use crate::options::Options;
use crate::processes::{self, OwnListener};
use crate::subject::Subject;
use crate::units::Time;

/// The time from the start of a worker to the hint; or half of `ready-timeout`, if shorter.
pub(crate) const LATE: Duration = Duration::from_secs(5);

/// The name of the record of a hint.
pub(crate) const NOT_READY: &str = "not-ready";

/// The time between two measurements of a busy worker.
const LOOKS: Duration = Duration::from_millis(500);

/// A worker counts as waiting if it uses at most this processor time between two measurements.
const WAITING: Duration = Duration::from_millis(20);

/// The workers that are not ready yet, each with the task that logs the hint.
#[derive(Debug)]
pub(crate) struct Hints {
    condition: Condition,
    /// Half of `ready-timeout`: the latest time for the hint.
    latest: Duration,
    supervisor: SupervisorHandle,
    feed: Feed,
    tasks: Mutex<BTreeMap<WorkerId, AbortHandle>>,
}

/// The name of the record about a shutdown that waits.
const SHUTDOWN_WAITS: &str = "shutdown-waits";

/// The condition for readiness, according to the settings.
#[derive(Debug, Clone)]
struct Condition {
    ready: Option<String>,
    has_sockets: bool,
    is_node: bool,
    is_foreign: bool,
    /// The addresses of the sockets of the service manager.
    activated: Vec<SocketAddr>,
}

impl Hints {
    pub(crate) fn of(
        options: &Options,
        subject: &Subject,
        supervisor: SupervisorHandle,
        feed: Feed,
    ) -> Hints {
        let condition = Condition {
            ready: options.ready.clone(),
            has_sockets: options.has_sockets(),
            is_node: subject.is_node,
            is_foreign: subject.stop_signal.is_some(),
            activated: subject.activated.clone(),
        };
        let default = || SupervisorSettings::new(1).ready_timeout;
        let latest = options.ready_timeout.map_or_else(default, |Time(limit)| limit) / 2;
        Hints { condition, latest, supervisor, feed, tasks: Mutex::default() }
    }

    /// Starts the task of a new worker, and ends the task of a ready or exited worker. `slot_of`: the slot of
    /// a new worker.
    pub(crate) fn observe(&self, event: &SupervisorEvent, slot_of: impl FnOnce(WorkerId) -> u32) {
        if let SupervisorEvent::ShutdownStarted = event {
            tokio::spawn(report_wait(self.supervisor.clone(), self.feed.clone()));
        }
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if let SupervisorEvent::Primary(Event::Fork { worker }) = event {
            let (worker, slot, feed) = (*worker, slot_of(*worker), self.feed.clone());
            let hint = describe_late(worker, self.condition.clone(), self.latest, self.supervisor.clone());
            let report = async move {
                let text = hint.await;
                warn!("{text}");
                feed.publish_of_worker(NOT_READY, slot, worker, text);
            };
            tasks.insert(worker, tokio::spawn(report).abort_handle());
        } else if let SupervisorEvent::SlotReady { worker, .. }
        | SupervisorEvent::Primary(Event::Exit { worker, .. })
        | SupervisorEvent::StartFailed { worker: Some(worker), .. } = event
            && let Some(task) = tasks.remove(worker)
        {
            task.abort();
        }
    }
}

/// Reports the workers that a long shutdown waits for. The task ends with the process.
async fn report_wait(supervisor: SupervisorHandle, feed: Feed) {
    sleep(LATE).await;
    let slots = supervisor.status().await.unwrap_or_default();
    let workers: Vec<String> = slots
        .iter()
        .filter_map(|slot| Some(format!("worker {} (process {})", slot.worker?, slot.pid?)))
        .collect();
    if workers.is_empty() {
        return;
    }
    let text = format!(
        "the shutdown waits for {}: for open requests or connections until `--shutdown`; another SIGTERM or ctrl-c sends SIGTERM to the workers",
        workers.join(", ")
    );
    info!("{text}");
    feed.publish_text(SHUTDOWN_WAITS, text);
}

/// The hint, as soon as the worker is late.
async fn describe_late(
    worker: WorkerId,
    condition: Condition,
    latest: Duration,
    supervisor: SupervisorHandle,
) -> String {
    let start = Instant::now();
    sleep(LATE.min(latest)).await;
    let is_foreign = condition.is_foreign;
    let work = || spawn_blocking(move || processes::work(worker, is_foreign));
    let mut before = work().await.ok().flatten();
    // A worker that starts slowly, as on a busy machine, needs no hint.
    while start.elapsed() + LOOKS < latest {
        sleep(LOOKS).await;
        let now = work().await.ok().flatten();
        let (Some(earlier), Some(later)) = (before, now) else { break };
        if !later.is_runnable && later.time.saturating_sub(earlier.time) <= WAITING {
            break;
        }
        before = now;
    }
    let listener = spawn_blocking(move || processes::own_listener(worker)).await;
    let refused = supervisor.failed_bind().await.ok().flatten();
    let cause = condition.cause(listener.ok().flatten().as_ref(), refused.as_deref());
    let late = humantime::format_duration(Duration::from_secs(start.elapsed().as_secs()));
    format!("worker {worker} is not ready after {late}: {cause}")
}

impl Condition {
    fn missing(&self) -> String {
        match self.ready.as_deref() {
            Some("notify") => "the program has not sent READY=1 to the socket NOTIFY_SOCKET".into(),
            Some("online") => "the process has sent no message to the service".into(),
            Some("started") => "the program has not started".into(),
            Some(ready) if ready.starts_with("message:") => {
                format!("the program has not sent the message {}", &ready["message:".len()..])
            }
            Some(ready) if ready.starts_with("http:") => {
                format!("no request of {} was answered with 200 to 399", &ready["http:".len()..])
            }
            _ if self.has_sockets => "the program has accepted no connection from descriptor 3".into(),
            _ => "the program listens on no port of the service".into(),
        }
    }

    /// The cause and the remedy. A failed bind is the cause of the missing condition, and stands first.
    fn cause(&self, listener: Option<&OwnListener>, refused: Option<&str>) -> String {
        let missing = self.missing();
        match (listener, refused) {
            (Some(listener), _) => format!("{missing}; {}", self.means(listener)),
            (None, Some(refused)) => format!("{refused}; {missing}"),
            (None, None) => format!("{missing}; {}", self.means_without_port()),
        }
    }

    fn means(&self, OwnListener { pid, is_worker, command, address }: &OwnListener) -> String {
        let found = format!("process {pid} (`{}`) listens on {address} itself", shortened(command));
        if self.has_sockets {
            format!(
                "{found}: the program has to take the inherited socket (`LISTEN_FDS`, or `{{fd}}` in an argument)"
            )
        } else if self.is_node && *is_worker {
            format!(
                "{found}, perhaps in a thread (`worker_threads`) or with `exclusive` or `reusePort`: listen in the main thread and without these options, because otherwise the port is not the service's"
            )
        } else if self.is_node {
            format!(
                "{found}, without the channel of the worker: run this command without the process around it"
            )
        } else {
            format!(
                "{found}: write `--listen {address}`, and let the program take the socket (`LISTEN_FDS`, or `{{fd}}` in an argument)"
            )
        }
    }

    fn means_without_port(&self) -> String {
        let is_default = matches!(self.ready.as_deref(), None | Some("listening")) && !self.has_sockets;
        if !is_default {
            return "the program prints its errors above; `--ready-timeout` is the limit".to_owned();
        }
        if self.is_node {
            return "a program without a port is ready with `--ready online`".to_owned();
        }
        if let Some(address) = self.activated.first() {
            return format!(
                "write `--listen {address}`, and the program inherits the socket of the service manager (`LISTEN_FDS`)"
            );
        }
        "a program in another language needs `--listen ADDR`, or without a port `--ready started`".to_owned()
    }
}

/// The begin of a long command: the test runner of Node.js starts programs with 1,500 bytes of options.
fn shortened(command: &str) -> String {
    /// The longest command in a hint, in characters.
    const LONGEST: usize = 200;
    match command.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} ...", &command[..end]),
        None => command.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_command_is_shortened() {
        assert_eq!(shortened("node app.js"), "node app.js");
        assert_eq!(shortened(&"ä".repeat(201)), format!("{} ...", "ä".repeat(200)));
        assert_eq!(shortened(&"ä".repeat(200)), "ä".repeat(200));
    }

    /// The missing condition is the effect of the failed bind, and would mislead as the first half.
    #[test]
    fn failed_bind_stands_first() {
        let condition = Condition {
            ready: None,
            has_sockets: false,
            is_node: true,
            is_foreign: false,
            activated: Vec::new(),
        };
        let cause = condition.cause(None, Some("cannot bind 127.0.0.1:80: EADDRINUSE"));
        assert!(cause.starts_with("cannot bind 127.0.0.1:80"), "{cause}");
    }
}
