//! The sockets of a run, and the listeners that a client reaches. References are counted. A socket without
//! references is closed, and its id is not used again.

use std::collections::VecDeque;

use cluster_core::{BindAddress, LocalAddress};

use super::bound_address::{BoundAddress, BoundIp};
use super::datagram::UdpSocket;
use super::object_set::ObjectSet;
use super::ready::Dependencies;
use super::socket::{File, FileId, Listener, SocketKind};
use super::system::System;
use super::table::Table;
use crate::event::ClientId;

/// The first port that a process without root may bind.
pub(super) const UNPRIVILEGED: u16 = 1024;

/// The first port that the kernel assigns.
const FIRST_PORT: u16 = 40_001;

/// The sockets, and the next free port.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Sockets {
    files: Table<File>,
    next_port: u16,
}

impl Sockets {
    pub(super) fn new() -> Self {
        Sockets { files: [].into_iter().collect(), next_port: FIRST_PORT }
    }

    pub(super) fn copy_from(&mut self, other: &Sockets) {
        self.files.copy_from(&other.files);
        self.next_port = other.next_port;
    }

    pub(super) fn take_touched(&mut self) -> Dependencies {
        self.files.take_touched()
    }

    pub(super) fn written_since(&self, before: &Sockets) -> ObjectSet {
        let port = if self.next_port == before.next_port { ObjectSet::NONE } else { ObjectSet::NUMBERS };
        port | self.files.written_since(&before.files, |at, _, _| ObjectSet::file(at))
    }

    pub(crate) fn get(&self, FileId(file): FileId) -> &File {
        &self.files[file as usize]
    }

    fn changed(&mut self, FileId(file): FileId, depends: Dependencies) -> &mut File {
        self.files.get_mut(file as usize, depends).expect("a descriptor references an open socket")
    }

    pub(super) fn get_mut(&mut self, file: FileId) -> &mut File {
        self.changed(file, Dependencies::file(&self.get(file).kind))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (FileId, &File)> {
        (0..).map(FileId).zip(self.files.iter())
    }

    /// Opens a socket with one reference.
    pub(super) fn open(&mut self, kind: SocketKind) -> FileId {
        let id = FileId(u32::try_from(self.files.len()).expect("fewer than 2^32 sockets in a run"));
        self.files.push(File { refs: 1, kind });
        id
    }

    /// Adds a reference.
    pub(super) fn retain(&mut self, file: FileId) {
        self.get_mut(file).refs += 1;
    }

    /// Drops a reference. Returns the socket if this was the last reference.
    pub(super) fn release(&mut self, file: FileId) -> Option<&mut SocketKind> {
        let file = self.get_mut(file);
        file.refs -= 1;
        (file.refs == 0).then_some(&mut file.kind)
    }

    /// Whether clients connect to a socket.
    pub(crate) fn is_listener(&self, file: FileId) -> bool {
        matches!(self.get(file).kind, SocketKind::Listener(_))
    }

    /// The client behind a connection.
    pub(crate) fn client(&self, file: FileId) -> Option<ClientId> {
        match self.get(file).kind {
            SocketKind::Connection(client) => Some(client),
            SocketKind::Listener(_) | SocketKind::Udp(_) => None,
        }
    }

    /// The local address of a socket; `None` for a connection.
    pub(crate) fn address(&self, file: FileId) -> Option<LocalAddress> {
        match &self.get(file).kind {
            SocketKind::Listener(listener) => Some(listener.bound.address()),
            SocketKind::Udp(datagrams) => Some(LocalAddress::Ip(datagrams.bound.address)),
            SocketKind::Connection(_) => None,
        }
    }

    fn referenced(&self) -> impl Iterator<Item = (FileId, &SocketKind)> {
        self.iter().filter(|(_, file)| file.refs > 0).map(|(id, file)| (id, &file.kind))
    }

    /// Every bound stream socket with a reference.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = (FileId, &Listener)> {
        self.referenced().filter_map(|(id, kind)| match kind {
            SocketKind::Listener(listener) => Some((id, listener)),
            SocketKind::Connection(_) | SocketKind::Udp(_) => None,
        })
    }

    /// Every UDP socket with a reference.
    pub(crate) fn udp_sockets(&self) -> impl Iterator<Item = (FileId, &UdpSocket)> {
        self.referenced().filter_map(|(id, kind)| match kind {
            SocketKind::Udp(datagrams) => Some((id, datagrams)),
            SocketKind::Listener(_) | SocketKind::Connection(_) => None,
        })
    }

    /// A port that neither a TCP nor a UDP socket uses.
    pub(super) fn free_port(&mut self, system: &System) -> u16 {
        loop {
            let port = self.next_port;
            self.next_port = self.next_port.wrapping_add(1).max(UNPRIVILEGED);
            if is_free(port, self.bound_ips(), system) {
                return port;
            }
        }
    }

