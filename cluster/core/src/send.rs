//! Sending of a user's message, shared by the primary and the worker.

use core::fmt;

use crate::channel::{Channel, ChannelStep, Outgoing};
use crate::message::ChannelMessage;
use crate::message::advanced::NoJson;
use crate::os::ChannelId;
use crate::passing::{InFlightHandles, IncomingHandle, OutgoingHandle};
use crate::payload::Message;
use crate::steps::Steps;

/// A message was accepted. Node: the return value of `send()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sent {
    /// The channel has room. Node: `true`.
    Buffered,
    /// The message will be written, but the peer reads slowly or is slow to acknowledge a socket: send less. Node:
    /// `false`.
    Congested,
}

/// The reason why a message was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SendError {
    /// The channel is closed or closing, or can no longer be written to. Node: `ERR_IPC_CHANNEL_CLOSED`.
    Closed,
    /// [`Limits::unsent_bytes`](crate::settings::Limits::unsent_bytes) are waiting for a peer that does not read.
    Full,
    /// An object with a `cmd` that begins with `NODE_`: the peer would take the message for an internal one and deliver
    /// nothing.
    Reserved,
    /// The message is longer than [`Limits::message_bytes`](crate::settings::Limits::message_bytes), so a peer with
    /// the same limits would reject it.
    TooLong,
    /// The message is a structured clone without a JSON form (a big integer, or an object inside itself), and the
    /// channel is written in JSON. Node: `JSON.stringify` throws.
    NoJson,
    /// The socket was sent to a peer before, without `keep_open`. Node sends the message alone.
    HandleAlreadySent,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::Closed => "the channel is closed; check `is_connected` before sending",
            SendError::Full => {
                "the peer reads its channel too slowly, or not at all; wait for room with `send_when_room`, or disconnect it"
            },
            SendError::Reserved => "`cmd` must not begin with NODE_: such messages are Node's own",
            SendError::TooLong => {
                "the message is longer than a peer reads; send it in parts, or raise `message_bytes`"
            }
            SendError::NoJson => {
                "the message holds a big integer or an object inside itself, which JSON cannot say; \
                 send it on a channel of `Serialization::Advanced`"
            }
            SendError::HandleAlreadySent => "the socket was given away before; pass it with `keep_open` to pass it again",
        })
    }
}

impl core::error::Error for SendError {}

impl From<NoJson> for SendError {
    fn from(error: NoJson) -> Self {
        match error {
            NoJson::TooLong => SendError::TooLong,
            NoJson::BigInt | NoJson::Cycle | NoJson::Nothing | NoJson::Malformed => SendError::NoJson,
        }
    }
}

pub(crate) fn send_message<S: From<(ChannelId, ChannelStep)>>(
    channel: &mut Channel,
    message: &Message,
    passing: Option<OutgoingHandle>,
    in_flight: &mut InFlightHandles,
    steps: &mut Steps<S>,
) -> Result<Sent, SendError> {
    if !channel.is_connected() || channel.is_broken() {
        return Err(SendError::Closed);
    }
    if message.is_reserved() {
        return Err(SendError::Reserved);
    }
    if channel.is_full() {
        return Err(SendError::Full);
    }
    if passing.is_some_and(|passing| in_flight.is_given(passing.socket)) {
        return Err(SendError::HandleAlreadySent);
    }
    let handle = passing.map(|OutgoingHandle { socket, kind, .. }| IncomingHandle { socket, kind });
    let message = channel.written(message)?;
    let line = channel.to_frame(Outgoing::from(ChannelMessage::User(message)).with(handle));
    if channel.is_too_long(&line) {
        return Err(SendError::TooLong);
    }
    if let Some(passing) = passing {
        in_flight.depart(passing);
    }
    channel.send_frame(line, steps);
    Ok(if channel.is_congested() { Sent::Congested } else { Sent::Buffered })
}
