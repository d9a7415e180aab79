//! Sending a user's message, the same in the primary and in a worker.

use core::fmt;

use serde_json::Value;

use crate::channel::{Channel, ChannelStep, Outgoing};
use crate::message::{self, Message};
use crate::os::ChannelId;
use crate::passing::{Passed, Passing};
use crate::steps::Steps;

/// A message is on its way. Node: what `send()` returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sent {
    /// It will be written soon. Node: `true`.
    Buffered,
    /// It will be written, but the peer reads slowly: send less. Node: `false`.
    Congested,
}

/// Why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SendError {
    /// The channel is closed, or closing. Node: `ERR_IPC_CHANNEL_CLOSED`.
    Closed,
    /// [`Limits::unsent_bytes`](crate::settings::Limits::unsent_bytes) are waiting for a peer that does not read.
    Full,
    /// An object whose `cmd` begins with `NODE_`: the peer would take it for one of Node's own and never deliver it.
    Reserved,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::Closed => "the channel is closed; check `is_connected` before sending",
            SendError::Full => "the peer does not read its channel; wait, or disconnect it",
            SendError::Reserved => "`cmd` must not begin with NODE_: such messages are Node's own",
        })
    }
}

impl core::error::Error for SendError {}

pub(crate) fn user<S: From<(ChannelId, ChannelStep)>>(
    channel: &mut Channel,
    message: &Value,
    passing: Option<Passing>,
    steps: &mut Steps<S>,
) -> Result<Sent, SendError> {
    if !channel.is_connected() {
        return Err(SendError::Closed);
    }
    if message::is_reserved(message) {
        return Err(SendError::Reserved);
    }
    if channel.is_full() {
        return Err(SendError::Full);
    }
    let handle = passing.map(|Passing { socket, kind, .. }| Passed { socket, kind });
    channel.send(Outgoing { message: Message::User(message.clone()), handle, receipt: None }, steps);
    Ok(if channel.is_congested() { Sent::Congested } else { Sent::Buffered })
}
