//! A new process between `fork` and `exec`: descriptors, signals and user. The code here neither allocates
//! nor locks, because another thread of the primary may hold the lock at the `fork`.

use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::{fs, io, process};

use cluster_core::SpawnOptions;
use nix::libc;
use nix::unistd::{self, Gid, Uid};

use super::stdio::{Layout, Pipes};
use super::{descriptor_limit, group, parent_death, signals};

/// The kernel's directory of the descriptors of the calling process.
const DESCRIPTORS: &str = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };

/// Gives a program exactly the descriptors of the layout, and the user and the signals of the command.
pub(super) fn prepare(
    program: &mut process::Command,
    command: &SpawnOptions,
    layout: Layout,
) -> io::Result<Pipes> {
    let others = Others::find()?;
    // Before the layout: the descriptors of the layout become inheritable again.
    before_exec(program, move || others.close_on_exec());
    let pipes = layout.give(program)?;
    let group = command.process_group.unwrap_or_default();
    let ignores_signals = command.ignore_terminal_signals.unwrap_or_default();
    before_exec(program, move || {
        group::enter(group)?;
        signals::restore_child_signal()?;
        if ignores_signals { signals::ignore_in_child() } else { Ok(()) }
    });
    if let Some(former) = descriptor_limit::former() {
        before_exec(program, move || descriptor_limit::restore(former));
    }
    let user = User::new(command);
    before_exec(program, move || user.assume());
    if let Some(signal) = command.parent_death_signal {
        let (signal, primary) = (parent_death::check(signal)?, process::id());
        before_exec(program, move || parent_death::ask(signal, primary));
    }
    Ok(pipes)
}

pub(super) fn before_exec(
    program: &mut process::Command,
    act: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    #[expect(unsafe_code, reason = "there is no safe way to act between `fork` and `exec`")]
    // SAFETY: every caller passes system calls on values from before the `fork`, without allocation and
    // locks.
    unsafe {
        program.pre_exec(act);
    }
}

/// Descriptors to keep from the program: opened without close-on-exec by some part of the primary, or by the
/// program before the primary.
enum Others {
    /// A single call marks all descriptors.
    All,
    /// The descriptors open just before the `fork`, for Linux before 5.11 and for other systems.
    Listed(Vec<RawFd>),
}

impl Others {
    fn find() -> io::Result<Self> {
        // An empty range, to find out whether the kernel has the call.
        if close_range_on_exec(libc::c_uint::MAX).is_ok() {
            return Ok(Others::All);
        }
        Others::listed()
    }

    fn listed() -> io::Result<Self> {
        let entries = fs::read_dir(DESCRIPTORS)?.filter_map(Result::ok);
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Ok(Others::Listed(numbers.filter(|number| *number > libc::STDERR_FILENO).collect()))
    }

    fn close_on_exec(&self) -> io::Result<()> {
        match self {
            Others::All => close_range_on_exec(3),
            Others::Listed(numbers) => {
                for number in numbers {
                    #[expect(unsafe_code, reason = "a descriptor that is inherited has no owner here")]
                    // SAFETY: F_SETFD touches no memory. EBADF, after a close by another thread, is no
                    // failure.
                    unsafe {
                        libc::fcntl(*number, libc::F_SETFD, libc::FD_CLOEXEC);
                    }
                }
                Ok(())
            }
        }
    }
}

/// Marks every descriptor from `first` on.
#[cfg(target_os = "linux")]
fn close_range_on_exec(first: libc::c_uint) -> io::Result<()> {
    #[expect(unsafe_code, reason = "the crates only close descriptors by it, which is unsafe")]
    // SAFETY: with CLOSE_RANGE_CLOEXEC the call closes nothing and touches no memory.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(not(target_os = "linux"))]
fn close_range_on_exec(_: libc::c_uint) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The user and the groups for the program.
struct User {
    uid: Option<u32>,
    gid: Option<u32>,
    groups: Option<Vec<Gid>>,
}

impl User {
    fn new(command: &SpawnOptions) -> Self {
        let groups = command.groups.as_deref();
        let groups = groups.map(|groups| groups.iter().copied().map(Gid::from_raw).collect());
        User { uid: command.uid, gid: command.gid, groups }
    }

    /// Changes the user, after the change of the directory and in the order of libuv: supplementary groups,
    /// group, user. If a user or a group is given without supplementary groups, the primary's groups are
    /// dropped where permitted.
    fn assume(&self) -> io::Result<()> {
        if let Some(groups) = &self.groups {
            set_groups(groups)?;
        } else if self.uid.is_some() || self.gid.is_some() {
            // Only root may drop groups: after a refusal (EPERM) the groups of the user are kept, as in
            // libuv.
            let _ = set_groups(&[]);
        }
        if let Some(gid) = self.gid {
            unistd::setgid(Gid::from_raw(gid))?;
        }
        if let Some(uid) = self.uid {
            unistd::setuid(Uid::from_raw(uid))?;
        }
        Ok(())
    }
}

#[cfg(not(target_vendor = "apple"))]
fn set_groups(groups: &[Gid]) -> io::Result<()> {
    Ok(unistd::setgroups(groups)?)
}

/// The call of libc: on Apple systems nix lacks `setgroups`.
#[cfg(target_vendor = "apple")]
fn set_groups(groups: &[Gid]) -> io::Result<()> {
    let count = libc::c_int::try_from(groups.len()).map_err(|_| nix::errno::Errno::EINVAL)?;
    #[expect(unsafe_code, reason = "no crate has the call on Apple systems")]
    // SAFETY: a `Gid` is a `gid_t`, and the call only reads as many as there are.
    let result = unsafe { libc::setgroups(count, groups.as_ptr().cast()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsRawFd;

    /// Whether a program inherits a descriptor opened without close-on-exec by this process.
    fn is_inherited(others: impl FnOnce() -> Others) -> bool {
        let leaked = unistd::dup(File::open("/dev/null").expect("a file")).expect("a duplicate");
        let mut program = process::Command::new("readlink");
        program.arg(format!("/proc/self/fd/{}", leaked.as_raw_fd()));
        let others = others();
        before_exec(&mut program, move || others.close_on_exec());
        program.output().expect("a program").status.success()
    }

    /// The list has every descriptor except the standard streams, which the program inherits.
    #[test]
    fn list_leaves_the_standard_streams_out() {
        let open = File::open("/dev/null").expect("a file");
        let Ok(Others::Listed(numbers)) = Others::listed() else { unreachable!("there is /proc") };
        assert!(numbers.contains(&open.as_raw_fd()), "{numbers:?}");
        assert!(numbers.iter().all(|number| *number > 2), "{numbers:?}");
    }

    /// Tested with and without the call of the kernel.
    #[test]
    fn others_are_not_inherited() {
        let _alone = crate::unix::signals::tests::CHILDREN.lock().expect("no test panicked");
        assert!(is_inherited(|| Others::Listed(Vec::new())));
        assert!(!is_inherited(|| Others::find().expect("a way")));
        assert!(!is_inherited(|| Others::listed().expect("a list")));
    }
}
