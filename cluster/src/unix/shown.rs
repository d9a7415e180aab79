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
