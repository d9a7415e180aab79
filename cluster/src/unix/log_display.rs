//! The texts of calls and events in the log: in full, or without possible secrets, as in the bodies of
//! messages and the values of variables.

use std::fmt;

use cluster_core::{BindAddress, Call, Errno, Escaped, ListenAddress, ListenError, OsEvent};

/// A call or an event without possible secrets.
pub(super) struct Redacted<'a, T>(pub(super) &'a T);

impl fmt::Display for Redacted<'_, Call> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Call::Write { channel, bytes, socket } => {
                write!(f, "Write {} {} bytes {socket:?}", channel.0, bytes.len())
            }
            Call::Spawn { worker, options, env } => {
                let names: Vec<_> = env.iter().map(|(name, _)| name).collect();
                let arguments = options.exec_argv.as_deref().unwrap_or_default().len()
                    + options.args.as_deref().unwrap_or_default().len();
                let program =
                    options.exec.as_ref().map_or_else(|| "this program".into(), ToString::to_string);
                write!(f, "Spawn {worker} {program:?} with {arguments} arguments and the variables {names:?}")
            }
            Call::Kill { .. }
            | Call::PauseRead { .. }
            | Call::ResumeRead { .. }
            | Call::CloseChannel { .. }
            | Call::Bind { .. }
            | Call::Listen { .. }
            | Call::PauseAccept { .. }
            | Call::ResumeAccept { .. }
            | Call::Choose { .. }
            | Call::Close { .. }
            | Call::SetTimer { .. }
            | Call::Exit { .. } => write!(f, "{:?}", self.0),
        }
    }
}

impl fmt::Display for Redacted<'_, OsEvent> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            OsEvent::Read { channel, bytes, socket } => {
                write!(f, "Read {} {} bytes {socket:?}", channel.0, bytes.len())
            }
            OsEvent::Wrote { channel, rest } => write!(f, "Wrote {} {} bytes left", channel.0, rest.len()),
            OsEvent::Spawned { .. }
            | OsEvent::SpawnFailed { .. }
            | OsEvent::KillFailed { .. }
            | OsEvent::Exited { .. }
            | OsEvent::Lingers { .. }
            | OsEvent::Writable { .. }
            | OsEvent::WriteFailed { .. }
            | OsEvent::ChannelClosed { .. }
            | OsEvent::Bound { .. }
            | OsEvent::BindFailed { .. }
            | OsEvent::Listening { .. }
            | OsEvent::ListenFailed { .. }
            | OsEvent::Accepted { .. }
            | OsEvent::Chosen { .. }
            | OsEvent::AcceptFailed { .. }
            | OsEvent::Timer { .. } => write!(f, "{:?}", self.0),
        }
    }
}

/// The error of a bind for a worker, with the remedy.
pub(super) fn refused(address: &BindAddress, errno: Errno) -> ListenError {
    let address = match address.clone() {
        BindAddress::Tcp { host, port, ipv6_only, .. } => ListenAddress::Tcp { host, port, ipv6_only },
        BindAddress::Path { path, readable_all, writable_all } => {
            ListenAddress::Path { path, readable_all, writable_all }
        }
        BindAddress::Udp { host, port, ipv6_only, reuse_address, .. } => ListenAddress::Udp {
            v6: host.is_ipv6(),
            host: Some(host),
            port: Some(port),
            ipv6_only,
            reuse_address,
        },
        BindAddress::Zoned { host, zone, port, datagrams, ipv6_only, .. } => {
            ListenAddress::Zoned { host, zone, port, udp: datagrams, ipv6_only }
        }
        BindAddress::Descriptor { fd, datagrams } => ListenAddress::Descriptor { fd, udp: datagrams },
    };
    ListenError { errno, address, exclusive: false }
}

/// A call or an event in full, with the bytes of a channel as text.
pub(super) struct LogDisplay<'a, T>(pub(super) &'a T);

impl fmt::Display for LogDisplay<'_, Call> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Call::Write { channel, bytes, socket } = self.0 {
            return write!(
                f,
                "Write {} {} {socket:?}",
                channel.0,
                Escaped(String::from_utf8_lossy(bytes).trim_end())
            );
        }
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Display for LogDisplay<'_, OsEvent> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let OsEvent::Read { channel, bytes, socket } = self.0 {
            return write!(
                f,
                "Read {} {} {socket:?}",
                channel.0,
                Escaped(String::from_utf8_lossy(bytes).trim_end())
            );
        }
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_core::{ChannelId, SocketId, SpawnOptions, WorkerId};

    #[test]
    fn message_is_shown_as_text() {
        let (channel, socket) = (ChannelId(3), Some(SocketId(7)));
        let read = OsEvent::Read { channel, bytes: b"{\"a\":1}\n".to_vec(), socket };
        assert_eq!(LogDisplay(&read).to_string(), r#"Read 3 {"a":1} Some(SocketId(7))"#);
        let write = Call::Write { channel, bytes: vec![0xff, b'\n'], socket: None };
        assert_eq!(LogDisplay(&write).to_string(), "Write 3 \u{fffd} None");
        assert_eq!(LogDisplay(&Call::Exit { code: 1 }).to_string(), "Exit { code: 1 }");
        let hostile = OsEvent::Read { channel, bytes: "\u{1b}[2J\u{202e}\na\n".into(), socket: None };
        assert_eq!(LogDisplay(&hostile).to_string(), r"Read 3 \u{1b}[2J\u{202e}\na None");
    }

    /// Sizes and names are shown; bodies of messages, arguments and values of variables are not.
    #[test]
    fn redacted_text_has_no_secrets() {
        let channel = ChannelId(3);
        let secret = || b"secret".to_vec();
        let read = OsEvent::Read { channel, bytes: secret(), socket: None };
        assert_eq!(Redacted(&read).to_string(), "Read 3 6 bytes None");
        let wrote = OsEvent::Wrote { channel, rest: secret() };
        assert_eq!(Redacted(&wrote).to_string(), "Wrote 3 6 bytes left");
        let closed = OsEvent::ChannelClosed { channel };
        assert_eq!(Redacted(&closed).to_string(), format!("{closed:?}"));
        let sent = Call::Write { channel, bytes: secret(), socket: Some(SocketId(7)) };
        assert_eq!(Redacted(&sent).to_string(), "Write 3 6 bytes Some(SocketId(7))");
        assert_eq!(Redacted(&Call::Exit { code: 1 }).to_string(), "Exit { code: 1 }");
        let options = SpawnOptions::new().exec("program").exec_argv(["a"]).args(["secret", "b"]);
        let spawn = Call::Spawn { worker: WorkerId(5), options, env: vec![("NAME".into(), "secret".into())] };
        let text = Redacted(&spawn).to_string();
        assert!(text.contains("program") && text.contains("3 arguments") && text.contains("NAME"), "{text}");
        assert!(!text.contains("secret"), "{text}");
        assert_eq!(LogDisplay(&closed).to_string(), format!("{closed:?}"));
    }
}
