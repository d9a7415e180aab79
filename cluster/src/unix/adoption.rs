//! Descriptors inherited by number.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// Takes ownership of an inherited descriptor, once, and sets close-on-exec.
///
/// # Errors
/// EBADF: the number is closed, or the program has opened or adopted the descriptor.
pub(crate) fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    adopt_checked(number, |_| Ok(()))
}

/// As [`adopt`], unless the check of the descriptor fails.
pub(super) fn adopt_checked(
    number: RawFd,
    check: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
) -> io::Result<OwnedFd> {
    if opened_here(number)? {
        return Err(Errno::EBADF.into());
    }
    #[expect(unsafe_code, reason = "a descriptor is inherited as a number")]
    // SAFETY: the descriptor is open (`opened_here` has read the flags), and nothing in the process owns the
    // descriptor.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    check(descriptor)?;
    rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC)?;
    #[expect(unsafe_code, reason = "a descriptor is inherited as a number")]
    // SAFETY: as above. The descriptor is close-on-exec now, so `opened_here` rejects a second call.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Whether this program has opened the descriptor. An inherited descriptor is not close-on-exec; a descriptor
/// opened by Rust's library is.
fn opened_here(number: RawFd) -> io::Result<bool> {
    #[expect(unsafe_code, reason = "no safe call checks whether a number is a descriptor")]
    // SAFETY: F_GETFD touches no memory and returns EBADF for a closed number.
    let flags = unsafe { nix::libc::fcntl(number, nix::libc::F_GETFD) };
    if flags < 0 { Err(io::Error::last_os_error()) } else { Ok(flags & nix::libc::FD_CLOEXEC != 0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsRawFd;

    /// A descriptor without close-on-exec was inherited; a closed descriptor is an error.
    #[test]
    fn opened_descriptor_is_not_inherited() {
        let opened = File::open("/dev/null").expect("a file");
        let inherited = nix::unistd::dup(&opened).expect("a duplicate");
        assert!(opened_here(opened.as_raw_fd()).expect("an open number"));
        assert!(!opened_here(inherited.as_raw_fd()).expect("an open number"));
        let closed = opened_here(1_000_000).map_err(|error| error.raw_os_error());
        assert_eq!(closed.err(), Some(Some(Errno::EBADF as i32)));
    }
}
