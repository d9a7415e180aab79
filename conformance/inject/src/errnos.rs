//! The errors of each system call with a cause in the environment, from section 2 of the manual.
//!
//! Left out: errors of the arguments (EBADF, EFAULT, EINVAL, ENOTSOCK), caused only by a defect of the
//! caller, and EAGAIN of a transfer. The kernel reports EAGAIN only when nothing can be transferred, and
//! edge-triggered reactors rely on the absence of bytes: an invented EAGAIN stops the program under any
//! implementation.

#[allow(clippy::enum_glob_use, reason = "a table of the names of errors")]
use nix::errno::Errno::{self, *};
use nix::libc;
use syscalls::Sysno;

/// The kind of file of a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    UnixSocket,
    /// An `eventfd`: never full here, and non-blocking.
    Event,
    Other,
}

/// Whether a call with the given arguments can fail with the error. `target` is the kind of the first
/// argument.
pub(crate) fn can_fail(call: Sysno, args: [u64; 3], errno: Errno, target: impl Fn() -> Target) -> bool {
    let impossible = match call {
        Sysno::recvfrom => Some(Target::UnixSocket),
        Sysno::sendto if NOT_OF_PAIRS.contains(&errno) => Some(Target::UnixSocket),
        Sysno::read | Sysno::write => Some(Target::Event),
        _ => None,
    };
    of(call, args).contains(&errno) && impossible.is_none_or(|impossible| target() != impossible)
}

/// Errors caused by the peer or by a sent descriptor. A Unix socket without descriptors to carry belongs to a
/// pair inside one process: the runtime's pair for signals, or std's pair for the report of a spawn. No other
/// process is the peer of the pair, and the kernel neither allocates nor waits to receive from the pair.
const NOT_OF_PAIRS: [Errno; 3] = [ECONNRESET, EPIPE, ETOOMANYREFS];

fn of(call: Sysno, args: [u64; 3]) -> &'static [Errno] {
    let [first, second, third] = args;
    match call {
        // Standard output and standard error are pipes of this command, not of the library.
        Sysno::write | Sysno::writev if first == 1 || first == 2 => &[],
        // Without a new limit the call only reads.
        Sysno::prlimit64 if third == 0 => &[],
        Sysno::fcntl if !DUPLICATES.contains(&second) => &[],
        // With WNOHANG the call never waits.
        Sysno::wait4 if third & libc::WNOHANG as u64 != 0 => &[ECHILD],
        Sysno::futex if !WAITS.contains(&(second & FUTEX_OPERATION)) => &[],
        _ => listed(call),
    }
}

const DUPLICATES: [u64; 2] = [libc::F_DUPFD as u64, libc::F_DUPFD_CLOEXEC as u64];
const WAITS: [u64; 2] = [libc::FUTEX_WAIT as u64, libc::FUTEX_WAIT_BITSET as u64];
const FUTEX_OPERATION: u64 = 0x7f;

/// The errors of a call with any arguments.
pub(crate) fn listed(call: Sysno) -> &'static [Errno] {
    let row = TABLE.iter().find(|(calls, _)| calls.contains(&call));
    row.map_or(&[], |(_, errors)| errors)
}

type Errors = (&'static [Sysno], &'static [Errno]);

