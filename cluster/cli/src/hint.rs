//! A hint in the log when a worker is late: the condition for readiness, and how the program fulfils the
//! condition.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cluster::{Event, SupervisorEvent, WorkerId};
use tokio::task::AbortHandle;
use tracing::warn;

use crate::options::Options;
use crate::processes::{self, OwnListener};
use crate::units::Time;

/// The time from the start of a worker to the hint; or half of `ready-timeout`, if shorter.
const LATE: Duration = Duration::from_secs(5);

/// The workers that are not ready yet, each with the task that logs the hint.
#[derive(Debug)]
pub(crate) struct Hints {
    condition: Condition,
    delay: Duration,
    tasks: Mutex<BTreeMap<WorkerId, AbortHandle>>,
}

/// The condition for readiness, according to the settings.
#[derive(Debug, Clone)]
struct Condition {
    ready: Option<String>,
    has_sockets: bool,
    is_node: bool,
}

impl Hints {
    pub(crate) fn of(options: &Options, is_node: bool) -> Hints {
        let condition =
            Condition { ready: options.ready.clone(), has_sockets: options.has_sockets(), is_node };
        let limit = options.ready_timeout.map(|Time(limit)| limit / 2);
        let delay = limit.map_or(LATE, |limit| limit.min(LATE));
        Hints { condition, delay, tasks: Mutex::default() }
    }

    /// Starts the task of a new worker, and ends the task of a ready or exited worker.
    pub(crate) fn observe(&self, event: &SupervisorEvent) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            SupervisorEvent::Primary(Event::Fork { worker }) => {
                let task = tokio::spawn(warn_late(*worker, self.condition.clone(), self.delay));
                tasks.insert(*worker, task.abort_handle());
            }
            SupervisorEvent::SlotReady { worker, .. }
            | SupervisorEvent::Primary(Event::Exit { worker, .. })
            | SupervisorEvent::StartFailed { worker: Some(worker), .. } => {
                if let Some(task) = tasks.remove(worker) {
                    task.abort();
                }
            }
            _ => {}
        }
    }
}

async fn warn_late(worker: WorkerId, condition: Condition, delay: Duration) {
    tokio::time::sleep(delay).await;
    let listener = tokio::task::spawn_blocking(move || processes::own_listener(worker)).await;
    let means = condition.means(listener.ok().flatten().as_ref());
    let missing = condition.missing();
    warn!("worker {worker} is not ready after {}: {missing}; {means}", humantime::format_duration(delay));
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

    fn means(&self, listener: Option<&OwnListener>) -> String {
        let Some(OwnListener { pid, command, address }) = listener else {
            return self.means_without_port().into();
        };
        let found = format!("process {pid} (`{command}`) listens on {address} itself");
        if self.has_sockets {
            format!(
                "{found}: the program has to take the inherited socket (`LISTEN_FDS`, or `{{fd}}` in an argument)"
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

    fn means_without_port(&self) -> &'static str {
        match self.ready.as_deref() {
            None | Some("listening") if !self.has_sockets && self.is_node => {
                "a program without a port is ready with `--ready online`"
            }
            None | Some("listening") if !self.has_sockets => {
                "a program in another language needs `--listen ADDR`, or without a port `--ready started`"
            }
            _ => "the program prints its errors above; `--ready-timeout` is the limit",
        }
    }
}
