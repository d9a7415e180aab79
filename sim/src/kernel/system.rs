//! The rest of the operating system: paths, foreign sockets, rights and limits. These change seldom, and the
//! copies of a world share them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cluster_core::{Errno, SocketId};

use super::socket::FileId;
use crate::step::Pid;

/// The mode of a new Unix socket: 0777 with the usual umask of 022.
const MODE: u32 = 0o755;

/// Paths, foreign sockets, rights and limits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct System {
    /// TCP ports of foreign processes.
    pub(crate) tcp_ports: BTreeSet<u16>,
    /// UDP ports of foreign processes.
    pub(crate) udp_ports: BTreeSet<u16>,
    /// Paths of Unix sockets and of foreign files.
    pub(crate) paths: BTreeMap<String, PathEntry>,
    /// Programs and directories that cannot be used, each with the error.
    broken: BTreeMap<String, Errno>,
    /// The number of sockets and channels that a process may have open.
    pub(crate) limits: BTreeMap<Pid, usize>,
    /// No process is root.
    pub(crate) no_root: bool,
    /// The machine has no IPv6.
    pub(crate) no_ipv6: bool,
}

/// An existing path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PathEntry {
    /// The socket; `None` for a foreign file.
    pub(crate) file: Option<FileId>,
    /// The close of this descriptor removes the path.
    owner: Option<(Pid, SocketId)>,
    mode: u32,
}

impl System {
    /// Makes every use of this program or directory fail with `errno`.
    pub(crate) fn break_path(&mut self, path: String, errno: Errno) {
        self.broken.insert(path, errno);
    }

    /// The error of a path, or of a directory above the path.
    pub(crate) fn fault_of(&self, path: &str) -> Option<Errno> {
        if self.broken.is_empty() {
            return None;
        }
        Path::new(path).ancestors().find_map(|path| self.broken.get(path.to_str()?).copied())
    }

    /// Whether any process has a limit.
    pub(crate) fn is_limited(&self) -> bool {
        !self.limits.is_empty()
    }

    /// The mode bits of a path; `None`: the path does not exist.
    pub(crate) fn mode(&self, path: &str) -> Option<u32> {
        self.paths.get(path).map(|entry| entry.mode)
    }

    /// Creates a foreign file.
    pub(crate) fn occupy_path(&mut self, path: String) {
        self.paths.insert(path, PathEntry { file: None, owner: None, mode: MODE });
    }

    /// Records the path of a bound socket. The path must be free.
    pub(crate) fn add_path(
        &mut self,
        path: String,
        file: FileId,
        owner: (Pid, SocketId),
        readable_all: bool,
        writable_all: bool,
    ) {
        let read = if readable_all { 0o444 } else { 0 };
        let write = if writable_all { 0o222 } else { 0 };
        self.paths
            .insert(path, PathEntry { file: Some(file), owner: Some(owner), mode: MODE | read | write });
    }

    /// Whether a path is removed when this descriptor is closed.
    pub(crate) fn has_path_of(&self, owner: (Pid, SocketId)) -> bool {
        self.paths.values().any(|entry| entry.owner == Some(owner))
    }

    /// Removes the path of a descriptor.
    pub(crate) fn remove_paths_of(&mut self, owner: (Pid, SocketId)) {
        self.paths.retain(|_, entry| entry.owner != Some(owner));
    }
}
