//! Error numbers and signals of the operating system, by name.

use core::fmt;

use serde::{Deserialize, Serialize};

macro_rules! names {
    ($(#[$doc:meta])* $type:ident, $($name:ident $linux:literal $macos:literal),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $type(pub i32);

        impl $type {
            $(#[allow(missing_docs, reason = "the name is the documentation")]
            pub const $name: $type = $type(if cfg!(target_os = "macos") { $macos } else { $linux });)+

            /// The name in C; `None` for a number that this crate does not list.
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $($type::$name => Some(stringify!($name)),)+
                    _ => None,
                }
            }

            /// The value of a name in C.
            pub fn from_name(name: &str) -> Option<$type> {
                match name {
                    $(stringify!($name) => Some($type::$name),)+
                    _ => None,
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{} {}", stringify!($type), self.0),
                }
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

impl Errno {
    /// Whether a failed write with this error has broken the channel: no write succeeds afterwards. With a
    /// descriptor, EBADF and ENOTSOCK are errors of the descriptor.
    pub fn breaks_channel(self, with_socket: bool) -> bool {
        match self {
            Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN | Errno::ESHUTDOWN => true,
            Errno::EBADF | Errno::ENOTSOCK => !with_socket,
            _ => false,
        }
    }
}

names! {
    /// An error number of the operating system, positive. Node writes the negative number on the wire.
    Errno,
    // The errors that the manual pages of the calls of `Os` name. The first number is that of Linux, the
    // second that of Apple systems.
    EPERM 1 1, ENOENT 2 2, ESRCH 3 3, EINTR 4 4, EIO 5 5, E2BIG 7 7, ENOEXEC 8 8, EBADF 9 9, ECHILD 10 10,
    EAGAIN 11 35, ENOMEM 12 12, EACCES 13 13, EFAULT 14 14, EBUSY 16 16, EEXIST 17 17, ENOTDIR 20 20, EISDIR 21 21,
    EINVAL 22 22, ENFILE 23 23, EMFILE 24 24, ETXTBSY 26 26, ENOSPC 28 28, EROFS 30 30, EPIPE 32 32,
    ENXIO 6 6, ENODEV 19 19, ENOTTY 25 25, EOVERFLOW 75 84, ENOSYS 38 78, EPROTOTYPE 91 41, ENOPROTOOPT 92 42,
    ESOCKTNOSUPPORT 94 44, ENETDOWN 100 50, EHOSTDOWN 112 64, EHOSTUNREACH 113 65, EALREADY 114 37, ESTALE 116 70,
    EDQUOT 122 69,
    ENAMETOOLONG 36 63, ELOOP 40 62, ENOTSOCK 88 38, EPROTO 71 100, EDESTADDRREQ 89 39, EMSGSIZE 90 40,
    EPROTONOSUPPORT 93 43, EOPNOTSUPP 95 102, EAFNOSUPPORT 97 47, EADDRINUSE 98 48, EADDRNOTAVAIL 99 49,
    ENETUNREACH 101 51, ECONNABORTED 103 53, ECONNRESET 104 54, ENOBUFS 105 55, EISCONN 106 56, ENOTCONN 107 57,
    ESHUTDOWN 108 58, ETOOMANYREFS 109 59, ETIMEDOUT 110 60, ECONNREFUSED 111 61,
}

names! {
    /// A signal of the operating system.
    Signal,
    SIGHUP 1 1, SIGINT 2 2, SIGQUIT 3 3, SIGILL 4 4, SIGTRAP 5 5, SIGABRT 6 6, SIGBUS 7 10, SIGFPE 8 8,
    SIGKILL 9 9, SIGUSR1 10 30, SIGSEGV 11 11, SIGUSR2 12 31, SIGPIPE 13 13, SIGALRM 14 14, SIGTERM 15 15,
    SIGCHLD 17 20, SIGCONT 18 19, SIGSTOP 19 17, SIGTSTP 20 18, SIGTTIN 21 21, SIGTTOU 22 22,
    SIGXCPU 24 24, SIGXFSZ 25 25, SIGVTALRM 26 26, SIGPROF 27 27, SIGSYS 31 12,
}
