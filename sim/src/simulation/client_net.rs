//! The network of the clients of a simulation.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use cluster_core::LocalAddress;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::event::{Actor, ClientEvent, ClientId};
use crate::program::Driver;

/// The network, as the clients of a simulation use it, and their log. Clones are cheap.
#[derive(Debug, Clone, Default)]
pub struct Net {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    commands: Vec<Command>,
    connections: BTreeMap<u64, NetConnection>,
    last: u64,
    /// The connections by the numbers of the world.
    numbers: BTreeMap<ClientId, u64>,
}

/// One connection of a client.
#[derive(Debug, Default)]
struct NetConnection {
    client: Option<ClientId>,
    result: Option<bool>,
    bytes: VecDeque<u8>,
    has_ended: bool,
    is_reset: bool,
    waker: Option<Waker>,
}

/// A command of a client for the world.
#[derive(Debug)]
enum Command {
    Connect(u64, SocketAddr),
    Send(u64, Vec<u8>),
    End(u64),
    Observe(String),
    Signal(Actor, cluster_core::Signal),
}

impl Net {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects to a server. Every address stands for the loopback.
    ///
    /// # Errors
    /// No socket listens at the address.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<ClientStream> {
        let id = {
            let mut shared = self.lock();
            shared.last += 1;
            let id = shared.last;
            shared.connections.insert(id, NetConnection::default());
            shared.commands.push(Command::Connect(id, address));
            id
        };
        let stream = ClientStream { net: self.clone(), id };
        let is_connected = poll_fn(|cx| {
            stream.net.with(id, |connection| {
                if connection.result.is_none() {
                    connection.waker = Some(cx.waker().clone());
                }
                connection.result.map_or(Poll::Pending, Poll::Ready)
            })
        });
        if is_connected.await { Ok(stream) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
    }

    /// Records an observation of the client that has connected last, which a property reads and the table of
    /// a failed run contains.
    pub fn observe(&self, text: impl Into<String>) {
        self.lock().commands.push(Command::Observe(text.into()));
    }

    /// Sends a signal to a process, as an operator does. A supervisor that handles signals executes the
    /// command; otherwise the process ends.
    pub fn kill(&self, process: Actor, signal: cluster_core::Signal) {
        self.lock().commands.push(Command::Signal(process, signal));
    }

    fn with<T>(&self, id: u64, act: impl FnOnce(&mut NetConnection) -> T) -> T {
        act(self.lock().connections.entry(id).or_default())
    }

    // ---- the side of the world

    /// Delivers an event to the client.
    pub(super) fn deliver(&self, client: ClientId, event: &ClientEvent) {
        let mut shared = self.lock();
        let Some(&id) = shared.numbers.get(&client) else { return };
        let Some(connection) = shared.connections.get_mut(&id) else { return };
        match event {
            ClientEvent::Connected => connection.result = Some(true),
            ClientEvent::Refused => connection.result = Some(false),
            ClientEvent::Data(bytes) => connection.bytes.extend(bytes),
            ClientEvent::End => connection.has_ended = true,
            ClientEvent::Reset => (connection.has_ended, connection.is_reset) = (true, true),
            ClientEvent::Datagram { .. } => {}
        }
        let waker = connection.waker.take();
        drop(shared);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Records log lines.
    pub(super) fn log(&self, lines: Vec<String>) {
        self.lock().commands.extend(lines.into_iter().map(Command::Observe));
    }

    /// Performs the commands of the last poll.
    pub(super) fn perform(&self, driver: &mut Driver<'_>) {
        let commands = std::mem::take(&mut self.lock().commands);
        for command in commands {
            match command {
                Command::Connect(id, address) => {
                    let client = driver.connect_to(LocalAddress::Ip(address));
                    let mut shared = self.lock();
                    shared.numbers.insert(client, id);
                    if let Some(connection) = shared.connections.get_mut(&id) {
                        connection.client = Some(client);
                    }
                }
                Command::Send(id, bytes) => {
                    if let Some(client) = self.client(id) {
                        driver.send(client, &bytes);
                    }
                }
                Command::End(id) => {
                    if let Some(client) = self.client(id) {
                        driver.end(client);
                    }
                }
                Command::Observe(text) => {
                    let last = self.lock().numbers.keys().next_back().copied();
                    driver.observe(last.unwrap_or(ClientId(1)), text);
                }
                Command::Signal(process, signal) => driver.kill(process, signal),
            }
        }
    }

    /// Drops the commands of a process that runs its inputs again. The numbers of connections follow from
    /// their order.
    pub(super) fn forget_commands(&self, is_driver: bool) {
        let mut shared = self.lock();
        let commands = std::mem::take(&mut shared.commands);
        for command in commands {
            if let (true, Command::Connect(id, _)) = (is_driver, command) {
                let client =
                    ClientId(u32::try_from(shared.numbers.len() + 1).expect("fewer than 2^32 clients"));
                shared.numbers.insert(client, id);
                if let Some(connection) = shared.connections.get_mut(&id) {
                    connection.client = Some(client);
                }
            }
        }
    }

    fn client(&self, id: u64) -> Option<ClientId> {
        self.lock().connections.get(&id)?.client
    }
}

/// A connection of a client. A drop ends the client's side.
#[derive(Debug)]
pub struct ClientStream {
    net: Net,
    id: u64,
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        self.net.lock().commands.push(Command::End(self.id));
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.net.with(self.id, |connection| {
            let n = connection.bytes.len().min(buffer.remaining());
            if n > 0 {
                connection.bytes.drain(..n).for_each(|byte| buffer.put_slice(&[byte]));
                return Poll::Ready(Ok(()));
            }
            if connection.is_reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if connection.has_ended || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            connection.waker = Some(cx.waker().clone());
            Poll::Pending
        })
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut shared = self.net.lock();
        if shared.connections.get(&self.id).is_some_and(|connection| connection.is_reset) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        shared.commands.push(Command::Send(self.id, bytes.to_vec()));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.net.lock().commands.push(Command::End(self.id));
        Poll::Ready(Ok(()))
    }
}
