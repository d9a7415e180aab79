//! One client: a TCP connection that does what it is told and reports what it sees. It decides nothing.

use std::io::{self, ErrorKind};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::observation::{Line, Observation, Observer};
use crate::program::clients::ClientAct;
use crate::program::lines::Lines;
use crate::words;

/// A client that was told to connect.
pub(super) struct Client {
    /// Its number.
    pub(super) number: u32,
    /// Where it writes what it sees.
    pub(super) seen: UnboundedSender<Line>,
    /// What it is told after that.
    pub(super) told: UnboundedReceiver<ClientAct>,
}

impl Client {
    /// Connects and lives until the connection is over.
    ///
    /// # Errors
    ///
    /// This machine lets nobody connect, be there a server or not.
    pub(super) async fn live(mut self, server: String, port: u16) -> io::Result<()> {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(connection) => {
                self.see(words::client("connected", &server));
                self.talk(connection).await;
                Ok(())
            }
            Err(error)
                if [ErrorKind::ConnectionRefused, ErrorKind::ConnectionReset].contains(&error.kind()) =>
            {
                self.see(words::client("refused", &server));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn talk(&mut self, mut connection: TcpStream) {
        let mut lines = Lines::default();
        let mut bytes = [0; 4096];
        loop {
            tokio::select! {
                read = connection.read(&mut bytes) => match read {
                    Ok(0) => return self.see(words::client_over("end")),
                    Ok(count) => lines.push(&bytes[..count]).iter().for_each(|text| self.see(words::client_data(text))),
                    Err(_) => return self.see(words::client_over("reset")),
                },
                Some(act) = self.told.recv() => if act == ClientAct::Reset {
                    // Without lingering, closing is resetting.
                    return connection.set_zero_linger().unwrap_or_default();
                } else {
                    // A connection that cannot be written to says so when it is read.
                    obey(&mut connection, act).await.unwrap_or_default();
                },
            }
        }
    }

    fn see(&self, observation: Observation) {
        let line = Line { observer: Observer::Client(self.number), observation };
        // Nobody listens any more when a run is given up.
        self.seen.send(line).unwrap_or_default();
    }
}

async fn obey(connection: &mut TcpStream, act: ClientAct) -> io::Result<()> {
    match act {
        ClientAct::Say { text } => connection.write_all(format!("{text}\n").as_bytes()).await,
        ClientAct::End => connection.shutdown().await,
        ClientAct::Connect { .. } | ClientAct::Reset => Ok(()),
    }
}
