//! The paths of control sockets: a directory for each user, with a socket for each service.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{Pid, geteuid};
use socket2::{Domain, SockAddr, Socket, Type};
use tempfile::TempDir;

use crate::report::Coded;

const EXTENSION: &str = "sock";

/// The directory of this user's services: in `XDG_RUNTIME_DIR`; without the variable, in `/run` for root and
/// in the temporary directory for other users.
pub(crate) fn directory() -> PathBuf {
    let user = geteuid();
    match env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty()) {
        Some(directory) => Path::new(&directory).join("cluster"),
        None if user.is_root() && Path::new("/run").is_dir() => "/run/cluster".into(),
        None => env::temp_dir().join(format!("cluster-{user}")),
    }
}

/// Makes the directory, for this user alone.
///
/// # Errors
/// The directory cannot be made, belongs to another user, or is open to other users.
pub(crate) fn make(directory: &Path) -> anyhow::Result<()> {
    refuse_file(directory)?;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.with_context(|| format!("cannot make {}; set `--control`", directory.display()))?;
    check(directory)
}

/// Fails if a file is in the place of the directory, or in the place of a directory above.
fn refuse_file(directory: &Path) -> anyhow::Result<()> {
    let nearest = directory.ancestors().find(|path| path.exists());
    if let Some(file) = nearest.filter(|path| !path.is_dir()) {
        bail!(
            "{} is a file, in the way of the directory of the control sockets; move the file, or set XDG_RUNTIME_DIR to \
             another directory",
            file.display()
        );
    }
    Ok(())
}

/// Fails unless only this user can put a socket into the directory. In the temporary directory, another user
/// may have made the directory first, or a link in the same place.
fn check(directory: &Path) -> anyhow::Result<()> {
    let metadata = fs::metadata(directory)?;
    let owners = [fs::symlink_metadata(directory)?.uid(), metadata.uid()];
    if owners.iter().any(|owner| *owner != geteuid().as_raw()) {
        bail!("{} belongs to another user; set `--control`", directory.display());
    }
    if metadata.permissions().mode() & 0o022 != 0 {
        bail!("other users can write to {}; remove that permission, or set `--control`", directory.display());
    }
    Ok(())
}

/// The longest path of a socket in bytes.
const LONGEST: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Checks the length of the path of a control socket.
///
/// # Errors
/// The path is longer than the kernel allows.
pub(crate) fn check_length(path: &Path) -> anyhow::Result<()> {
    let length = path.as_os_str().len();
    if length > LONGEST {
        bail!(
            "the path of the control socket has {length} bytes, and {LONGEST} are possible: {}; set a shorter `--name` or `--control`",
            path.display()
        );
    }
    Ok(())
}

/// The path of a service's socket, by the name of the service.
///
/// # Errors
/// The name is not the name of a file.
pub(crate) fn of_service(name: &str) -> anyhow::Result<PathBuf> {
    if name.is_empty() || name.contains('/') || name.contains(char::is_control) {
        bail!("the name {name:?} is not valid: a name has no `/` and no control characters; set `--name`");
    }
    let path = directory().join(format!("{name}.{EXTENSION}"));
    check_length(&path)?;
    Ok(path)
}

/// The path of a running service's socket, by the name of the service. Fails if another user can have made
/// the directory.
///
/// # Errors
/// The name is not the name of a file, or the directory belongs to another user or is open to other users.
pub(crate) fn of_running(name: &str) -> anyhow::Result<PathBuf> {
    let (directory, path) = (directory(), of_service(name)?);
    refuse_file(&directory)?;
    if directory.exists() {
        check(&directory)?;
    }
    Ok(path)
}

/// The beginning of the name of a directory for `sd_notify`. The process id of the service follows.
const NOTIFY: &str = "notify-";

/// Makes a directory for the sockets of `sd_notify`, and removes the directories of killed services.
///
/// # Errors
/// The directory cannot be made, belongs to another user, or is open to other users.
pub(crate) fn make_notify_directory() -> anyhow::Result<TempDir> {
    let parent = directory();
    make(&parent)?;
    let entries = fs::read_dir(&parent)?.filter_map(Result::ok).map(|entry| entry.path());
    for old in entries.filter(|path| is_abandoned(path)) {
        // Fails if another service has removed the directory meanwhile.
        let _ = fs::remove_dir_all(old);
    }
    Ok(tempfile::Builder::new().prefix(&format!("{NOTIFY}{}-", std::process::id())).tempdir_in(parent)?)
}

/// Whether a directory for `sd_notify` is of a killed service: the process in the name does not exist, and no
/// socket in the directory is bound.
fn is_abandoned(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(NOTIFY));
    let pid = name.and_then(|name| name.split('-').next()?.parse().ok());
    let has_ended = pid.is_some_and(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH));
    let is_bound = |path: PathBuf| UnixDatagram::unbound().and_then(|socket| socket.connect(path)).is_ok();
    let mut sockets = fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    has_ended && !sockets.any(|entry| is_bound(entry.path()))
}

/// Whether a socket is of a killed service. A stopped service may have a full backlog; the answer is then no,
/// without a wait.
fn is_stale(path: &Path) -> bool {
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    connect().is_err_and(|error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// The sockets of running services.
fn all(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    refuse_file(directory)?;
    if directory.exists() {
        check(directory)?;
    }
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let sockets = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|found| found == EXTENSION) && !is_stale(path));
    let mut sockets: Vec<PathBuf> = sockets.collect();
    sockets.sort();
    Ok(sockets)
}

/// The names of running services. Empty if another user owns the directory of the sockets.
pub(crate) fn names() -> Vec<String> {
    let sockets = all(&directory()).unwrap_or_default();
    let stems = sockets.iter().filter_map(|socket| socket.file_stem()?.to_str());
    stems.map(str::to_owned).collect()
}

/// The socket of the only running service of this user.
///
/// # Errors
/// No service runs or several run, or the directory belongs to another user or is open to other users.
pub(crate) fn only() -> anyhow::Result<PathBuf> {
    let directory = directory();
    let sockets = all(&directory)?;
    match &sockets[..] {
        [] => Err(Coded::not_running(format!(
            "no service runs: {} has no open socket; start one with `cluster run`",
            directory.display()
        ))),
        [socket] => Ok(socket.clone()),
        several => {
            let names = several.iter().filter_map(|path| path.file_stem());
            let choices: Vec<_> = names.map(|name| format!("`--name {}`", name.to_string_lossy())).collect();
            bail!("{} services run, and none is named: add {}", several.len(), choices.join(" or "))
        }
    }
}
