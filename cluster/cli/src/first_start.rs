//! The end of a first start after a failed bind. Some programs ignore the error, for example an application
//! of express 5, and would wait until `ready-timeout` for each start.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cluster::SupervisorHandle;
use tokio::time::sleep;

use crate::feed::{Feed, SLOT_READY};
use crate::hint::LATE;
use crate::options::Options;

/// The time between two checks for a failed bind.
const LOOKS: Duration = Duration::from_millis(200);

/// The failed bind because of which a start has ended.
pub(crate) type Refused = Arc<OnceLock<String>>;

/// Shuts down if no worker is ready some time after a failed bind. The time is needed because some programs
/// try another address; other programs do nothing further.
pub(crate) async fn stop_after_failed_bind(supervisor: SupervisorHandle, refused: Refused) {
    while let Ok(failed) = supervisor.failed_bind().await {
        sleep(LOOKS).await;
        let Some(failed) = failed else { continue };
        sleep(LATE).await;
        let _ = refused.set(failed);
        // Fails if the supervisor has ended.
        let _ = supervisor.shutdown().await;
        return;
    }
}

/// Calls [`stop_after_failed_bind`] until the first worker is ready. Applies only to the default condition
/// for readiness, `listening`: under another condition, a program may have other work after a failed bind.
pub(crate) fn watch(options: &Options, feed: &Feed, supervisor: SupervisorHandle) -> Refused {
    let refused = Refused::default();
    if matches!(options.ready.as_deref(), None | Some("listening")) && !options.has_sockets() {
        let mut events = feed.later_events();
        let stop = stop_after_failed_bind(supervisor, refused.clone());
        tokio::spawn(async move {
            let ready = async { while events.next().await.event != SLOT_READY {} };
            tokio::select! {
                () = ready => {}
                () = stop => {}
            }
        });
    }
    refused
}
