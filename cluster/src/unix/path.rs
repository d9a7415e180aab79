//! Unix sockets at paths: bound at a path of any length and with the requested mode, and removed by the
//! process that has bound the path.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};
use tracing::warn;

/// The mode bits for reads of every user.
const READABLE: u32 = 0o444;
const WRITABLE: u32 = 0o222;

/// A path bound by this process. The drop removes the file at the path, unless the file was replaced. As in
/// Node, the file is removed before the socket is closed: no client finds a path without a listener.
#[derive(Debug)]
pub(super) struct BoundPath {
    path: PathBuf,
    /// The device and the inode of the bound socket.
    identity: (u64, u64),
}

impl BoundPath {
    /// Takes a path that was bound just now. On a failure the path is removed: otherwise no later bind would
    /// succeed.
    fn new(path: PathBuf) -> io::Result<Self> {
        match identity(&path) {
            Ok(identity) => Ok(BoundPath { path, identity }),
            Err(error) => {
                removed(&path, fs::remove_file(&path));
                Err(error)
            }
        }
    }
}

/// A bound path as plain data: the drop removes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PathState {
    path: PathBuf,
    identity: (u64, u64),
}

impl BoundPath {
    pub(super) fn state(&self) -> PathState {
        PathState { path: self.path.clone(), identity: self.identity }
    }

    pub(super) fn restore(state: PathState) -> Self {
        BoundPath { path: state.path, identity: state.identity }
    }
}

impl Drop for BoundPath {
    fn drop(&mut self) {
        match identity(&self.path) {
            Ok(identity) if identity == self.identity => removed(&self.path, fs::remove_file(&self.path)),
            // Another process has replaced the file.
            Ok(_) => {}
            Err(error) => removed(&self.path, Err(error)),
        }
    }
}

/// Logs a failed removal, because the next bind of the path will fail. A path that another process has
/// removed already is no failure.
fn removed(path: &Path, removal: io::Result<()>) {
    if let Err(error) = removal
        && error.kind() != io::ErrorKind::NotFound
    {
        warn!("cannot remove {}: {error}; remove the file before the next start", path.display());
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// A new Unix stream socket, bound at a path. A missing directory is EACCES, as in Node. A name that begins
/// with a NUL is abstract: there is no file, no mode, and nothing to remove.
pub(super) fn bind(
    path: &str,
    readable_all: bool,
    writable_all: bool,
) -> io::Result<(OwnedFd, Option<BoundPath>)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    if path.starts_with('\0') {
        bind_abstract(&socket, path)?;
        return Ok((socket.into(), None));
    }
    // Rejected, because the kernel would cut the path at the NUL.
    if path.contains('\0') {
        return Err(Errno::EINVAL.into());
    }
    let path = std::path::absolute(path)?;
    bind_to(&socket, &path).map_err(missing_directory)?;
    let bound = BoundPath::new(path)?;
    let added = if readable_all { READABLE } else { 0 } | if writable_all { WRITABLE } else { 0 };
    if added != 0 {
        let mode = fs::symlink_metadata(&bound.path)?.mode();
        fs::set_permissions(&bound.path, Permissions::from_mode(mode | added))?;
    }
    Ok((socket.into(), Some(bound)))
}

#[cfg(target_os = "linux")]
fn bind_abstract(socket: &Socket, name: &str) -> io::Result<()> {
    socket.bind(&SockAddr::unix(name).map_err(|_| Errno::ENAMETOOLONG)?)
}

/// Only Linux has abstract names.
#[cfg(not(target_os = "linux"))]
fn bind_abstract(_: &Socket, _: &str) -> io::Result<()> {
    Err(Errno::EINVAL.into())
}

fn missing_directory(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(Errno::ENOENT as i32) { Errno::EACCES.into() } else { error }
}

/// Binds at a path of any length. An address holds about a hundred bytes; a longer path is bound through a
/// descriptor of the directory.
fn bind_to(socket: &Socket, path: &Path) -> io::Result<()> {
    match SockAddr::unix(path) {
        Ok(address) => socket.bind(&address),
        Err(_) => bind_in(socket, path),
    }
}

#[cfg(target_os = "linux")]
fn bind_in(socket: &Socket, path: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::EINVAL.into());
    };
    let directory = fs::File::open(directory)?;
    let by_number = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    socket.bind(&SockAddr::unix(by_number).map_err(|_| Errno::ENAMETOOLONG)?)
}

