//! Which of the two a process is, decided once by what it inherited. It starts nothing.

use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::{error, fmt};

use cluster_core::Errno;

use crate::unix::inherit::{Inheritance, inherit};
use crate::unix::own;
use crate::unix::spawn::{CHANNEL, ID, SERIALIZATION};
use crate::worker::JoinError;

/// Which of the two a process is. Node: `cluster.isPrimary`, `cluster.isWorker`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It was started by a user: it may make a [`Primary`](crate::Primary).
    Primary,
    /// It was forked by a primary: it may [join](crate::Worker::join).
    Worker,
}

/// The role of this process. Node: `cluster.isPrimary`, decided when the module is loaded.
///
/// The first call decides and takes over the inherited channel; later calls repeat its answer. **Call it first thing in
/// `main`**: until then, a program that this process starts inherits the channel.
///
/// The three variables that make a process a worker are removed from the environment before `main`, as Node removes them
/// before the first line of a program, so that no program that a worker starts takes itself for a worker, under a multi-threaded
/// runtime either. They stay only where this library cannot know that it is alone: another part of the program has
/// started a thread before `main`, the library was loaded into a running program, or there is no /proc. There, start programs
/// with [`clear_cluster_env`].
///
/// # Errors
/// The variables are there but are not what a primary sets: see [`RoleError`].
pub fn role() -> Result<Role, RoleError> {
    match origin() {
        Ok(Origin::Primary) => Ok(Role::Primary),
        Ok(Origin::Worker(_)) => Ok(Role::Worker),
        Err(error) => Err(error.clone()),
    }
}

/// Keeps a command's process from taking itself for this worker. Needed only where [`role`] could not clean the
/// environment; harmless elsewhere.
pub fn clear_cluster_env(command: &mut Command) -> &mut Command {
    command.env_remove(ID).env_remove(CHANNEL).env_remove(SERIALIZATION)
}

/// Where this process comes from; a worker's inheritance is there until it joins.
#[derive(Debug)]
pub(crate) enum Origin {
    Primary,
    Worker(Mutex<Option<Inheritance>>),
}

impl Origin {
    /// Whether this is a worker that has not joined.
    pub(crate) fn is_to_join(&self) -> bool {
        match self {
            Origin::Primary => false,
            Origin::Worker(inheritance) => {
                inheritance.lock().unwrap_or_else(PoisonError::into_inner).is_some()
            }
        }
    }

    /// A worker's inheritance, for the first who asks.
    pub(crate) fn take(&self) -> Result<Inheritance, JoinError> {
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
        // Now, while it is as it was when the program was started.
        let _ = own::path();
        let inherited = inherit()?;
        Ok(inherited.map_or(Origin::Primary, |own| Origin::Worker(Mutex::new(Some(own)))))
    })
}

/// The environment says that this process is a worker, but not how. It was changed, or inherited from a worker that
/// could not clean it: see [`role`].
#[derive(Clone, PartialEq, Eq)]
pub enum RoleError {
    /// `NODE_UNIQUE_ID` is not a number from 1.
    Id {
        /// What it is.
        value: String,
    },
    /// `NODE_UNIQUE_ID` is there, but `NODE_CHANNEL_FD` is not.
    NoChannel,
    /// `NODE_CHANNEL_FD` is not a number from 3.
    ChannelNumber {
        /// What it is.
        value: String,
    },
    /// `NODE_CHANNEL_FD` does not lead to an inherited Unix stream socket.
    Channel {
        /// What it is.
        number: i32,
        /// What the kernel says: EBADF if nothing was inherited, ENOTSOCK or EPROTO if something else was.
        errno: Errno,
    },
    /// `NODE_CHANNEL_SERIALIZATION_MODE` is neither `json` nor `advanced`.
    Serialization {
        /// What it is.
        value: String,
    },
}

impl fmt::Display for RoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RoleError::Id { value } => write!(f, "{ID} is {value:?} and not a number from 1"),
            RoleError::NoChannel => write!(f, "{ID} is set, but {CHANNEL} is not"),
            RoleError::ChannelNumber { value } => write!(f, "{CHANNEL} is {value:?} and not a number from 3"),
            RoleError::Channel { number, errno } => {
                write!(f, "{CHANNEL} is {number}, which is not an inherited channel: {errno}")
            }
            RoleError::Serialization { value } => {
                write!(f, "{SERIALIZATION} is {value:?} and neither \"json\" nor \"advanced\"")
            }
        }?;
        write!(f, "; unset {ID} and {CHANNEL} to start a primary, or let a primary start this program")
    }
}

impl error::Error for RoleError {}
