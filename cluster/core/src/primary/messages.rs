//! The program's messages to workers, and the sockets sent with them.

use super::Primary;
use crate::os::{SocketId, WorkerId};
use crate::passing::OutgoingHandle;
use crate::send::{SendError, Sent};
use crate::user_message::Message;

impl Primary {
    /// Sends a message to a worker. Node: `worker.send(message)`.
    ///
    /// # Errors
    ///
    /// [`SendError`] if there is no such worker, if its channel is closed or full, or if the message looks
    /// like an internal message of Node.
    pub fn send(&mut self, worker: WorkerId, message: impl Into<Message>) -> Result<Sent, SendError> {
        let absent = self.setup.absent(worker);
        self.command(|primary| primary.peers.post(worker, message.into(), None)).unwrap_or(Err(absent))
    }

    /// Sends a message and a socket to a worker. Node: `worker.send(message, handle, options)`.
    ///
    /// If the worker rejects the socket, the message is sent again up to three times, except with a bare
    /// socket. Then [`NotReceived`](crate::WorkerError::NotReceived) is emitted. If the worker exits before
    /// it has acknowledged the socket, the message is lost, as in Node, and the socket is closed.
    ///
    /// # Errors
    ///
    /// As [`Primary::send`], and if the socket was sent before. After an error, the caller keeps the socket.
    pub fn send_with(
        &mut self,
        worker: WorkerId,
        message: impl Into<Message>,
        passing: OutgoingHandle,
    ) -> Result<Sent, SendError> {
        let absent = self.setup.absent(worker);
        self.command(|primary| primary.peers.post(worker, message.into(), Some(passing)))
            .unwrap_or(Err(absent))
    }

    /// The number of accepted messages to a worker, including the request to disconnect, that the operating
    /// system has not taken completely. `None`: messages were lost, or the worker is unknown.
    pub fn unwritten(&self, worker: WorkerId) -> Option<u64> {
        self.peers.channel(worker)?.unwritten()
    }

    /// Call when the program has closed a socket received with a message. A Node sender may wait for this
    /// report.
    pub fn release(&mut self, socket: SocketId) {
        self.command(|primary| primary.peers.release(socket));
    }
}
