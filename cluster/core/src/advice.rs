//! Texts for error numbers: the meaning of the number, and what a user can do, depending on the operation
//! that failed. No decision depends on these texts.

use core::fmt;

use crate::os::Errno;

/// The name and meaning of an error number: "EACCES (permission denied)".
#[derive(Clone, Copy)]
pub(crate) struct Reason(pub(crate) Errno);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match meaning(self.0) {
            Some(meaning) => write!(f, "{} ({meaning})", self.0),
            None => self.0.fmt(f),
        }
    }
}

/// The operation that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The start of a program.
    Spawn,
    /// The change of a new process into its directory.
    Directory,
    /// Binding a descriptor.
    Bind,
    /// Binding an address of TCP or UDP.
    BindAddress,
    /// Binding an address in a zone.
    BindZone,
    /// Binding a multicast address for TCP.
    BindMulticast,
    /// Binding a path.
    BindPath,
    /// A signal to a worker.
    Kill,
    /// A write to a channel.
    Write,
}

/// The end of a sentence: what to do about this error of this operation.
pub(crate) struct Advice(pub(crate) Failed, pub(crate) Errno);

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advice = match self.0 {
            Failed::Spawn => spawn(self.1),
            Failed::Directory => Some(directory(self.1)),
            Failed::BindAddress if self.1 == Errno::EINVAL => {
                Some("a link-local IPv6 address needs its zone, as in `fe80::1%2`")
            }
            Failed::BindZone if self.1 == Errno::EINVAL => {
                Some("the zone must be the name or the number of a network interface of this machine")
            }
            Failed::BindMulticast if matches!(self.1, Errno::EINVAL | Errno::EADDRNOTAVAIL) => Some(
                "TCP has no multicast; choose an address of an interface of this machine, or every address",
            ),
            Failed::Bind | Failed::BindMulticast | Failed::BindAddress | Failed::BindZone => bind(self.1),
            Failed::BindPath => bind_path(self.1),
            Failed::Kill => kill(self.1),
            Failed::Write => write(self.1),
        };
        match advice {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

fn meaning(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::EPERM => "not permitted",
        Errno::ENOENT => "no such file or directory",
        Errno::ESRCH => "no such process",
        Errno::EIO => "input or output failed",
        Errno::E2BIG => "arguments and environment are too long",
        Errno::ENOEXEC => "not an executable format",
        Errno::EBADF => "no such descriptor",
        Errno::ECHILD => "no such child process",
        Errno::EAGAIN => "a limit was reached for now",
        Errno::ENOMEM => "no memory is left",
        Errno::EACCES => "permission denied",
        Errno::EFAULT => "a bad address",
        Errno::EBUSY => "busy",
        Errno::EEXIST => "the file exists",
        Errno::ENXIO => "no such device or address",
        Errno::ENODEV => "no such device",
        Errno::ENOTTY => "not supported by this descriptor",
        Errno::ENOSYS => "the kernel lacks the call, or a filter forbids it",
        Errno::EOVERFLOW => "a value is too large",
        Errno::ENOTDIR => "a part of the path is not a directory",
        Errno::EISDIR => "a directory",
        Errno::EINVAL => "an invalid argument",
        Errno::ENFILE => "the system has too many open files",
        Errno::EMFILE => "this process has too many open files",
        Errno::ETXTBSY => "the file is open for writing",
        Errno::ENOSPC => "no space is left",
        Errno::EROFS => "the file system is read-only",
        Errno::EPIPE => "the other end is closed",
        Errno::ENAMETOOLONG => "the path is too long",
        Errno::ELOOP => "too many symbolic links",
        Errno::ENOTSOCK => "not a socket",
        Errno::EPROTO => "a protocol error",
        Errno::EDESTADDRREQ => "no destination",
        Errno::EMSGSIZE => "the message is too long",
        Errno::EPROTOTYPE => "the protocol does not fit the kind of socket",
        Errno::ENOPROTOOPT => "the protocol lacks the option",
        Errno::ESOCKTNOSUPPORT => "the kind of socket is not supported",
        Errno::ENETDOWN => "the network is down",
        Errno::EHOSTDOWN => "the host is down",
        Errno::EHOSTUNREACH => "no route leads to the host",
        Errno::EALREADY => "already in progress",
        Errno::ESTALE => "the file handle is stale",
        Errno::EDQUOT => "the disk quota is used up",
        Errno::EPROTONOSUPPORT => "the protocol is not supported",
        Errno::EOPNOTSUPP => "not supported by this socket",
        Errno::EAFNOSUPPORT => "the kind of address is not supported",
        Errno::EADDRINUSE => "the address is in use",
        Errno::EADDRNOTAVAIL => "this machine does not have the address",
        Errno::ENETUNREACH => "the network is unreachable",
        Errno::ECONNABORTED => "the connection was aborted",
        Errno::ECONNRESET => "the other end has reset the connection",
        Errno::ENOBUFS => "no buffer space is left",
        Errno::EISCONN => "already connected",
        Errno::ENOTCONN => "not connected",
        Errno::ESHUTDOWN => "the socket is shut down",
        Errno::ETOOMANYREFS => "too many descriptors are in flight",
        Errno::ETIMEDOUT => "timed out",
        Errno::ECONNREFUSED => "the connection was refused",
        _ => return None,
    })
}

