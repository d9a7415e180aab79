//! Users' messages between the primary and its workers, and the sockets sent with them.

use super::Primary;
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
    /// [`SendError`] if there is no such worker, its channel is closed or full, or the message looks like an internal
    /// one of Node.
    pub fn send(&mut self, worker: WorkerId, message: impl Into<Message>) -> Result<Sent, SendError> {
        self.post(worker, &message.into(), None)
    }

    /// Sends a message and a socket to a worker. Node: `worker.send(message, handle, options)`.
    ///
    /// A rejected message is sent again, three times unless the socket is bare; then [`WorkerError::NotReceived`] is
    /// emitted. A socket that is unacknowledged when the worker exits is lost, as in Node, and closed.
    ///
    /// # Errors
    ///
    /// As [`Primary::send`], or the socket was sent before. The caller keeps the socket.
    pub fn send_with(
        &mut self,
        worker: WorkerId,
        message: impl Into<Message>,
        passing: OutgoingHandle,
    ) -> Result<Sent, SendError> {
        self.post(worker, &message.into(), Some(passing))
    }

    /// The number of accepted messages to a worker that the operating system has not accepted completely, the request
    /// to disconnect included. `None`: messages were lost, or the worker is unknown.
    pub fn unwritten(&self, worker: WorkerId) -> Option<u64> {
        self.workers.get(&worker)?.channel.unwritten()
    }

    fn post(
        &mut self,
        worker: WorkerId,
        message: &Message,
        passing: Option<OutgoingHandle>,
    ) -> Result<Sent, SendError> {
        let was_forked = self.counters.has_forked(worker);
        let absent = if was_forked { SendError::Closed } else { SendError::UnknownWorker };
        let entry = self.workers.get_mut(&worker).ok_or(absent)?;
        if entry.info.dead && passing.is_some() {
            // Another process may hold the channel open, and gets no sockets in the worker's place.
            return Err(SendError::Closed);
        }
        let scope = self.steps.enter_command();
        let sent = entry.channel.post(message, passing, &mut self.in_flight, &mut self.steps);
        self.steps.leave(scope);
        sent
    }

    /// The program has closed a socket that was received with a message. A Node sender may wait for the report.
    pub fn release(&mut self, socket: SocketId) {
        let scope = self.steps.enter_command();
        self.uncount(socket);
        self.steps.leave(scope);
    }

    /// The sender of a socket stops counting the socket.
    fn uncount(&mut self, socket: SocketId) {
        if let Some((peer, key)) = self.counted.release(socket) {
            self.answer(WorkerId(peer.0), SocketCount::AllClosed(key));
        }
    }

    /// A message has arrived with a socket, which the sender may count.
    pub(super) fn arrived(
        &mut self,
        worker: WorkerId,
        envelope: Envelope,
        socket: SocketId,
    ) -> Option<Output<Event>> {
        let Envelope { message, kind, key } = envelope;
        let ChannelMessage::User(message) = message else {
            // No internal message to a primary has a socket.
            self.steps.call(Call::Close { socket });
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
        if let Some(entry) = self.workers.get_mut(&worker) {
            entry.channel.send(Outgoing::from(ChannelMessage::SocketCount(answer)), &mut self.steps);
        }
    }

    /// One copy of a socket that the program has sent is no longer in flight.
    pub(super) fn settled(&mut self, socket: SocketId) {
        if self.in_flight.settle(socket) {
            self.steps.call(Call::Close { socket });
            self.uncount(socket);
        }
    }

    /// A worker has rejected a socket of the program too often.
    pub(super) fn not_received(&mut self, worker: WorkerId, socket: SocketId) {
        self.error(worker, WorkerError::NotReceived);
        self.settled(socket);
    }
}
