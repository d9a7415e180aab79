//! The role of a process, decided once by the environment. Nothing is started here.

use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use cluster_core::SLOT_VARIABLE;

use crate::error::{JoinError, RoleError};
use crate::unix::executable;
use crate::unix::inherit::{InheritedWorker, inherit};
use crate::unix::spawn::{CHANNEL, ID, SERIALIZATION};

/// The role of a process. Node: `cluster.isPrimary`, `cluster.isWorker`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A user or a service manager started the process. The process may create a [`Primary`](crate::Primary).
    Primary,
    /// A primary forked the process. The process may [join](crate::Worker::join).
    Worker,
}

/// The role of this process. Node: `cluster.isPrimary`, decided when the module is loaded.
///
/// The first call determines the role, and takes the inherited channel over; later calls return the same
/// answer. **Call `role` first in `main`**: programs started before the call inherit the channel.
///
/// The library removes the three environment variables of a worker before `main`, even under a multi-threaded
/// runtime: otherwise a program started by the worker would take itself for a worker. The variables remain
/// where a removal could race with another thread: if a thread was started before `main`, if the library was
/// loaded into a running program, or if the number of threads is unknown (no `/proc`, and `unshare` is
/// forbidden or missing). In these cases, start programs with [`clear_cluster_env`].
///
/// # Errors
/// The variables are set, but with values that no primary sets: see [`RoleError`].
pub fn role() -> Result<Role, RoleError> {
    #[cfg(feature = "simulated")]
    if crate::simulated::is_simulated() {
        return Ok(if crate::simulated::is_forked() { Role::Worker } else { Role::Primary });
    }
    match origin() {
        Ok(Origin::Primary) => Ok(Role::Primary),
        Ok(Origin::Worker(_)) => Ok(Role::Worker),
        Err(error) => Err(error.clone()),
    }
}

/// Removes the variables of the cluster from a command's environment, so the new process does not join as
/// this worker. Necessary only where [`role`] could not remove the variables from this process; harmless
/// elsewhere.
///
/// ```no_run
/// # fn program() -> std::io::Result<()> {
/// let mut command = std::process::Command::new("node");
/// cluster::clear_cluster_env(&mut command).arg("build.js").status()?;
/// # Ok(()) }
/// ```
pub fn clear_cluster_env(command: &mut Command) -> &mut Command {
    command.env_remove(ID).env_remove(CHANNEL).env_remove(SERIALIZATION).env_remove(SLOT_VARIABLE)
}

/// The origin of this process. A worker has an inheritance until the join.
#[derive(Debug)]
pub(crate) enum Origin {
    Primary,
    Worker(Mutex<Option<InheritedWorker>>),
}

impl Origin {
    /// Whether this process is a worker before the join.
    pub(crate) fn is_to_join(&self) -> bool {
        match self {
            Origin::Primary => false,
            Origin::Worker(inheritance) => {
                inheritance.lock().unwrap_or_else(PoisonError::into_inner).is_some()
            }
        }
    }

    /// Takes a worker's inheritance. Later calls return an error.
    pub(crate) fn take(&self) -> Result<InheritedWorker, JoinError> {
        match self {
            Origin::Primary => Err(JoinError::NotAWorker),
            Origin::Worker(inheritance) => {
                let inheritance = inheritance.lock().unwrap_or_else(PoisonError::into_inner).take();
                inheritance.ok_or(JoinError::Joined)
            }
        }
    }
}

pub(crate) fn origin() -> &'static Result<Origin, RoleError> {
    static ORIGIN: OnceLock<Result<Origin, RoleError>> = OnceLock::new();
    ORIGIN.get_or_init(|| {
        // Determines the path of this program, before the working directory or the file can change.
        let _ = executable::path();
        let inherited = inherit()?;
        Ok(inherited.map_or(Origin::Primary, |own| Origin::Worker(Mutex::new(Some(own)))))
    })
}