fn spawn(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::ENOENT | Errno::ENOTDIR => {
            "check the path of the program, or `PATH` if it has no slash, and the interpreter that a script names"
        }
        Errno::EACCES => {
            "make the program executable for the user of the worker, in a directory that may be searched"
        }
        Errno::EPERM => "only root may take another user, group or groups; check `uid`, `gid` and `groups`",
        Errno::E2BIG => "shorten `args` or the environment; variables of the primary are inherited",
        Errno::EAGAIN => {
            "raise the limit on processes (RLIMIT_NPROC, or pids.max of the control group), or start fewer"
        }
        Errno::ENOMEM => "free memory, or start fewer workers",
        Errno::EMFILE => "raise the limit on open files (RLIMIT_NOFILE) of the primary",
        Errno::ENFILE => "raise the limit on open files of the system (fs.file-max)",
        Errno::EBADF => "`stdio` names a descriptor that the primary does not have open",
        Errno::EINVAL => {
            "check `uid`, `gid` and `groups`, and that no argument, variable or path contains a NUL byte"
        }
        Errno::ENOSYS => "let the sandbox of the primary permit `fork`, `execve` and `close_range`",
        Errno::EISDIR => "name a program, not a directory",
        Errno::ESTALE => "check the file system that holds the program",
        Errno::ENOEXEC | Errno::EIO => {
            "check that the program is built for this machine, or begins with `#!`"
        }
        Errno::ETXTBSY => "the program is still being written; replace it by a rename, and fork again",
        Errno::ELOOP | Errno::ENAMETOOLONG => "check the path of the program",
        _ => return None,
    })
}

fn directory(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR => "create the directory, or change `cwd`",
        Errno::EACCES => "let the user of the primary search the directory, or change `cwd`",
        _ => "change `cwd`",
    }
}

fn bind(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::EADDRINUSE => "stop what listens there, or choose another address",
        Errno::EADDRNOTAVAIL => "choose an address of an interface of this machine, or every address",
        Errno::EACCES => "a port below 1024 needs root or CAP_NET_BIND_SERVICE",
        Errno::EAFNOSUPPORT | Errno::EPROTONOSUPPORT | Errno::ESOCKTNOSUPPORT | Errno::EPROTOTYPE => {
            "choose an address of the kind that this system has (IPv4, IPv6)"
        }
        Errno::EMFILE => {
            "raise the limit on open files (RLIMIT_NOFILE), or `sockets_per_worker` of the primary's limits"
        }
        Errno::ENFILE => "raise the limit on open files of the system (fs.file-max)",
        Errno::EBADF | Errno::ENOTSOCK | Errno::EINVAL | Errno::EOPNOTSUPP => {
            "a descriptor must be a socket of the primary that can be served this way"
        }
        Errno::ENOMEM | Errno::ENOBUFS => "free memory",
        Errno::ENODEV | Errno::ENXIO => {
            "the zone must be the name or the number of a network interface of this machine"
        }
        Errno::ENETDOWN => "start the network interface of the address",
        Errno::EPERM | Errno::ENOSYS => {
            "let the sandbox or the security policy of the primary permit the address"
        }
        Errno::ENOPROTOOPT => {
            "this system lacks an option of the listener, such as `ipv6_only` or `reuse_port`"
        }
        Errno::ENOTCONN => "the worker is disconnecting, or its channel is closed",
        _ => return None,
    })
}

fn bind_path(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::EADDRINUSE => "stop what listens there, or remove the file if its process was killed",
        Errno::EACCES | Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EROFS => {
            "the directory of the path must exist, and the primary must be allowed to write in it"
        }
        Errno::EINVAL | Errno::ENAMETOOLONG => {
            "the last part of a path may have about 100 bytes, and no NUL byte"
        }
        Errno::EDQUOT | Errno::ENOSPC => "free space, or inodes, in the file system of the path",
        Errno::EIO | Errno::ESTALE | Errno::ENODEV | Errno::ENXIO => "check the file system of the path",
        Errno::EPERM => "choose a directory in a file system that has Unix sockets",
        _ => return bind(errno),
    })
}

fn kill(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::EINVAL => "no signal has this number",
        Errno::EPERM => {
            "the worker runs as another user: end its process as that user, or run this process as root"
        }
        _ => return None,
    })
}

fn write(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::EPIPE | Errno::ECONNRESET => "its process has exited or has closed the channel",
        Errno::ETOOMANYREFS => {
            "the user has too many descriptors in flight (RLIMIT_NOFILE), in this or another process"
        }
        Errno::ENOMEM | Errno::ENOBUFS => "free memory",
        Errno::EMFILE | Errno::ENFILE => "raise the limit on open files",
        _ => return None,
    })
}
