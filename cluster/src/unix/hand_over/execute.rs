//! `execve`: another program in the same process, with the same arguments and variables.

use std::convert::Infallible;
use std::env;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;

use super::super::spawn::HANDED_OVER;
use super::super::{executable, parent_death};
use super::descriptors::Inheritable;
use super::{HeldSignals, Inherited, Part};

/// The file of the running program, even after the file at the path was replaced.
const RUNNING: &str = "/proc/self/exe";

/// An anonymous file with the bytes.
#[cfg(target_os = "linux")]
pub(super) fn memory_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::memfd_create("cluster-state", flags)?);
    file.write_all(bytes)?;
    Ok(file.into())
}

/// Only Linux has a file of the running program, needed for the return of a failed upgrade.
#[cfg(not(target_os = "linux"))]
pub(super) fn memory_file(_: &[u8]) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A prepared `execve`.
#[derive(Debug)]
pub(crate) struct Execution {
    path: CString,
    line: ProgramLine,
    /// The state and the old program's file, kept open. `numbers` has all inherited descriptors.
    _state: OwnedFd,
    _former: OwnedFd,
    numbers: Vec<RawFd>,
}

impl Execution {
    /// Prepares to execute the file at the path of the running program. The new program reads `state`, and
    /// inherits the descriptors.
    pub(crate) fn new(state: &[u8], descriptors: &[RawFd]) -> io::Result<Self> {
        let path = CString::new(executable::path()?.as_os_str().as_bytes())?;
        let state = memory_file(state)?;
        let former = OwnedFd::from(File::open(RUNNING)?);
        let (number, part) = (state.as_raw_fd(), Part::New { former: former.as_raw_fd() });
        let numbers = descriptors.iter().copied().chain([number, former.as_raw_fd()]).collect();
        let line = ProgramLine::new(&Inherited { state: number, part }, env::args_os().collect())?;
        Ok(Execution { path, line, _state: state, _former: former, numbers })
    }

    /// Whether no worker would receive the parent-death signal. The kernel sends the signal at the end of the
    /// thread that has forked the worker. `execve` ends every thread except the caller, and makes the caller
    /// the main thread.
    pub(crate) fn keeps_workers() -> bool {
        !parent_death::has_thread()
    }

    /// Executes the program. A failed call changes nothing.
    pub(crate) fn execute(&self, signals: &HeldSignals) -> io::Result<Infallible> {
        let _inheritable = Inheritable::new(&self.numbers)?;
        signals.block()?;
        let ProgramLine { arguments, variables } = &self.line;
        Ok(nix::unistd::execve(&self.path, arguments, variables)?)
    }
}

/// Executes the old program again, because the new program has failed. The descriptors must be inheritable.
pub(crate) fn execute_former(
    former: RawFd,
    inherited: &Inherited,
    arguments: Vec<OsString>,
) -> io::Result<Infallible> {
    let ProgramLine { arguments, variables } = ProgramLine::new(inherited, arguments)?;
    #[expect(unsafe_code, reason = "a descriptor is inherited as a number")]
    // SAFETY: the old program has opened the descriptor for the new program, and nothing closes the
    // descriptor before the resumption.
    let former = unsafe { BorrowedFd::borrow_raw(former) };
    // The old program does not need the descriptor. `execve` closes the descriptor after the start.
    rustix::io::fcntl_setfd(former, rustix::io::FdFlags::CLOEXEC)?;
    execute_file(former, &arguments, &variables)
}

#[cfg(target_os = "linux")]
fn execute_file(
    file: BorrowedFd<'_>,
    arguments: &[CString],
    variables: &[CString],
) -> io::Result<Infallible> {
    Ok(nix::unistd::fexecve(file, arguments, variables)?)
}

#[cfg(not(target_os = "linux"))]
fn execute_file(_: BorrowedFd<'_>, _: &[CString], _: &[CString]) -> io::Result<Infallible> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The arguments of a program, and the environment of the process with the variable of the hand-over.
#[derive(Debug)]
struct ProgramLine {
    arguments: Vec<CString>,
    variables: Vec<CString>,
}

impl ProgramLine {
    fn new(inherited: &Inherited, arguments: Vec<OsString>) -> io::Result<Self> {
        let arguments = arguments.into_iter().map(|argument| CString::new(argument.into_vec()));
        let own = env::vars_os().filter(|(name, _)| name != HANDED_OVER);
        let own = own.map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            CString::new(name.into_vec())
        });
        let variable = CString::new(format!("{HANDED_OVER}={inherited}"));
        Ok(ProgramLine {
            arguments: arguments.collect::<Result<_, _>>()?,
            variables: own.chain([variable]).collect::<Result<_, _>>()?,
        })
    }
}
