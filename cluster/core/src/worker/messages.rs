//! Users' messages between a worker and its primary, and the sockets sent with them.

use super::Worker;
#[cfg(doc)]
use crate::event::ChannelError;
use crate::event::{Output, WorkerEvent};
use crate::message::{ChannelMessage, Envelope, Supervision};
use crate::os::{ChannelId, SocketId};
use crate::passing::{IncomingHandle, OutgoingHandle};
use crate::send::{SendError, Sent};
use crate::user_message::Message;

impl Worker {
    /// Sends a message to the primary. Node: `process.send(message)`.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the channel is closed or full, or if the message looks like an internal message of
    /// Node.
    pub fn send(&mut self, message: impl Into<Message>) -> Result<Sent, SendError> {
        self.command(|worker| worker.peer.post(message.into(), None))
    }

    /// Sends a message and a socket to the primary. Node: `process.send(message, handle, options)`.
    ///
    /// If the socket is a connection of a server of this worker, the connection is released when the primary
    /// has received its copy. If the primary rejects the socket, the message is sent again up to three times,
    /// except with a bare socket; then [`ChannelError::NotReceived`] is emitted. If the channel closes before
    /// the primary has acknowledged the socket, the message is lost, as in Node, and the socket is closed.
    ///
    /// # Errors
    ///
    /// As [`Worker::send`], and if the socket was sent before. After an error, the caller keeps the socket.
    pub fn send_with(
        &mut self,
        message: impl Into<Message>,
        passing: OutgoingHandle,
    ) -> Result<Sent, SendError> {
        self.command(|worker| worker.peer.post(message.into(), Some(passing)))
    }

    /// The number of accepted messages that the operating system has not taken completely. `None`: messages
    /// were lost.
    pub fn unwritten(&self) -> Option<u64> {
        self.peer.channel.unwritten()
    }

    /// Call when the application has closed a connection, or a socket received with a message.
    pub fn release(&mut self, socket: SocketId) {
        self.command(|worker| worker.servers.released(socket, &mut worker.peer));
    }

    /// Called when a message has arrived with a socket. The sender may count the socket.
    pub(super) fn arrived(&mut self, envelope: Envelope, socket: SocketId) -> Option<Output<WorkerEvent>> {
        let Envelope { message, kind, key } = envelope;
        match message {
            ChannelMessage::User(message) => {
                self.peer.counted.add(socket, ChannelId::PRIMARY, key);
                let handle = Some(IncomingHandle { socket, kind });
                return Some(Output::Event(WorkerEvent::Message { message, handle }));
            }
            ChannelMessage::Cluster(cluster) => self.cluster(*cluster, Some(socket)),
            ChannelMessage::SocketCount(_) | ChannelMessage::Supervision(_) | ChannelMessage::Foreign => {
                self.peer.close_socket(Some(socket));
            }
        }
        None
    }

    /// Called when a supervisor makes the worker a lame duck, or asks for the number of the open connections.
    pub(super) fn supervised(&mut self, supervision: Supervision) -> Option<Output<WorkerEvent>> {
        match supervision {
            Supervision::LameDuck => return Some(Output::Event(WorkerEvent::LameDuck)),
            Supervision::Ping { seq } => {
                let pong = Supervision::Pong { seq, connections: self.servers.connections.owned_count() };
                self.peer.send(ChannelMessage::Supervision(pong), None);
            }
            Supervision::Pong { .. } | Supervision::Load { .. } => {}
        }
        None
    }

    /// Called when a copy of a socket sent by the program is no longer in flight.
    pub(super) fn flight_ended(&mut self, socket: SocketId) {
        if self.peer.end_flight(socket) {
            self.servers.released(socket, &mut self.peer);
        }
    }
}
