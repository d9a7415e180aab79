//! The limit on open descriptors: raised for the primary, restored for workers, with a reserve that no
//! connection may use.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use cluster_core::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit before [`raise_descriptor_limit`].
static FORMER: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit on open descriptors of this process to the hard limit. A later worker gets the
/// former soft limit, because `select` fails with descriptors above 1023. Node.js raises the limit by itself.
///
/// # Errors
/// The operating system refuses the new limit; the old limit remains.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let former = getrlimit(Resource::Nofile);
    if former.current == former.maximum {
        return Ok(());
    }
    setrlimit(Resource::Nofile, Rlimit { current: former.maximum, maximum: former.maximum })?;
    keep_former(former);
    Ok(())
}

/// Sets the limit for new processes, after a hand-over: the earlier program of this process may have raised
/// the limit.
pub(super) fn keep_former(former: Rlimit) {
    // An error means that this program has raised the limit before.
    let _ = FORMER.set(former);
}

/// The limit for a new process. `None`: the process inherits the limit of this process.
pub(super) fn former() -> Option<Rlimit> {
    FORMER.get().copied()
}

/// Sets the limit of a new process. Neither allocates nor locks.
pub(super) fn restore(former: Rlimit) -> io::Result<()> {
    Ok(setrlimit(Resource::Nofile, former)?)
}

/// The share of the descriptors in the reserve: a half, up to [`MOST`].
const SHARE: u64 = 2;

/// The most descriptors in the reserve.
const MOST: u64 = 128;

/// The last descriptors of this process. No accepted connection uses the reserve, so channels, new workers
/// and the program's own connections find free descriptors even if clients fill the rest.
#[derive(Debug)]
pub(super) struct Reserve {
    /// The first number in the reserve. `None`: the process has no limit.
    first: Option<u64>,
    /// Whether the last accepted connection has a number in the reserve. While true, every accept is checked
    /// first.
    is_reached: bool,
}

impl Reserve {
    pub(super) fn new() -> Self {
        let limit = getrlimit(Resource::Nofile).current;
        Reserve { first: limit.map(|limit| limit - (limit / SHARE).min(MOST)), is_reached: false }
    }

    /// EMFILE if the next descriptor would be in the reserve. Makes no system call until a connection has
    /// reached the reserve.
    pub(super) fn check(&self, any: BorrowedFd<'_>) -> io::Result<()> {
        if !self.is_reached {
            return Ok(());
        }
        // The kernel assigns the lowest free number, so the copy has the next number.
        let next = rustix::io::fcntl_dupfd_cloexec(any, 0)?;
        if self.contains(&next) { Err(Errno::EMFILE.into()) } else { Ok(()) }
    }

    /// Records an accepted connection.
    pub(super) fn accepted(&mut self, connection: &OwnedFd) {
        self.is_reached = self.contains(connection);
    }

    fn contains(&self, descriptor: &OwnedFd) -> bool {
        let number = u64::try_from(descriptor.as_raw_fd()).unwrap_or(0);
        self.first.is_some_and(|first| number >= first)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn reserve_is_checked_once_reached() {
        let file = OwnedFd::from(File::open("/dev/null").expect("a file"));
        let number = u64::try_from(file.as_raw_fd()).expect("a number");
        for (first, is_free) in [(Some(0), false), (Some(number + 10_000), true), (None, true)] {
            let mut reserve = Reserve { first, is_reached: false };
            assert!(reserve.check(file.as_fd()).is_ok());
            reserve.accepted(&file);
            assert_eq!(reserve.check(file.as_fd()).is_ok(), is_free, "{first:?}");
        }
    }
}
