//! The service manager: readiness, reloads, the watchdog and inherited sockets, by the protocols of systemd.
//! Without the variables of systemd nothing happens.

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

/// Notifications kept for a slow service manager.
const QUEUE: usize = 64;

/// A listening socket, opened by the service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Activated {
    pub(crate) descriptor: u32,
    /// `None`: a Unix socket.
    pub(crate) address: Option<SocketAddr>,
}

/// The inherited sockets. No worker inherits a socket by accident: close-on-exec is set.
///
/// # Errors
/// The variables are invalid, or a descriptor is no socket.
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

/// The way to the service manager: a thread, because a service manager with a full queue blocks the writer.
/// `None`: there is no service manager.
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

    /// Queues a notification. A full queue loses the notification.
    fn send(&self, changes: &[NotifyState<'_>]) {
        if let (Some(sender), false) = (&self.0, changes.is_empty()) {
            let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
            let _ = sender.try_send(lines.join("\n"));
        }
    }

    /// Reports to the watchdog until the future is dropped, as long as the supervisor answers.
    pub(crate) async fn watch(self, supervisor: SupervisorHandle) {
        let Some(limit) = sd_notify::watchdog_enabled() else { return };
        while supervisor.status().await.is_ok() {
            self.send(&[NotifyState::Watchdog]);
            // As systemd recommends.
            tokio::time::sleep(limit / 2).await;
        }
    }
}

/// Reports changes to the service manager.
#[derive(Debug, Clone)]
pub(crate) struct Notifier {
    notifications: Notifications,
    reported: Arc<Mutex<Reported>>,
}

/// The last state reported to the service manager.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Reported {
    is_ready: bool,
    is_reloading: bool,
    status: String,
}

impl Notifier {
    /// Continues after the reports of an earlier program, and repeats the state: the last report may be lost.
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
