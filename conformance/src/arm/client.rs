//! One client: a connection, or a socket for datagrams. The client performs actions and reports observations,
//! and decides nothing.

use std::io::{self, ErrorKind};
use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, UnixStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::run_dir::RunDir;
use crate::observation::{Line, Observation, Observer};
use crate::program::lines::Lines;
use crate::scenario::{ServerName, Step};
use crate::vocabulary::{self, ServerAddress};

/// A client with a connection, or with a socket for datagrams.
pub(super) struct Client {
    /// The client's number.
    pub(super) number: u32,
    /// The receiver of the client's lines.
    pub(super) seen: UnboundedSender<Line>,
    /// The steps after the first.
    pub(super) steps: UnboundedReceiver<Step>,
}

impl Client {
    /// Connects, and runs until the connection is over.
    ///
    /// # Errors
    ///
    /// The connection failed with an error other than ECONNREFUSED, ECONNRESET and ENOENT.
    pub(super) async fn live(
        mut self,
        server: ServerName,
        loopback: IpAddr,
        directory: RunDir,
    ) -> io::Result<()> {
        let connected = match server.address.as_ref().expect("a due step has the address of its server") {
            ServerAddress::Port(port) => {
                self.track(&server, TcpStream::connect((loopback, *port)).await, reset).await
            }
            // Resets are for TCP alone: a Unix connection can only be closed.
            ServerAddress::Path(name) => {
                self.track(&server, UnixStream::connect(directory.reach(name)).await, |_| ()).await
            }
        };
        let refused = |error: &io::Error| {
            [ErrorKind::ConnectionRefused, ErrorKind::ConnectionReset, ErrorKind::NotFound]
                .contains(&error.kind())
        };
        match connected {
            Err(error) if refused(&error) => {
                self.observe(vocabulary::client("refused", server.as_str()));
                Ok(())
            }
            connected => connected,
        }
    }

    async fn track<Stream: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        server: &ServerName,
        connected: io::Result<Stream>,
        reset: fn(&Stream),
    ) -> io::Result<()> {
        let connection = connected?;
        self.observe(vocabulary::client("connected", server.as_str()));
        if let Some(over) = self.converse(connection, reset).await {
            self.observe(vocabulary::client_over(over));
        }
        Ok(())
    }

    /// Runs until the connection has ended, and returns how. `None`: the client has reset the connection.
    async fn converse<Stream: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        mut connection: Stream,
        reset: fn(&Stream),
    ) -> Option<&'static str> {
        let mut lines = Lines::default();
        let mut bytes = [0; 4096];
        loop {
            tokio::select! {
                read = connection.read(&mut bytes) => match read {
                    Ok(0) => return Some("end"),
                    Ok(count) => lines.push(&bytes[..count]).iter().for_each(|text| self.observe(vocabulary::client_data(text))),
                    Err(_) => return Some("reset"),
                },
                Some(step) = self.steps.recv() => if step == Step::Reset {
                    reset(&connection);
                    return None;
                } else {
                    // A failed write is not reported here, because the next read fails as well.
                    perform(&mut connection, step).await.unwrap_or_default();
                },
            }
        }
    }

    /// Sends datagrams from one port, and receives the answers, until the last action.
    ///
    /// # Errors
    ///
    /// This machine has no socket for datagrams, or refuses to send.
    pub(super) async fn exchange(mut self, loopback: IpAddr) -> io::Result<()> {
        let socket = UdpSocket::bind((loopback, 0)).await?;
        let mut bytes = [0; 4096];
        loop {
            tokio::select! {
                biased;
                received = socket.recv_from(&mut bytes) => if let Ok((count, _)) = received {
                    self.on_datagram(&bytes[..count]);
                },
                step = self.steps.recv() => match step {
                    Some(Step::SendDatagram(send) | Step::SendDatagramV6(send)) => {
                        socket.send_to(send.text.as_str().as_bytes(), (loopback, send.to.port())).await?;
                    }
                    Some(_) => {}
                    None => break,
                },
            }
        }
        // Every process has exited, so all answers have arrived.
        while let Ok((count, _)) = socket.try_recv_from(&mut bytes) {
            self.on_datagram(&bytes[..count]);
        }
        Ok(())
    }

    /// Reports an answer. An ICMP error, because no server received a datagram, is no answer.
    fn on_datagram(&self, datagram: &[u8]) {
        self.observe(vocabulary::client_data(&String::from_utf8_lossy(datagram)));
    }

    fn observe(&self, observation: Observation) {
        let line = Line { observer: Observer::Client(self.number), observation };
        // Fails if the run was given up.
        self.seen.send(line).unwrap_or_default();
    }
}

/// Resets a connection: without lingering, a close is a reset.
fn reset(connection: &TcpStream) {
    connection.set_zero_linger().unwrap_or_default();
}

async fn perform(connection: &mut (impl AsyncWrite + Unpin), step: Step) -> io::Result<()> {
    if let Step::Write(text) = step {
        connection.write_all(format!("{text}\n").as_bytes()).await
    } else if step == Step::End {
        connection.shutdown().await
    } else {
        Ok(())
    }
}
