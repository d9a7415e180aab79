//! The talking half of the primary: a user's messages, and the sockets that travel with them.
//! What the cluster itself says is elsewhere.

use super::{Primary, Step};
use crate::channel::Outgoing;
use crate::event::{Event, Output, WorkerError};
use crate::message::{ChannelMessage, Envelope, SocketCount};
use crate::os::{Call, SocketId, WorkerId};
use crate::passing::{IncomingHandle, OutgoingHandle};
use crate::payload::Message;
use crate::send::{SendError, Sent};

impl Primary {
    /// Sends a message to a worker. Node: `worker.send(message)`.
    ///
    /// # Errors
    ///
    /// [`SendError`] if there is no such worker, its channel is closed or full, or the message would be taken for one
    /// of Node's own.
    pub fn send(&mut self, worker: WorkerId, message: impl Into<Message>) -> Result<Sent, SendError> {
        self.post(worker, &message.into(), None)
    }

    /// Sends a message and a socket to a worker. Node: `worker.send(message, handle, options)`.
    ///
    /// What the worker refuses is sent again, three times if it is more than a bare socket; then
    /// [`WorkerError::NotReceived`] is told. What it has not acknowledged when it ends is lost, as in Node, and closed.
    ///
    /// # Errors
    ///
    /// As [`Primary::send`], or the socket was given away before. The socket is still the caller's then.
    pub fn send_with(
        &mut self,
        worker: WorkerId,
        message: impl Into<Message>,
        passing: OutgoingHandle,
    ) -> Result<Sent, SendError> {
        self.post(worker, &message.into(), Some(passing))
    }

    /// How many messages to a worker that were accepted has the operating system not taken whole? The wish that it disconnects
    /// is one. `None`: some were lost, or nothing is known of the worker.
    pub fn unwritten(&self, worker: WorkerId) -> Option<u64> {
        self.workers.get(&worker)?.channel.unwritten()
    }

    fn post(
        &mut self,
        worker: WorkerId,
        message: &Message,
        passing: Option<OutgoingHandle>,
    ) -> Result<Sent, SendError> {
        let member = self.workers.get_mut(&worker).ok_or(SendError::Closed)?;
        if member.info.dead && passing.is_some() {
            // Whoever keeps its end of the channel open gets no sockets in its place.
            return Err(SendError::Closed);
        }
        let entry = self.steps.enter_command();
        let (in_flight, steps) = (&mut self.in_flight, &mut self.steps);
        let sent = crate::send::send_message(&mut member.channel, message, passing, in_flight, steps);
        self.steps.leave(entry);
        sent
    }

    /// The program is done with a socket that came with a message, and has closed it. A Node sender may wait for it.
    pub fn release(&mut self, socket: SocketId) {
        let entry = self.steps.enter_command();
        self.uncount(socket);
        self.steps.leave(entry);
    }

    /// The sender of a socket no longer counts the socket.
    fn uncount(&mut self, socket: SocketId) {
        if let Some((peer, key)) = self.counted.release(socket) {
            self.answer(WorkerId(peer.0), SocketCount::AllClosed(key));
        }
    }

    /// A message has come with a socket. Its sender may count it.
    pub(super) fn arrived(
        &mut self,
        worker: WorkerId,
        envelope: Envelope,
        socket: SocketId,
    ) -> Option<Output<Event>> {
        let Envelope { message, kind, key } = envelope;
        let ChannelMessage::User(message) = message else {
            // Nothing the cluster itself sends a primary carries a socket.
            self.steps.push(Step::Call(Call::Close { socket }));
            return self.received(worker, message);
        };
        if let Some(key) = key {
            self.counted.add(socket, worker.into(), key);
        }
        let handle = Some(IncomingHandle { socket, kind });
        Some(Output::Event(Event::Message { worker, message, handle }))
    }

    pub(super) fn asked(&mut self, worker: WorkerId, question: SocketCount) {
        if let Some(answer) = self.counted.answer(worker.into(), question) {
            self.answer(worker, answer);
        }
    }

    fn answer(&mut self, worker: WorkerId, answer: SocketCount) {
        if let Some(member) = self.workers.get_mut(&worker)
            && member.channel.is_connected()
        {
            member.channel.send(Outgoing::from(ChannelMessage::SocketCount(answer)), &mut self.steps);
        }
    }

    /// One copy of a socket that the program has passed is no longer on its way.
    pub(super) fn settled(&mut self, socket: SocketId) {
        if self.in_flight.settle(socket) {
            self.steps.push(Step::Call(Call::Close { socket }));
            self.uncount(socket);
        }
    }

    /// A worker has refused a socket of the program's too often.
    pub(super) fn not_received(&mut self, worker: WorkerId, socket: SocketId) {
        self.error(worker, WorkerError::NotReceived);
        self.settled(socket);
    }
}
