//! Descriptors across `execve`: the numbers remain, and a descriptor without close-on-exec is inherited.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::Command;

use nix::libc;

use super::super::adoption::adopt;
use super::super::child::before_exec;
use super::super::descriptor;

/// Descriptors without close-on-exec. The drop, after a failed `execve`, sets close-on-exec again.
#[derive(Debug)]
pub(super) struct Inheritable<'a>(&'a [RawFd]);

impl<'a> Inheritable<'a> {
    /// Clears close-on-exec of the descriptors.
    pub(super) fn new(numbers: &'a [RawFd]) -> io::Result<Self> {
        let inheritable = Inheritable(numbers);
        for number in numbers {
            set_flags(*number, 0)?;
        }
        Ok(inheritable)
    }
}

impl Drop for Inheritable<'_> {
    fn drop(&mut self) {
        for number in self.0 {
            // EBADF: the number was wrong, and `new` has reported the error.
            let _ = set_flags(*number, libc::FD_CLOEXEC);
        }
    }
}

/// Lets a child inherit descriptors under the same numbers. In this process the descriptors stay
/// close-on-exec.
pub(super) fn make_inheritable(program: &mut Command, numbers: [RawFd; 2]) {
    before_exec(program, move || numbers.iter().try_for_each(|number| set_flags(*number, 0)));
}

/// Sets the flags of a descriptor. Neither allocates nor locks.
fn set_flags(number: RawFd, flags: libc::c_int) -> io::Result<()> {
    #[expect(unsafe_code, reason = "the numbers have owners in several rooms")]
    // SAFETY: F_SETFD touches no memory, and returns EBADF for a closed number.
    let result = unsafe { libc::fcntl(number, libc::F_SETFD, flags) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Copies of inherited descriptors, kept until the new program has resumed.
#[derive(Debug, Default)]
pub(crate) struct Copies(Vec<(RawFd, OwnedFd)>);

impl Copies {
    pub(crate) fn of(numbers: &[RawFd]) -> io::Result<Self> {
        let copy = |number: &RawFd| Ok((*number, descriptor::duplicate(number.cast_unsigned())?));
        Ok(Copies(numbers.iter().map(copy).collect::<io::Result<_>>()?))
    }

    /// Makes every descriptor inheritable under the former number again. Call right before `execve`.
    pub(crate) fn put_back(&self) -> io::Result<()> {
        for (number, copy) in &self.0 {
            #[expect(unsafe_code, reason = "the owner of the number does not return from `execve`")]
            // SAFETY: the call touches no memory. The caller executes a program next, or exits.
            let result = unsafe { libc::dup2(copy.as_raw_fd(), *number) };
            if result < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }

    /// Closes the inherited descriptors not adopted by the program.
    pub(crate) fn close_unadopted(self) {
        for (number, _) in self.0 {
            // EBADF: the program has adopted the descriptor.
            drop(adopt(number));
        }
    }
}
