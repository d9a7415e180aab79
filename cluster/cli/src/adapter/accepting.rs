//! Waits until the program of a worker accepts connections. All workers share the socket, so an established
//! or answered connection proves nothing: an older worker may have accepted the connection. Linux offers two
//! proofs:
//!
//! * A process below the adapter has the socket in an `epoll` set: `/proc/PID/fdinfo` lists the inode of the
//!   socket.
//! * A process below the adapter has accepted a connection of the adapter: the kernel's table of connections
//!   names the inode of the accepted socket, and the process has the inode open.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

#[cfg(target_os = "linux")]
use procfs::net::TcpState;
#[cfg(target_os = "linux")]
use procfs::process::{FDInfo, FDTarget, Process};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

#[cfg(target_os = "linux")]
use crate::processes;

/// The pause between two reads of the table of connections.
const TABLE_PAUSE: Duration = Duration::from_millis(10);

/// The pause before the next attempt: no process polls the socket, an older worker has accepted, or the
/// connection was refused.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// How long a connection waits for an accept before the next connection is tried.
const ACCEPT_LIMIT: Duration = Duration::from_secs(1);

/// The address of the socket for local clients: loopback instead of "every address".
pub(super) fn loopback(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    address
}

/// Waits until a process below the adapter accepts connections.
pub(super) async fn accepting(address: SocketAddr) {
    tokio::select! {
        biased;
        () = polled() => {}
        _ = connect(address, b"") => {}
    }
}

/// Waits until a process below the adapter polls the socket.
async fn polled() {
    while !is_polled() {
        sleep(RETRY_PAUSE).await;
    }
}

/// Connects and sends the first bytes of a request, again and again until a process below the adapter has
/// accepted the connection.
///
/// The bytes are necessary: with `TCP_DEFER_ACCEPT`, `accept` returns no connection without bytes.
pub(super) async fn connect(address: SocketAddr, first: &[u8]) -> TcpStream {
    loop {
        if let Ok(mut connection) = TcpStream::connect(address).await
            && connection.write_all(first).await.is_ok()
            && timeout(ACCEPT_LIMIT, is_accepted_here(&connection)).await.unwrap_or_default()
        {
            return connection;
        }
        sleep(RETRY_PAUSE).await;
    }
}

/// Waits until any process has accepted the connection. Returns whether the process is below the adapter.
#[cfg(target_os = "linux")]
async fn is_accepted_here(connection: &TcpStream) -> bool {
    let (Ok(client), Ok(server)) = (connection.local_addr(), connection.peer_addr()) else { return false };
    loop {
        match inode_of_server(client, server) {
            // The connection is still in the backlog.
            Some(0) => sleep(TABLE_PAUSE).await,
            Some(inode) => return is_open_below(inode),
            // The server has closed the connection.
            None => return false,
        }
    }
}

/// Without a table of inodes, every accepted connection counts as accepted by the worker.
#[cfg(not(target_os = "linux"))]
async fn is_accepted_here(_: &TcpStream) -> bool {
    sleep(TABLE_PAUSE).await;
    true
}

/// The inode of the accepted socket of a connection; 0 while no process has accepted the connection. `None`:
/// the server has closed the connection. The kernel may keep a closed connection in the table, without an
/// inode.
#[cfg(target_os = "linux")]
fn inode_of_server(client: SocketAddr, server: SocketAddr) -> Option<u64> {
    let mut entries = procfs::net::tcp().into_iter().chain(procfs::net::tcp6()).flatten();
    let is_same = |one: SocketAddr, other: SocketAddr| {
        one.port() == other.port() && one.ip().to_canonical() == other.ip().to_canonical()
    };
    let entry = entries
        .find(|entry| is_same(entry.remote_address, client) && is_same(entry.local_address, server))?;
    [TcpState::Established, TcpState::SynRecv].contains(&entry.state).then_some(entry.inode)
}

#[cfg(target_os = "linux")]
fn is_open_below(inode: u64) -> bool {
    descriptors_below().any(|(_, descriptor)| descriptor.target == FDTarget::Socket(inode))
}

/// Whether a process below the adapter has the first inherited socket in an `epoll` set.
#[cfg(target_os = "linux")]
fn is_polled() -> bool {
    let number = i32::try_from(super::FIRST_DESCRIPTOR).unwrap_or_default();
    let first = Process::myself().and_then(|own| own.fd_from_fd(number));
    let Ok(FDTarget::Socket(inode)) = first.map(|first| first.target) else { return false };
    let member = format!(" ino:{inode:x} ");
    let mut sets = descriptors_below().filter(|(_, descriptor)| {
        matches!(&descriptor.target, FDTarget::AnonInode(name) if name.contains("eventpoll"))
    });
    sets.any(|(pid, set)| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", set.fd));
        text.is_ok_and(|text| text.contains(&member))
    })
}

#[cfg(not(target_os = "linux"))]
fn is_polled() -> bool {
    false
}

/// The descriptors of all processes below the adapter, each with the id of the process.
#[cfg(target_os = "linux")]
fn descriptors_below() -> impl Iterator<Item = (i32, FDInfo)> {
    let own = Process::myself().ok();
    processes::descriptors(own.as_ref().map(processes::below).unwrap_or_default())
}
