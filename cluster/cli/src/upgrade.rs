//! `cluster upgrade`: a running service continues with the present file of the command, in the same process.
//! The old program tries the new program, and hands the service over. The new program takes the service over,
//! and answers `cluster upgrade`.

use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Kept, SupervisorHandle, UpgradeError};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::feed::FeedMemory;
use crate::options::Options;
use crate::output::{OutputRemote, OutputState};
use crate::protocol::Reply;
use crate::resources::{Resources, ResourcesState};
use crate::service::{Service, ServiceMemory};
use crate::subject::Subject;
use crate::systemd::{Notifier, Reported};

/// The version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Everything of a service for the next program, except the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ServiceState {
    pub(crate) version: String,
    pub(crate) options: Options,
    pub(crate) subject: Subject,
    pub(crate) control: (RawFd, PathBuf),
    pub(crate) metrics: Option<RawFd>,
    pub(crate) resources: ResourcesState,
    pub(crate) service: ServiceMemory,
    pub(crate) feed: FeedMemory,
    pub(crate) output: OutputState,
    pub(crate) reported: Reported,
    /// The connection to `cluster upgrade`.
    pub(crate) client: RawFd,
}

/// The hand-overs of a service.
#[derive(Debug)]
pub(crate) struct Upgrades {
    supervisor: SupervisorHandle,
    handed: Arc<Handed>,
    /// Locked while an upgrade runs.
    running: Mutex<()>,
}

/// The parts of the service for a hand-over.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) options: Options,
    pub(crate) subject: Subject,
    /// Copies of the control socket, and of the socket of the metrics.
    pub(crate) control: (OwnedFd, PathBuf),
    pub(crate) metrics: Option<OwnedFd>,
    pub(crate) resources: Resources,
    pub(crate) service: Arc<Service>,
    pub(crate) output: OutputRemote,
    pub(crate) notifier: Notifier,
}

impl Handed {
    /// Serializes the state, for a trial or for the hand-over. For the hand-over, the output stops.
    fn keep(&self, client: &OwnedFd, kept: &mut Kept) {
        if !kept.is_trial() && self.service.is_at_work() {
            kept.postpone();
            return;
        }
        let output = if kept.is_trial() { self.output.state(kept) } else { self.output.stop(kept) };
        let (control, path) = &self.control;
        let state = ServiceState {
            version: VERSION.to_owned(),
            options: self.options.clone(),
            subject: self.subject.clone(),
            control: (kept.descriptor(control), path.clone()),
            metrics: self.metrics.as_ref().map(|socket| kept.descriptor(socket)),
            resources: self.resources.state(kept),
            service: self.service.memory(),
            feed: self.service.feed.memory(),
            output,
            reported: self.notifier.reported(),
            client: kept.descriptor(client),
        };
        kept.state(&state);
    }
}

impl Upgrades {
    pub(crate) fn new(supervisor: SupervisorHandle, handed: Handed) -> Self {
        Upgrades { supervisor, handed: Arc::new(handed), running: Mutex::default() }
    }

    /// Carries out an upgrade for a client. Returns only after a failure: after a success, the new program
    /// answers.
    pub(crate) async fn carry_out(&self, timeout: Duration, client: OwnedFd) -> Reply {
        let Ok(_running) = self.running.try_lock() else {
            return Reply::Failed { error: "an upgrade already runs; wait for its end".to_owned() };
        };
        let error = self.upgrade(timeout, client).await;
        self.handed.output.resume();
        let continues = !matches!(error, UpgradeError::ShuttingDown);
        let failed = if continues {
            "the upgrade has failed, and the service continues"
        } else {
            "the upgrade has failed"
        };
        self.handed.service.feed.publish_text("upgrade-failed", format!("{failed}: {error}"));
        tracing::warn!(%error, "{failed}");
        let end =
            if continues { format!("; the service continues with version {VERSION}") } else { String::new() };
        Reply::Failed { error: format!("{error}{end}") }
    }

    async fn upgrade(&self, timeout: Duration, client: OwnedFd) -> UpgradeError {
        let handed = self.handed.clone();
        let keep = move |kept: &mut Kept| handed.keep(&client, kept);
        let upgrade = match self.supervisor.prepare_upgrade(timeout, keep).await {
            Ok(upgrade) => upgrade,
            Err(error) => return error,
        };
        let text =
            format!("the new program, version {}, has passed the trial; handing over", upgrade.version());
        self.handed.service.feed.publish_text("upgrade-tried", text);
        // Lets the task of the connection send the text before the hand-over.
        tokio::task::yield_now().await;
        upgrade.execute().await
    }
}
