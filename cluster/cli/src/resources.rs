//! What the workers use until the service ends: the sockets of foreign programs, and a directory.

use std::fs;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;

use cluster::{Kept, Predecessor};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::listen::Sockets;
use crate::systemd::Activated;

/// The resources. At the end, the sockets are closed and the directory is removed.
#[derive(Debug)]
pub(crate) struct Resources {
    sockets: Vec<OwnedFd>,
    /// The descriptors of the sockets from the service manager.
    activated: Vec<RawFd>,
    /// The directory for the sockets of `sd_notify`.
    notify: Option<Directory>,
}

#[derive(Debug)]
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        // Fails if another process has removed the directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The resources, serialized for a hand-over. Descriptors keep their numbers, because workers inherit sockets
/// by number.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ResourcesState {
    sockets: Vec<RawFd>,
    activated: Vec<RawFd>,
    notify: Option<PathBuf>,
}

impl Resources {
    pub(crate) fn new(sockets: Sockets, notify: Option<TempDir>, activated: &[Activated]) -> Self {
        Resources {
            sockets: sockets.listeners.into_iter().map(OwnedFd::from).collect(),
            activated: activated.iter().map(|own| own.descriptor.cast_signed()).collect(),
            notify: notify.map(|directory| Directory(directory.keep())),
        }
    }

    pub(crate) fn state(&self, kept: &mut Kept) -> ResourcesState {
        ResourcesState {
            sockets: self.sockets.iter().map(|socket| kept.descriptor(socket)).collect(),
            activated: self.activated.iter().map(|number| kept.descriptor(number)).collect(),
            notify: self.notify.as_ref().map(|Directory(path)| path.clone()),
        }
    }

    pub(crate) fn after(state: ResourcesState, predecessor: &mut Predecessor) -> Self {
        let mut take = |numbers: Vec<RawFd>| -> Vec<OwnedFd> {
            numbers.into_iter().map(|number| predecessor.descriptor(number)).collect()
        };
        let sockets = take(state.sockets).into_iter().chain(take(state.activated)).collect();
        Resources { sockets, activated: Vec::new(), notify: state.notify.map(Directory) }
    }
}
