//! The steps of a channel in the queue of its owner, and the reports of a channel to its owner.

use alloc::boxed::Box;

use serde::{Deserialize, Serialize};

use super::outgoing::Outgoing;
use crate::message::{ChannelMessage, Envelope, Frame};
use crate::os::{Call, ChannelId, Errno, SocketId};
use crate::steps::{IsCall, Steps};
use crate::violation::Violation;

/// Pending work of a machine with channels.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum MachineStep<T> {
    Call(Call),
    Channel(ChannelId, ChannelStep),
    /// Work of the machine itself.
    Own(T),
}

/// The queue of a machine with channels.
pub(crate) type Queue<T> = Steps<MachineStep<T>>;

/// Pending work of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum ChannelStep {
    /// Write the next frame.
    Write,
    /// Handle a received frame.
    Frame(Frame, Option<SocketId>),
    /// Deliver the message inside an envelope, one tick after the acknowledgement.
    Deliver(Box<Envelope>, SocketId),
    /// Report to the owner.
    Report(ChannelEvent),
}

/// The report of a channel to its owner.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum ChannelEvent {
    Call(Call),
    Received(ChannelMessage),
    /// A message with a socket.
    Arrived(Box<Envelope>, SocketId),
    /// The peer has not received the descriptor of this message, and never will.
    Refused(Box<Outgoing>),
    /// The last byte of the frame with this receipt is written.
    Written(SocketId),
    /// A copy of a socket sent by the program is no longer in flight.
    FlightEnded(SocketId),
    /// The peer violated the protocol.
    Violated(Violation),
    /// Some of the program's messages were accepted, but will never be written completely: the error, and the
    /// number of messages.
    Lost(Errno, u64),
    /// A write has failed. It is retried, or the message returns to the owner. Reported once until such a
    /// write succeeds.
    Failing(Errno),
    /// The owner calls [`Channel::writable`](super::Channel::writable) after a pause.
    Retry,
    /// Nothing can be written from now on; earlier bytes of the peer can still be read.
    Broken,
    /// The channel is closed. Node: the tick of `'disconnect'`.
    Closed,
}

impl ChannelStep {
    /// The socket that is in flight until this step runs.
    pub(crate) fn ends_flight(&self) -> Option<SocketId> {
        match self {
            ChannelStep::Report(ChannelEvent::FlightEnded(socket)) => Some(*socket),
            ChannelStep::Report(ChannelEvent::Refused(outgoing)) => outgoing.passes(),
            ChannelStep::Write
            | ChannelStep::Frame(..)
            | ChannelStep::Deliver(..)
            | ChannelStep::Report(_) => None,
        }
    }
}

impl<T: IsCall> IsCall for MachineStep<T> {
    fn is_call(&self) -> bool {
        match self {
            MachineStep::Call(_) | MachineStep::Channel(_, ChannelStep::Write) => true,
            MachineStep::Channel(..) => false,
            MachineStep::Own(step) => step.is_call(),
        }
    }
}

impl<T> Queue<T> {
    pub(crate) fn call(&mut self, call: Call) {
        self.push(MachineStep::Call(call));
    }

    /// Adds a step of the machine itself.
    pub(crate) fn own(&mut self, step: T) {
        self.push(MachineStep::Own(step));
    }

    /// Adds a step of the machine itself for the next tick.
    pub(crate) fn own_tick(&mut self, step: T) {
        self.tick(MachineStep::Own(step));
    }

    pub(super) fn write(&mut self, channel: ChannelId) {
        self.push(MachineStep::Channel(channel, ChannelStep::Write));
    }

    /// Adds a write in a tick after the ticks queued so far.
    pub(super) fn write_tick(&mut self, channel: ChannelId) {
        self.tick(MachineStep::Channel(channel, ChannelStep::Write));
    }

    pub(super) fn report(&mut self, channel: ChannelId, event: ChannelEvent) {
        self.push(MachineStep::Channel(channel, ChannelStep::Report(event)));
    }

    pub(super) fn report_tick(&mut self, channel: ChannelId, event: ChannelEvent) {
        self.tick(MachineStep::Channel(channel, ChannelStep::Report(event)));
    }
}
