//! Sending a user's message, the same in the primary and in a worker.

use core::fmt;

use serde_json::Value;

use crate::channel::{Channel, ChannelStep, Outgoing};
use crate::message::{self, Message};
use crate::os::ChannelId;
use crate::passing::{Passed, Passing, Travelling};
use crate::steps::Steps;

/// A message is on its way. Node: what `send()` returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sent {
    /// It will be written soon. Node: `true`.
    Buffered,
    /// It will be written, but the peer reads slowly, or is slow to acknowledge a socket: send less. Node: `false`.
    Congested,
}

/// How deeply a message may be nested: a peer reads one level more, and the envelope of a socket is one.
const DEPTH: usize = 126;

/// Why a message was not sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum SendError {
    /// The channel is closed, or closing, or the peer can no longer be written to. Node: `ERR_IPC_CHANNEL_CLOSED`.
    Closed,
    /// [`Limits::unsent_bytes`](crate::settings::Limits::unsent_bytes) are waiting for a peer that does not read.
    Full,
    /// An object whose `cmd` begins with `NODE_`: the peer would take it for one of Node's own and never deliver it.
    Reserved,
    /// It is nested more than 126 levels deep. Node sends as deep a message as its stack bears.
    TooDeep,
    /// It is longer than [`Limits::message_bytes`](crate::settings::Limits::message_bytes), which a peer that has the
    /// same limits does not read.
    TooLong,
    /// The socket is on its way to a peer, and not to be kept open: it can go nowhere else. Node sends the message alone.
    Given,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::Closed => "the channel is closed; check `is_connected` before sending",
            SendError::Full => "the peer does not read its channel; wait, or disconnect it",
            SendError::Reserved => "`cmd` must not begin with NODE_: such messages are Node's own",
            SendError::TooDeep => {
                "the message is nested too deeply for its peer; send it flatter, or as text"
            }
            SendError::TooLong => {
                "the message is longer than a peer reads; send it in parts, or raise `message_bytes`"
            }
            SendError::Given => "the socket was given away before; pass it with `keep_open` to pass it again",
        })
    }
}

impl core::error::Error for SendError {}

pub(crate) fn user<S: From<(ChannelId, ChannelStep)>>(
    channel: &mut Channel,
    message: &Value,
    passing: Option<Passing>,
    travelling: &mut Travelling,
    steps: &mut Steps<S>,
) -> Result<Sent, SendError> {
    if !channel.is_connected() || channel.is_broken() {
        return Err(SendError::Closed);
    }
    if message::is_reserved(message) {
        return Err(SendError::Reserved);
    }
    if is_deeper(message, DEPTH) {
        return Err(SendError::TooDeep);
    }
    if channel.is_full() {
        return Err(SendError::Full);
    }
    if passing.is_some_and(|passing| travelling.is_given(passing.socket)) {
        return Err(SendError::Given);
    }
    let handle = passing.map(|Passing { socket, kind, .. }| Passed { socket, kind });
    let line = channel.line(Outgoing::from(Message::User(message.clone())).with(handle));
    if channel.is_too_long(&line) {
        return Err(SendError::TooLong);
    }
    if let Some(passing) = passing {
        travelling.depart(passing);
    }
    channel.send_line(line, steps);
    Ok(if channel.is_congested() { Sent::Congested } else { Sent::Buffered })
}

fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(values) => levels == 0 || values.iter().any(|value| is_deeper(value, levels - 1)),
        Value::Object(fields) => levels == 0 || fields.values().any(|value| is_deeper(value, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_level_too_many_is_seen_in_whatever_it_is() {
        let wraps: [fn(Value) -> Value; 2] = [|value| json!([value]), |value| json!({ "in": value })];
        for wrap in wraps {
            let nested = |levels| (0..levels).fold(json!(1), |value, _| wrap(value));
            for levels in 0..4 {
                assert!(!is_deeper(&nested(levels), levels), "{levels}");
                assert!(is_deeper(&nested(levels + 1), levels), "{levels}");
            }
            // The deep one is not the last.
            let among_others = json!([1, nested(4), 2]);
            assert!(!is_deeper(&among_others, 5) && is_deeper(&among_others, 4));
        }
    }
}