/// Binds at a path relative to the working directory, as Node does on every system.
#[cfg(not(target_os = "linux"))]
fn bind_in(socket: &Socket, path: &Path) -> io::Result<()> {
    let here = std::env::current_dir()?;
    let relative = path.strip_prefix(here).map_err(|_| Errno::ENAMETOOLONG)?;
    socket.bind(&SockAddr::unix(relative).map_err(|_| Errno::ENAMETOOLONG)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};
    use tempfile::TempDir;

    fn place(name: &str) -> (TempDir, String) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(name).to_str().expect("text").to_owned();
        (directory, path)
    }

    fn path_bound(path: &str, readable_all: bool, writable_all: bool) -> io::Result<(OwnedFd, BoundPath)> {
        let (socket, path) = bind(path, readable_all, writable_all)?;
        Ok((socket, path.expect("a path in the file system")))
    }

    /// An abstract name makes no file and is free again when the socket is closed.
    #[cfg(target_os = "linux")]
    #[test]
    fn abstract_name_is_bound_without_file() {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::SocketAddr;

        let name = format!("\0cluster test {}/with a slash", std::process::id());
        let (socket, path) = bind(&name, true, true).expect("bound");
        assert!(path.is_none());
        rustix::net::listen(&socket, 1).expect("listens");
        let address = SocketAddr::from_abstract_name(&name[1..]).expect("a name");
        UnixStream::connect_addr(&address).expect("a client");
        let failed = |name: &str| bind(name, false, false).map(drop).map_err(|error| errno(&error));
        assert_eq!(failed(&name), Err(Some(Errno::EADDRINUSE)));
        drop(socket);
        assert_eq!(failed(&name), Ok(()));
        assert_eq!(failed(&format!("\0{}", "n".repeat(200))), Err(Some(Errno::ENAMETOOLONG)));
    }

    fn errno(error: &io::Error) -> Option<Errno> {
        error.raw_os_error().map(Errno::from_raw)
    }

    #[test]
    fn drop_removes_the_path() {
        let (_directory, path) = place("s");
        let (socket, bound) = path_bound(&path, false, false).expect("bound");
        let listener = UnixListener::from(socket);
        rustix::net::listen(&listener, 1).expect("listens");
        UnixStream::connect(&path).expect("a client");
        assert_eq!(
            bind(&path, false, false).map(drop).map_err(|error| errno(&error)),
            Err(Some(Errno::EADDRINUSE))
        );
        assert!(Path::new(&path).exists(), "an attempt that failed removes nothing");
        drop(bound);
        assert!(!Path::new(&path).exists());
    }

    #[test]
    fn replaced_path_is_kept() {
        let (_directory, path) = place("s");
        let bound = path_bound(&path, false, false).expect("bound");
        fs::remove_file(&path).expect("removed");
        let _theirs = path_bound(&path, false, false).expect("bound again");
        drop(bound);
        assert!(Path::new(&path).exists());
    }

    #[test]
    fn requested_mode_bits_are_added() {
        for (readable, writable, added) in [(true, false, 0o444), (false, true, 0o222), (true, true, 0o666)] {
            let (_directory, path) = place("s");
            let (_socket, _bound) = path_bound(&path, false, false).expect("bound");
            let plain = fs::metadata(&path).expect("there").mode() & 0o777;
            let (_directory, path) = place("s");
            let (_socket, _bound) = path_bound(&path, readable, writable).expect("bound");
            assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, plain | added);
        }
    }

    #[test]
    fn long_path_is_bound() {
        let (directory, _) = place("s");
        let deep = directory.path().join("d".repeat(200));
        fs::create_dir(&deep).expect("a directory");
        let path = deep.join("s");
        let (socket, bound) = path_bound(path.to_str().expect("text"), true, true).expect("bound");
        rustix::net::listen(&socket, 1).expect("listens");
        // The same socket, under a short name.
        let short = directory.path().join("s");
        fs::rename(&path, &short).expect("renamed");
        UnixStream::connect(&short).expect("a client");
        fs::rename(&short, &path).expect("renamed");
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn failed_bind_leaves_no_file() {
        let (directory, path) = place("no/such/directory");
        let failed = |path: &str| bind(path, true, true).map(drop).map_err(|error| errno(&error));
        assert_eq!(failed(&path), Err(Some(Errno::EACCES)));
        assert_eq!(failed(&format!("{path}\0")), Err(Some(Errno::EINVAL)));
        let long = directory.path().join("n".repeat(200));
        assert_eq!(failed(long.to_str().expect("text")), Err(Some(Errno::ENAMETOOLONG)));
        assert_eq!(fs::read_dir(&directory).expect("a directory").count(), 0);
    }
}
