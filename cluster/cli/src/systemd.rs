//! The service manager: readiness, reloads, the watchdog and inherited sockets, by the protocols of systemd.
//! Without the variables of systemd, the module does nothing.

use std::env;
use std::net::SocketAddr;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context;
use cluster::{ReloadScope, SlotState, Supervisor, SupervisorEvent, SupervisorHandle};
use nix::sys::socket::{SockaddrStorage, getsockname};
use sd_notify::NotifyState;
use serde::{Deserialize, Serialize};
use tracing::warn;

/// The largest number of notifications in the queue for a slow service manager.
const QUEUE: usize = 64;

/// A listening socket, opened by the service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Activated {
    pub(crate) descriptor: u32,
    /// `None`: the socket is a Unix socket.
    pub(crate) address: Option<SocketAddr>,
}

/// The sockets passed on by systemd. Sets close-on-exec on each, so no worker inherits a socket by accident.
///
/// # Errors
/// The variables are invalid, or a descriptor is not a socket.
pub(crate) fn activated() -> anyhow::Result<Vec<Activated>> {
    let descriptors = sd_notify::listen_fds()
        .context("cannot read LISTEN_FDS; the variable has the number of sockets of the service manager")?;
    descriptors
        .map(|descriptor| {
            let name: SockaddrStorage = getsockname(descriptor)
                .with_context(|| format!("descriptor {descriptor} of LISTEN_FDS is no socket"))?;
            let v4 = name.as_sockaddr_in().map(|name| SocketAddr::from((name.ip(), name.port())));
            let v6 = name.as_sockaddr_in6().map(|name| SocketAddr::from((name.ip(), name.port())));
            Ok(Activated { descriptor: descriptor.cast_unsigned(), address: v4.or(v6) })
        })
        .collect()
}

/// Sends notifications to the service manager. A thread writes the notifications, because a service manager
/// with a full queue blocks the writer. `None`: there is no service manager.
#[derive(Debug, Clone)]
pub(crate) struct Notifications(Option<SyncSender<String>>);

impl Notifications {
    pub(crate) fn start() -> Self {
        if env::var_os("NOTIFY_SOCKET").is_none() {
            return Notifications(None);
        }
        let (sender, queue) = sync_channel::<String>(QUEUE);
        thread::spawn(move || {
            for text in queue {
                if let Err(error) = sd_notify::notify(&[NotifyState::Custom(&text)]) {
                    warn!(%error, "the service manager receives no notification");
                }
            }
        });
        Notifications(Some(sender))
    }

    /// Queues a notification. Drops the notification if the queue is full.
    fn send(&self, changes: &[NotifyState<'_>]) {
        if let (Some(sender), false) = (&self.0, changes.is_empty()) {
            let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
            let _ = sender.try_send(lines.join("\n"));
        }
    }

    /// Sends a sign of life to the watchdog as long as the supervisor answers, until the future is dropped.
    pub(crate) async fn watch(self, supervisor: SupervisorHandle) {
        let Some(limit) = sd_notify::watchdog_enabled() else { return };
        while supervisor.status().await.is_ok() {
            self.send(&[NotifyState::Watchdog]);
            // Half of the limit, as systemd recommends.
            tokio::time::sleep(limit / 2).await;
        }
    }
}

/// Reports the state of the service to the service manager.
#[derive(Debug, Clone)]
pub(crate) struct Notifier {
    notifications: Notifications,
    reported: Arc<Mutex<Reported>>,
}

/// The state in the last notification.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Reported {
    is_ready: bool,
    is_reloading: bool,
    status: String,
}

impl Notifier {
    /// Continues after the reports of the previous program. Sends the state again, because the last report
    /// may be lost.
    pub(crate) fn after(reported: Reported, notifications: Notifications) -> Self {
        let mut changes = Vec::new();
        if reported.is_ready && !reported.is_reloading {
            changes.extend([NotifyState::Ready, NotifyState::Status(&reported.status)]);
        }
        notifications.send(&changes);
        Notifier { notifications, reported: Arc::new(Mutex::new(reported)) }
    }

    pub(crate) fn reported(&self) -> Reported {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reports the changes by an event.
    pub(crate) fn observe(&self, supervisor: &Supervisor, event: &SupervisorEvent) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = supervisor.slots();
        let ready = slots.iter().filter(|slot| slot.state == SlotState::Ready).count();
        let mut changes = Vec::new();
        if let SupervisorEvent::SlotReady { .. } = event
            && !reported.is_ready
        {
            reported.is_ready = true;
            changes.push(NotifyState::Ready);
        } else if let SupervisorEvent::ReloadStarted { scope: ReloadScope::All, .. } = event {
            reported.is_reloading = true;
            changes.push(NotifyState::Reloading);
            changes.extend(NotifyState::monotonic_usec_now().ok());
        } else if let SupervisorEvent::ReloadFinished { scope: ReloadScope::All, .. }
        | SupervisorEvent::ReloadAbandoned { scope: ReloadScope::All, .. } = event
        {
            reported.is_reloading = false;
            changes.push(NotifyState::Ready);
        } else if let SupervisorEvent::ShutdownStarted = event {
            changes.push(NotifyState::Stopping);
        }
        let reload = if reported.is_reloading { ", reloading" } else { "" };
        let status = format!("{ready} of {} workers ready{reload}", slots.len());
        if status != reported.status {
            reported.status.clone_from(&status);
            changes.push(NotifyState::Status(&status));
        }
        self.notifications.send(&changes);
    }
}
