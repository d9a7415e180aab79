//! How a crossing of the seam looks in a log: a channel's bytes as text. It changes nothing.

use std::fmt;

use cluster_core::{Call, OsEvent};

/// A call or an event, for a person.
pub(super) struct Shown<'a, T>(pub(super) &'a T);

impl fmt::Display for Shown<'_, Call> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Call::Write { channel, bytes, socket } = self.0 {
            return write!(f, "Write {} {} {socket:?}", channel.0, String::from_utf8_lossy(bytes).trim_end());
        }
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Display for Shown<'_, OsEvent> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let OsEvent::Read { channel, bytes, socket } = self.0 {
            return write!(f, "Read {} {} {socket:?}", channel.0, String::from_utf8_lossy(bytes).trim_end());
        }
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_core::{ChannelId, SocketId};

    #[test]
    fn a_message_is_shown_as_text() {
        let (channel, socket) = (ChannelId(3), Some(SocketId(7)));
        let read = OsEvent::Read { channel, bytes: b"{\"a\":1}\n".to_vec(), socket };
        assert_eq!(Shown(&read).to_string(), r#"Read 3 {"a":1} Some(SocketId(7))"#);
        let write = Call::Write { channel, bytes: vec![0xff, b'\n'], socket: None };
        assert_eq!(Shown(&write).to_string(), "Write 3 \u{fffd} None");
        assert_eq!(Shown(&Call::Exit { code: 1 }).to_string(), "Exit { code: 1 }");
    }
}
