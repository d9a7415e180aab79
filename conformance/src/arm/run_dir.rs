//! The directory of a run, which is removed at the end; and observations of files and servers from outside of
//! the processes.
//!
//! The absolute path of the directory is longer than the address of a Unix socket may be, so every scenario
//! with a path tests relative addresses. Processes run inside the directory. Clients reach the files by the
//! descriptor of the directory.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::vocabulary::ServerAddress;

/// Longer than the address of a Unix socket may be.
const LONG: usize = 120;

/// The directory of one run.
#[derive(Debug, Clone)]
pub(super) struct RunDir {
    opened: Arc<File>,
    path: PathBuf,
    /// Dropping the last clone removes the directory.
    whole: Arc<tempfile::TempDir>,
}

impl RunDir {
    /// A new directory that every user may write.
    ///
    /// # Errors
    ///
    /// The directory cannot be created.
    pub(super) fn new() -> io::Result<Self> {
        let whole = tempfile::tempdir()?;
        let path = whole.path().canonicalize()?.join("x".repeat(LONG));
        fs::create_dir(&path)?;
        fs::set_permissions(whole.path(), Permissions::from_mode(0o755))?;
        fs::set_permissions(&path, Permissions::from_mode(0o777))?;
        Ok(RunDir { opened: Arc::new(File::open(&path)?), path, whole: Arc::new(whole) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file beside the directory, and so outside of the scenario.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.whole.path().join(name)
    }

    /// Writes a file beside the directory. Every user may read the file.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(super) fn write_beside(&self, name: &str, text: &str) -> io::Result<()> {
        let path = self.beside(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, Permissions::from_mode(0o644))
    }

    /// A short path to a file in the directory, valid until the directory is dropped.
    pub(super) fn reach(&self, name: &str) -> PathBuf {
        Path::new("/proc/self/fd").join(self.opened.as_raw_fd().to_string()).join(name)
    }

    /// The permissions of a server's path, without the bits to execute, which mean nothing for a socket.
    /// `None`: the server has no path.
    pub(super) fn mode(&self, at: Option<&ServerAddress>) -> Option<String> {
        let Some(ServerAddress::Path(name)) = at else { return None };
        let metadata = fs::symlink_metadata(self.reach(name)).ok()?;
        Some(format!("{:o}", metadata.permissions().mode() & 0o666))
    }
}

/// The limit of connections that the kernel queues for the listener at this port. `None`: no socket listens.
///
/// # Errors
///
/// `ss`, of the package `iproute2`, is missing.
pub(super) fn backlog(at: Option<&ServerAddress>) -> io::Result<Option<String>> {
    let Some(ServerAddress::Port(port)) = at else { return Ok(None) };
    let output = Command::new("ss").args(["-Hltn", "sport", "=", &format!(":{port}")]).output()?;
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    // `ss` prints the limit of a listening socket in the third column, `Send-Q`.
    Ok(line.split_whitespace().nth(2).map(str::to_owned))
}
