//! How the errors of this crate are shown: as those of the machines. It makes none.

cluster_core::debug_as_display!(
    crate::JoinError,
    crate::ListenError,
    crate::NoRuntime,
    crate::NotSent,
    crate::PrimaryError,
    crate::RemoteError,
    crate::RoleError,
);

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::io;

    use crate::{Errno, ForkError, JoinError, ListenError, NoRuntime, NotSent, PrimaryError};
    use crate::{RemoteError, RoleError, SendError, Socket};

    fn broken() -> RoleError {
        RoleError::Channel { number: 3, errno: Errno::ENOTSOCK }
    }

    fn io() -> io::Error {
        io::Error::from_raw_os_error(Errno::ENOENT.0)
    }

    /// Each error that holds another leads to it, and shows of it nothing itself; unwrapped, it shows all.
    #[test]
    fn errors_show_their_sources_once() {
        let (socket, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let errors: [Box<dyn Error>; 10] = [
            Box::new(PrimaryError::Role(broken())),
            Box::new(PrimaryError::Runtime(NoRuntime)),
            Box::new(JoinError::Role(broken())),
            Box::new(JoinError::Runtime(NoRuntime)),
            Box::new(RemoteError::Fork(ForkError::NoChannel)),
            Box::new(RemoteError::Send(SendError::Closed)),
            Box::new(NotSent { error: SendError::Full, socket: Socket::from(socket) }),
            Box::new(ListenError::Resolve(io())),
            Box::new(ListenError::Directory(io())),
            Box::new(ListenError::Socket(io())),
        ];
        for error in errors {
            let source = error.source().expect("it holds another");
            let (own, held) = (error.to_string(), source.to_string());
            assert!(!own.contains(&held), "{own}: {held}");
            assert_eq!(format!("{error:?}"), format!("{own}: {held}"));
        }
    }
}