    fn bound_ips(&self) -> impl Iterator<Item = &BoundIp> {
        self.referenced().filter_map(|(_, kind)| match kind {
            SocketKind::Listener(Listener { bound: BoundAddress::Ip(bound), .. }) => Some(bound),
            SocketKind::Udp(datagrams) => Some(&datagrams.bound),
            SocketKind::Listener(Listener { bound: BoundAddress::Path(_), .. })
            | SocketKind::Connection(_) => None,
        })
    }

    /// Changes the backlog of a listener; `None` for another kind of socket. The listeners are marked as
    /// changed only if a connecting client or an acceptor could notice.
    pub(super) fn change_backlog<T>(
        &mut self,
        file: FileId,
        change: impl FnOnce(&mut VecDeque<ClientId>) -> T,
    ) -> Option<T> {
        let file = self.changed(file, Dependencies::NONE);
        let SocketKind::Listener(listener) = &mut file.kind else { return None };
        let before = (listener.is_full(), listener.backlog.is_empty());
        let changed = change(&mut listener.backlog);
        if before != (listener.is_full(), listener.backlog.is_empty()) {
            self.files.touch(Dependencies::LISTENERS);
        }
        Some(changed)
    }

    /// The limit of the accept queue of the listener at an address. `None`: no socket listens there.
    pub(crate) fn backlog(&self, at: &LocalAddress, system: &System) -> Option<u32> {
        let file = *self.accepting_listeners(at, system).first()?;
        if let SocketKind::Listener(listener) = &self.get(file).kind { listener.limit } else { None }
    }

    // ---- the listeners of a client

    /// The listeners of an address with room in the backlog.
    pub(super) fn accepting_listeners(&self, to: &LocalAddress, system: &System) -> Vec<FileId> {
        let mut listeners = self.matching_listeners(to, system);
        listeners.retain(|listener| !self.is_full(*listener));
        listeners
    }

    pub(super) fn is_full(&self, file: FileId) -> bool {
        matches!(&self.get(file).kind, SocketKind::Listener(listener) if listener.is_full())
    }

    /// The most specific listeners that match an address. There may be several: `SO_REUSEPORT` lets listeners
    /// share a port.
    pub(crate) fn matching_listeners(&self, to: &LocalAddress, system: &System) -> Vec<FileId> {
        let mut matching = Vec::new();
        let mut closest = 0;
        for (id, listener) in self.listeners().filter(|(_, listener)| listener.limit.is_some()) {
            let specificity = match (&listener.bound, to) {
                (BoundAddress::Ip(bound), LocalAddress::Ip(to)) => bound.specificity(*to),
                (BoundAddress::Path(bound), LocalAddress::Path(to)) if is_abstract(to) => {
                    (bound == to).then_some(0)
                }
                (BoundAddress::Path(_), LocalAddress::Path(to)) => {
                    let entry = system.paths.get(to);
                    entry.is_some_and(|entry| entry.file == Some(id)).then_some(0)
                }
                (BoundAddress::Ip(_), LocalAddress::Path(_) | LocalAddress::Zoned { .. })
                | (BoundAddress::Path(_), LocalAddress::Ip(_) | LocalAddress::Zoned { .. }) => None,
            };
            let Some(specificity) =
                specificity.filter(|specificity| matching.is_empty() || *specificity >= closest)
            else {
                continue;
            };
            if specificity > closest {
                matching.clear();
            }
            closest = specificity;
            matching.push(id);
        }
        matching
    }
}

/// The ports that were assigned earlier, and that no open socket has.
pub(super) fn released_ports(sockets: &Sockets, system: &System) -> Vec<u16> {
    (FIRST_PORT..sockets.next_port).filter(|&port| is_free(port, sockets.bound_ips(), system)).collect()
}

/// Whether no socket and no other program uses a port.
fn is_free<'a>(port: u16, mut bound: impl Iterator<Item = &'a BoundIp>, system: &System) -> bool {
    !bound.any(|bound| bound.address.port() == port)
        && !system.tcp_ports.contains(&port)
        && !system.udp_ports.contains(&port)
}

/// Whether a path is an abstract name. On Linux an abstract name begins with a NUL.
pub(super) fn is_abstract(path: &str) -> bool {
    path.starts_with('\0')
}

/// The path of an address and its permissions, if the path is a file.
pub(super) fn named_path(address: &BindAddress) -> Option<(&String, bool, bool)> {
    match address {
        BindAddress::Path { path, readable_all, writable_all } if !is_abstract(path) => {
            Some((path, *readable_all, *writable_all))
        }
        BindAddress::Path { .. }
        | BindAddress::Tcp { .. }
        | BindAddress::Udp { .. }
        | BindAddress::Zoned { .. }
        | BindAddress::Descriptor { .. } => None,
    }
}
