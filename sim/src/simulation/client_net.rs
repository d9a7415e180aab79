//! The network of the clients of a simulation.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use cluster::simulated::ReceiveQueue;
use cluster_core::{LocalAddress, Signal};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::event::{Actor, ClientEvent, ClientId};
use crate::program::Driver;

/// The pause before another attempt to connect.
const PAUSE: Duration = Duration::from_millis(100);

/// The network, as the clients of a simulation use it, and their log. Clones are cheap.
#[derive(Debug, Clone, Default)]
pub struct Net {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    commands: Vec<ClientCommand>,
    /// The connections of the clients, in the order of their numbers.
    connections: Vec<NetConnection>,
}

/// The connection of one client.
#[derive(Debug, Default)]
struct NetConnection {
    is_connected: Option<bool>,
    connecting: Option<Waker>,
    received: ReceiveQueue,
}

/// A command of a client for the world.
#[derive(Debug)]
enum ClientCommand {
    /// Adds the next client.
    Connect(SocketAddr),
    Send(ClientId, Vec<u8>),
    End(ClientId),
    Observe(ClientId, String),
    Signal(Actor, Signal),
}

impl Shared {
    /// The client that was added last; without clients, the number of the first.
    fn last(&self) -> ClientId {
        ClientId(u32::try_from(self.connections.len().max(1)).expect("fewer than 2^32 clients"))
    }

    fn connection(&mut self, ClientId(client): ClientId) -> &mut NetConnection {
        &mut self.connections[client as usize - 1]
    }
}

impl Net {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn command(&self, command: ClientCommand) {
        self.lock().commands.push(command);
    }

    /// Adds a client that connects to a server. Every address stands for the loopback.
    ///
    /// # Errors
    /// No socket listens at the address.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<ClientStream> {
        let client = {
            let mut shared = self.lock();
            shared.connections.push(NetConnection::default());
            shared.commands.push(ClientCommand::Connect(address));
            shared.last()
        };
        let stream = ClientStream { net: self.clone(), client };
        let is_connected = poll_fn(|cx| {
            let mut shared = stream.net.lock();
            let connection = shared.connection(client);
            if connection.is_connected.is_none() {
                connection.connecting = Some(cx.waker().clone());
            }
            connection.is_connected.map_or(Poll::Pending, Poll::Ready)
        });
        if is_connected.await { Ok(stream) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
    }

    /// As [`connect`](Net::connect), and again after 100 ms as long as no socket listens at the address: for
    /// the first client of a server that starts.
    pub async fn connect_when_listening(&self, address: SocketAddr) -> ClientStream {
        loop {
            match self.connect(address).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Records an observation of the client that was added last, which a property reads and the table of a
    /// failed run contains. [`ClientStream::observe`] names the client.
    pub fn observe(&self, text: impl Into<String>) {
        let mut shared = self.lock();
        let last = shared.last();
        shared.commands.push(ClientCommand::Observe(last, text.into()));
    }

    /// Sends a signal to a process, as an operator does. A supervisor that handles signals executes the
    /// command; otherwise the process ends.
    pub fn kill(&self, process: Actor, signal: Signal) {
        self.command(ClientCommand::Signal(process, signal));
    }

    // ---- the side of the world

    /// Delivers an event to the client.
    pub(super) fn deliver(&self, client: ClientId, event: &ClientEvent) {
        let mut shared = self.lock();
        let connection = shared.connection(client);
        let waiting = match event {
            ClientEvent::Connected | ClientEvent::Refused => {
                connection.is_connected = Some(*event == ClientEvent::Connected);
                connection.connecting.take()
            }
            ClientEvent::Data(bytes) => connection.received.receive(bytes),
            ClientEvent::End => connection.received.end(false),
            ClientEvent::Reset => connection.received.end(true),
            ClientEvent::Datagram { .. } => None,
        };
        drop(shared);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    /// Performs the commands of the last poll. Only the clients of this network are added to a world, so
    /// both count the clients alike.
    pub(super) fn perform(&self, driver: &mut Driver<'_>) {
        let commands = std::mem::take(&mut self.lock().commands);
        for command in commands {
            match command {
                ClientCommand::Connect(address) => {
                    driver.connect_to(LocalAddress::Ip(address));
                }
                ClientCommand::Send(client, bytes) => driver.send(client, &bytes),
                ClientCommand::End(client) => driver.end(client),
                ClientCommand::Observe(client, text) => driver.observe(client, text),
                ClientCommand::Signal(process, signal) => driver.kill(process, signal),
            }
        }
    }

    /// Drops the commands of clients that run their inputs again.
    pub(super) fn forget_commands(&self) {
        self.lock().commands.clear();
    }
}

/// The connection of a client. A drop ends the client's side.
#[derive(Debug)]
pub struct ClientStream {
    net: Net,
    client: ClientId,
}

impl ClientStream {
    /// The client of the connection, as [`World::holder`](crate::World::holder) and the table of a run name
    /// the client.
    pub fn client(&self) -> ClientId {
        self.client
    }

    /// Records an observation of this client.
    pub fn observe(&self, text: impl Into<String>) {
        self.net.command(ClientCommand::Observe(self.client, text.into()));
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        self.net.command(ClientCommand::End(self.client));
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.net.lock().connection(self.client).received.poll_read(cx, buffer)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut shared = self.net.lock();
        if shared.connection(self.client).received.is_reset() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        shared.commands.push(ClientCommand::Send(self.client, bytes.to_vec()));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.net.command(ClientCommand::End(self.client));
        Poll::Ready(Ok(()))
    }
}
