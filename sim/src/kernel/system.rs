//! What of the operating system is no process and no socket: names in the file system, strangers, rights and limits.
//! It changes seldom, and worlds share it. It opens nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cluster_core::{Errno, SocketId};

use super::process_table::Pid;
use super::socket::FileId;

/// What a Unix socket's file is made with: 0777, less what the usual umask of 022 takes away.
const MODE: u32 = 0o755;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct System {
    /// TCP ports that strangers serve.
    pub(crate) tcp_ports: BTreeSet<u16>,
    /// UDP ports that strangers have.
    pub(crate) udp_ports: BTreeSet<u16>,
    /// The files of Unix sockets, and those of strangers.
    pub(crate) paths: BTreeMap<String, PathEntry>,
    /// Programs and directories that cannot be used, and why.
    broken: BTreeMap<String, Errno>,
    /// How many sockets and channels a process may have.
    pub(crate) limits: BTreeMap<Pid, usize>,
    /// Nobody here is root.
    pub(crate) no_root: bool,
    /// There is no IPv6.
    pub(crate) no_ipv6: bool,
}

/// A name in the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PathEntry {
    /// `None`: a stranger's.
    pub(crate) file: Option<FileId>,
    /// With whose descriptor it goes.
    owner: Option<(Pid, SocketId)>,
    pub(crate) mode: u32,
}

impl System {
    /// Makes whatever needs this program or directory fail so.
    pub(crate) fn break_path(&mut self, path: String, errno: Errno) {
        self.broken.insert(path, errno);
    }

    /// Why a path cannot be used: it, or a directory on the way to it, is broken.
    pub(crate) fn fault_of(&self, path: &str) -> Option<Errno> {
        if self.broken.is_empty() {
            return None;
        }
        Path::new(path).ancestors().find_map(|path| self.broken.get(path.to_str()?).copied())
    }

    /// A stranger's file.
    pub(crate) fn occupy_path(&mut self, path: String) {
        self.paths.insert(path, PathEntry { file: None, owner: None, mode: MODE });
    }

    /// A socket is bound at a path that is free.
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

    /// Whether a path goes with this descriptor.
    pub(crate) fn has_path_of(&self, owner: (Pid, SocketId)) -> bool {
        self.paths.values().any(|entry| entry.owner == Some(owner))
    }

    /// Removes the path that goes with a descriptor.
    pub(crate) fn remove_paths_of(&mut self, owner: (Pid, SocketId)) {
        self.paths.retain(|_, entry| entry.owner != Some(owner));
    }
}
