//! The time of a lame duck, for servers. The phases of a worker are in `driver`.

use std::time::Duration;

use cluster_core::SupervisorSettings;
use tokio::time::sleep;

use crate::worker::Worker;

/// Waits until a lame duck may close idle connections: until the supervisor has disconnected the worker, and
/// at least [`LAME_DUCK`](SupervisorSettings::LAME_DUCK) has passed since
/// [`became_lame_duck`](Worker::became_lame_duck). If a server closes an idle connection earlier, a client
/// may lose a request sent at the same moment. Only HTTP/2 has a message against the loss, GOAWAY.
pub async fn lame_duck_ended(worker: &Worker) {
    worker.became_lame_duck().await;
    idle_time(worker, None).await;
}

/// Waits until idle connections may be closed, beginning when the worker becomes a lame duck. Clients have
/// the minimum time to reconnect even if a busy worker reads the announcement and the request to disconnect
/// together.
pub(crate) async fn idle_time(worker: &Worker, time: Option<Duration>) {
    #[cfg(feature = "simulated")]
    let time = if crate::simulated::closes_idle_at_once() { Some(Duration::ZERO) } else { time };
    let least = sleep(time.unwrap_or(SupervisorSettings::LAME_DUCK));
    if time.is_none() && worker.inner.is_announced() {
        worker.disconnecting().await;
    }
    least.await;
}
