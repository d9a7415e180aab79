//! The time of a lame duck, for servers. The phases of a worker are the driver's.

use std::time::Duration;

use cluster_core::SupervisorSettings;
use tokio::time::sleep;

use crate::worker::Worker;

/// Waits until idle connections of a lame duck may be closed: until the supervisor disconnects the worker, and at least
/// [`LAME_DUCK`](SupervisorSettings::LAME_DUCK) after [`became_lame_duck`](Worker::became_lame_duck). At an earlier close a client
/// loses the request that it has just sent; HTTP/2 alone has a message, GOAWAY, that prevents this.
pub async fn lame_duck_ended(worker: &Worker) {
    worker.became_lame_duck().await;
    idle_time(worker, None).await;
}

/// Waits, from the beginning of the lame duck, until idle connections may be closed. A busy worker may read the
/// announcement and the request to disconnect together: clients still have the minimum time to reconnect.
pub(crate) async fn idle_time(worker: &Worker, time: Option<Duration>) {
    let least = sleep(time.unwrap_or(SupervisorSettings::LAME_DUCK));
    if time.is_none() && worker.inner.is_announced() {
        worker.disconnecting().await;
    }
    least.await;
}
