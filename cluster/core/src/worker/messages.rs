//! The talking half of a worker: a user's messages, and the sockets that travel with them.
//! What the cluster itself says is elsewhere.

use super::{Step, Worker};
use crate::channel::Outgoing;
use crate::event::{ChannelError, Output, WorkerEvent};
use crate::message::{ChannelMessage, Envelope, SocketCount};
use crate::os::{Call, ChannelId, SocketId};
use crate::passing::{IncomingHandle, OutgoingHandle};
use crate::payload::Message;
use crate::send::{SendError, Sent};

impl Worker {
    /// Sends a message to the primary. Node: `process.send(message)`.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the channel is closed or full, or the message would be taken for one of Node's own.
    pub fn send(&mut self, message: impl Into<Message>) -> Result<Sent, SendError> {
        self.post(&message.into(), None)
    }

    /// Sends a message and a socket to the primary. Node: `process.send(message, handle, options)`.
    ///
    /// A connection of a server of this worker is released when the primary has it. What the primary refuses is sent
    /// again, three times if it is more than a bare socket; then [`ChannelError::NotReceived`] is told. What
    /// it has not acknowledged when the channel closes is lost, as in Node, and closed.
    ///
    /// # Errors
    ///
    /// As [`Worker::send`], or the socket was given away before. The socket is still the caller's then.
    pub fn send_with(
        &mut self,
        message: impl Into<Message>,
        passing: OutgoingHandle,
    ) -> Result<Sent, SendError> {
        self.post(&message.into(), Some(passing))
    }

    /// How many messages that were accepted has the operating system not taken whole? `None`: some were lost.
    pub fn unwritten(&self) -> Option<u64> {
        self.channel.unwritten()
    }

    fn post(&mut self, message: &Message, passing: Option<OutgoingHandle>) -> Result<Sent, SendError> {
        self.command(|worker| {
            let Worker { channel, in_flight, steps, .. } = worker;
            crate::send::send_message(channel, message, passing, in_flight, steps)
        })
    }

    /// The application is done with a connection, or with a socket that came with a message, and has closed it.
    pub fn release(&mut self, socket: SocketId) {
        self.command(|worker| {
            if let Some(listener) = worker.connections.remove(&socket) {
                worker.close_if_drained(listener);
            }
            worker.uncount(socket);
            worker.descriptor_freed();
        });
    }

    /// The sender of a socket no longer counts the socket.
    fn uncount(&mut self, socket: SocketId) {
        if let Some((_, key)) = self.counted.release(socket) {
            self.answer(SocketCount::AllClosed(key));
        }
    }

    /// A message has come with a socket. Its sender may count it.
    pub(super) fn arrived(&mut self, envelope: Envelope, socket: SocketId) -> Option<Output<WorkerEvent>> {
        let Envelope { message, kind, key } = envelope;
        match message {
            ChannelMessage::User(message) => {
                if let Some(key) = key {
                    self.counted.add(socket, ChannelId::PRIMARY, key);
                }
                let handle = Some(IncomingHandle { socket, kind });
                return Some(Output::Event(WorkerEvent::Message { message, handle }));
            }
            ChannelMessage::Cluster(cluster) => self.cluster(*cluster, Some(socket)),
            ChannelMessage::SocketCount(_) | ChannelMessage::Foreign => self.close_socket(Some(socket)),
        }
        None
    }

    pub(super) fn asked(&mut self, question: SocketCount) {
        if let Some(answer) = self.counted.answer(ChannelId::PRIMARY, question) {
            self.answer(answer);
        }
    }

    fn answer(&mut self, answer: SocketCount) {
        if self.channel.is_connected() {
            self.channel.send(Outgoing::from(ChannelMessage::SocketCount(answer)), &mut self.steps);
        }
    }

    /// One copy of a socket that the program has passed is no longer on its way.
    pub(super) fn settled(&mut self, socket: SocketId) {
        if self.in_flight.settle(socket) {
            self.steps.push(Step::Call(Call::Close { socket }));
            if let Some(listener) = self.connections.remove(&socket) {
                self.close_if_drained(listener);
            }
            self.uncount(socket);
            self.descriptor_freed();
        }
    }

    /// The primary has refused a socket of the program's too often.
    pub(super) fn not_received(&mut self, outgoing: &Outgoing) -> Option<Output<WorkerEvent>> {
        self.settled(outgoing.passes()?);
        Some(Output::Event(WorkerEvent::Error { error: ChannelError::NotReceived }))
    }
}
