//! The primary as the peer of a worker: the channel, the outstanding replies, the sockets sent with messages,
//! and the queue of steps. `worker` reacts to messages.

use super::Step;
use super::load_reports::LoadReports;
use crate::channel::{Channel, Outgoing, Queue};
use crate::event::ListenerId;
use crate::message::{ChannelMessage, ClusterMessage, Reply, Request, SocketCount, Supervision};
use crate::os::{Call, ChannelId, SocketId};
use crate::passing::{CountedHandles, InFlightHandles, OutgoingHandle};
use crate::pending::Pending;
use crate::send::{SendError, Sent};
use crate::user_message::Message;

/// What an outstanding reply of the primary answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum PendingReply {
    Listen(ListenerId),
    ExitedAfterDisconnect,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    pub(super) channel: Channel,
    pub(super) steps: Queue<Step>,
    pending: Pending<PendingReply>,
    in_flight: InFlightHandles,
    pub(super) counted: CountedHandles,
    pub(super) load_reports: LoadReports,
}

impl Peer {
    pub(super) fn new(channel: Channel) -> Self {
        Peer {
            channel,
            steps: Queue::new(),
            pending: Pending::new(),
            in_flight: InFlightHandles::default(),
            counted: CountedHandles::default(),
            load_reports: LoadReports::default(),
        }
    }

    /// Continues the numbers of messages after `last`.
    #[cfg(feature = "testing")]
    pub(super) fn count_after(&mut self, last: u64) {
        self.pending.count_after(last);
    }

    pub(super) fn send(&mut self, message: ChannelMessage, receipt: Option<SocketId>) {
        self.channel.send(Outgoing::from(message).with_receipt(receipt), &mut self.steps);
    }

    pub(super) fn request(&mut self, request: Request) -> u64 {
        let seq = self.pending.next_seq();
        self.send(ClusterMessage { seq, reply: None, request: Some(request) }.into(), None);
        seq
    }

    pub(super) fn reply(&mut self, reply: Reply, receipt: Option<SocketId>) {
        let seq = self.pending.next_seq();
        self.send(ClusterMessage { seq, reply: Some(reply), request: None }.into(), receipt);
    }

    pub(super) fn expect(&mut self, seq: u64, reply: PendingReply) {
        self.pending.expect(seq, ChannelId::PRIMARY, reply);
    }

    pub(super) fn take_pending(&mut self, seq: u64) -> Option<PendingReply> {
        self.pending.take(seq, ChannelId::PRIMARY)
    }

    /// Reports the exit to the primary. The answer permits the worker to disconnect.
    pub(super) fn report_exit(&mut self) {
        let seq = self.request(Request::ExitedAfterDisconnect);
        self.expect(seq, PendingReply::ExitedAfterDisconnect);
    }

    /// Called when the timer of a report has fired. If messages wait for room in the channel, the report
    /// follows them, so that no two reports wait.
    pub(super) fn report_load(&mut self, open: u64) {
        if let Some(connections) = self.load_reports.fired(open, self.channel.is_drained()) {
            self.send(ChannelMessage::Supervision(Supervision::Load { connections }), None);
        }
    }

    pub(super) fn decline(&mut self, seq: u64, connection: SocketId) {
        self.reply(Reply { ack: seq, accepted: Some(false), ..Reply::default() }, None);
        self.steps.call(Call::Close { socket: connection });
    }

    /// Closes the channel when the queue is sent.
    pub(super) fn disconnect(&mut self) {
        self.channel.disconnect(&mut self.steps);
    }

    pub(super) fn close_socket(&mut self, socket: Option<SocketId>) {
        if let Some(socket) = socket {
            self.steps.call(Call::Close { socket });
        }
    }

    // ---- messages of the program

    pub(super) fn post(
        &mut self,
        message: Message,
        passing: Option<OutgoingHandle>,
    ) -> Result<Sent, SendError> {
        self.channel.post(message, passing, &mut self.in_flight, &mut self.steps)
    }

    pub(super) fn asked(&mut self, question: SocketCount) {
        if let Some(answer) = self.counted.answer(ChannelId::PRIMARY, question) {
            self.send(ChannelMessage::SocketCount(answer), None);
        }
    }

    /// Ends the sender's count of a socket.
    pub(super) fn uncount(&mut self, socket: SocketId) {
        if let Some((_, key)) = self.counted.release(socket) {
            self.send(ChannelMessage::SocketCount(SocketCount::AllClosed(key)), None);
        }
    }

    /// Called when a copy of a socket sent by the program is no longer in flight. Returns true if the socket
    /// is now closed.
    pub(super) fn end_flight(&mut self, socket: SocketId) -> bool {
        let closes = self.in_flight.end(socket);
        if closes {
            self.steps.call(Call::Close { socket });
        }
        closes
    }
}
