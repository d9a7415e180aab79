//! Users' messages between a worker and its primary, and the sockets sent with them.

use super::Worker;
use crate::channel::Outgoing;
use crate::event::{ChannelError, Output, WorkerEvent};
use crate::message::{ChannelMessage, Envelope, SocketCount, Supervision};
use crate::os::{Call, ChannelId, SocketId};
use crate::passing::{IncomingHandle, OutgoingHandle};
use crate::payload::Message;
use crate::send::{SendError, Sent};

impl Worker {
    /// Sends a message to the primary. Node: `process.send(message)`.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the channel is closed or full, or the message looks like an internal one of Node.
    pub fn send(&mut self, message: impl Into<Message>) -> Result<Sent, SendError> {
        self.post(&message.into(), None)
    }

    /// Sends a message and a socket to the primary. Node: `process.send(message, handle, options)`.
    ///
    /// A connection of a server of this worker is released once the primary has received a copy. A rejected message
    /// is sent again, three times unless the socket is bare; then [`ChannelError::NotReceived`] is emitted. A socket
    /// that is unacknowledged when the channel closes is lost, as in Node, and closed.
    ///
    /// # Errors
    ///
    /// As [`Worker::send`], or the socket was sent before. The caller keeps the socket.
    pub fn send_with(
        &mut self,
        message: impl Into<Message>,
        passing: OutgoingHandle,
    ) -> Result<Sent, SendError> {
        self.post(&message.into(), Some(passing))
    }

    /// The number of accepted messages that the operating system has not accepted completely. `None`: messages were
    /// lost.
    pub fn unwritten(&self) -> Option<u64> {
        self.channel.unwritten()
    }

    fn post(&mut self, message: &Message, passing: Option<OutgoingHandle>) -> Result<Sent, SendError> {
        self.command(|worker| {
            let Worker { channel, in_flight, steps, .. } = worker;
            channel.post(message, passing, in_flight, steps)
        })
    }

    /// The application has closed a connection, or a socket that was received with a message.
    pub fn release(&mut self, socket: SocketId) {
        self.command(|worker| {
            if let Some(listener) = worker.connections.remove(&socket) {
                worker.close_if_drained(listener);
            }
            worker.uncount(socket);
            worker.descriptor_freed();
        });
    }

    /// The sender of a socket stops counting the socket.
    fn uncount(&mut self, socket: SocketId) {
        if let Some((_, key)) = self.counted.release(socket) {
            self.answer(SocketCount::AllClosed(key));
        }
    }

    /// A message has arrived with a socket, which the sender may count.
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
            ChannelMessage::SocketCount(_) | ChannelMessage::Supervision(_) | ChannelMessage::Foreign => {
                self.close_socket(Some(socket));
            }
        }
        None
    }

    pub(super) fn asked(&mut self, question: SocketCount) {
        if let Some(answer) = self.counted.answer(ChannelId::PRIMARY, question) {
            self.answer(answer);
        }
    }

    fn answer(&mut self, answer: SocketCount) {
        self.channel.send(Outgoing::from(ChannelMessage::SocketCount(answer)), &mut self.steps);
    }

    /// A supervisor makes the worker a lame duck, or asks for its open connections.
    pub(super) fn supervised(&mut self, supervision: Supervision) -> Option<Output<WorkerEvent>> {
        match supervision {
            Supervision::LameDuck => return Some(Output::Event(WorkerEvent::LameDuck)),
            Supervision::Ping { seq } if self.channel.is_connected() => {
                let pong = Supervision::Pong { seq, connections: self.connections.len() as u64 };
                self.channel.send(Outgoing::from(ChannelMessage::Supervision(pong)), &mut self.steps);
            }
            Supervision::Ping { .. } | Supervision::Pong { .. } => {}
        }
        None
    }

    /// One copy of a socket that the program has sent is no longer in flight.
    pub(super) fn settled(&mut self, socket: SocketId) {
        if self.in_flight.settle(socket) {
            self.steps.call(Call::Close { socket });
            if let Some(listener) = self.connections.remove(&socket) {
                self.close_if_drained(listener);
            }
            self.uncount(socket);
            self.descriptor_freed();
        }
    }

    /// The primary has rejected a socket of the program too often.
    pub(super) fn not_received(&mut self, outgoing: &Outgoing) -> Option<Output<WorkerEvent>> {
        self.settled(outgoing.passes()?);
        Some(Output::Event(WorkerEvent::Error { error: ChannelError::NotReceived }))
    }
}