const TABLE: &[Errors] = &[
    // Calls that make, change or close descriptors.
    (
        &[Sysno::accept4],
        &[
            ECONNABORTED,
            EINTR,
            EMFILE,
            ENFILE,
            ENOBUFS,
            ENOMEM,
            EPROTO,
            EPERM,
            ENETDOWN,
            ENOPROTOOPT,
            EHOSTDOWN,
            ENONET,
            EHOSTUNREACH,
            EOPNOTSUPP,
            ENETUNREACH,
        ],
    ),
    (&[Sysno::socket], &[EMFILE, ENFILE, ENOBUFS, ENOMEM, EACCES, EAFNOSUPPORT]),
    (&[Sysno::socketpair, Sysno::epoll_create1], &[EMFILE, ENFILE, ENOMEM]),
    (&[Sysno::pipe, Sysno::pipe2], &[EMFILE, ENFILE]),
    (&[Sysno::bind], &[EADDRINUSE, EACCES, EADDRNOTAVAIL, ENOMEM, ENOENT, EROFS]),
    (&[Sysno::listen], &[EADDRINUSE]),
    (&[Sysno::connect], &[ECONNREFUSED, EINTR, ETIMEDOUT]),
    (&[Sysno::getsockname], &[ENOBUFS]),
    (&[Sysno::getpeername], &[ENOBUFS, ENOTCONN]),
    (&[Sysno::getsockopt], &[ENOPROTOOPT]),
    (&[Sysno::setsockopt], &[ENOPROTOOPT, ENOMEM]),
    (&[Sysno::shutdown], &[ENOTCONN]),
    (&[Sysno::epoll_ctl], &[ENOMEM, ENOSPC]),
    (&[Sysno::epoll_wait, Sysno::epoll_pwait], &[EINTR]),
    (&[Sysno::eventfd2], &[EMFILE, ENFILE, ENODEV, ENOMEM]),
    (&[Sysno::dup, Sysno::fcntl], &[EMFILE]),
    (&[Sysno::dup2, Sysno::dup3], &[EBUSY, EINTR, EMFILE]),
    (&[Sysno::close], &[EINTR, EIO, ENOSPC]),
    (&[Sysno::close_range], &[EMFILE, ENOMEM, ENOSYS]),
    (&[Sysno::pidfd_open], &[EMFILE, ENFILE, ENODEV, ENOMEM, ENOSYS]),
    (&[Sysno::poll, Sysno::ppoll], &[EINTR, ENOMEM]),
    // Calls that transfer bytes.
    (&[Sysno::read, Sysno::readv, Sysno::pread64], &[EINTR, EIO]),
    (&[Sysno::write, Sysno::writev], &[EINTR, EIO, EPIPE, ENOSPC]),
    (&[Sysno::recvmsg, Sysno::recvfrom], &[ECONNRESET, EINTR, ENOMEM]),
    (&[Sysno::sendmsg, Sysno::sendto], &[ECONNRESET, EINTR, ENOBUFS, ENOMEM, EPIPE, ETOOMANYREFS]),
    (&[Sysno::ioctl], &[ENOTTY]),
    // Calls on paths.
    (&[Sysno::open, Sysno::openat], &[EACCES, EINTR, EMFILE, ENFILE, ENOENT, ENOMEM]),
    (&[Sysno::access, Sysno::faccessat2, Sysno::readlink, Sysno::readlinkat], &[EACCES, EIO, ENOENT, ENOMEM]),
    (&[Sysno::stat, Sysno::lstat, Sysno::newfstatat, Sysno::statx, Sysno::getcwd], &[EACCES, ENOENT, ENOMEM]),
    (&[Sysno::unlink, Sysno::unlinkat], &[EACCES, EBUSY, EIO, ENOENT, EPERM, EROFS]),
    (&[Sysno::rename, Sysno::renameat, Sysno::renameat2], &[EACCES, EIO, ENOENT, ENOSPC, EROFS]),
    (&[Sysno::link, Sysno::linkat], &[EACCES, EEXIST, EIO, ENOSPC, EPERM, EROFS]),
    (&[Sysno::chmod, Sysno::fchmod, Sysno::fchmodat], &[EIO, EPERM, EROFS]),
    (&[Sysno::mkdir, Sysno::mkdirat], &[EACCES, EEXIST, ENOSPC, EROFS]),
    (&[Sysno::flock], &[EINTR, ENOLCK]),
    (&[Sysno::getdents64], &[ENOENT]),
    // Calls about processes, signals and memory.
    (&[Sysno::clone, Sysno::clone3, Sysno::fork, Sysno::vfork], &[EAGAIN, ENOMEM]),
    (
        &[Sysno::execve],
        &[E2BIG, EACCES, EAGAIN, EIO, ELOOP, EMFILE, ENFILE, ENOENT, ENOEXEC, ENOMEM, EPERM, ETXTBSY],
    ),
    (&[Sysno::wait4, Sysno::waitid], &[ECHILD, EINTR]),
    (&[Sysno::kill, Sysno::tgkill, Sysno::pidfd_send_signal], &[EPERM, ESRCH]),
    (&[Sysno::setpgid], &[EACCES, EPERM, ESRCH]),
    (&[Sysno::prctl, Sysno::prlimit64], &[EPERM]),
    (&[Sysno::futex], &[EAGAIN, EINTR]),
    (&[Sysno::getrandom], &[EINTR, ENOSYS]),
    (&[Sysno::mmap], &[ENFILE, ENOMEM, EPERM]),
    (&[Sysno::mprotect], &[EACCES, ENOMEM]),
    (&[Sysno::fstat, Sysno::sigaltstack, Sysno::munmap, Sysno::mremap], &[ENOMEM]),
    (&[Sysno::madvise], &[EAGAIN, ENOMEM]),
];
