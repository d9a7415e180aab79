//! When a foreign program is ready: at once, at a message of `sd_notify`, at an accepted connection, or at an
//! answered request.

use std::fs;
use std::future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use cluster::WorkerId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixDatagram};

use super::accepting::{accepting, connect, loopback};
use super::{AdapterArguments, Ready};

/// The pause between two requests.
const PAUSE: Duration = Duration::from_millis(50);

/// The first byte of a request. `connect` sends the byte, and `status` the rest.
const FIRST_BYTE: &[u8] = b"G";

/// Waits until the program is ready. The supervisor limits the time.
pub(super) async fn wait(arguments: &AdapterArguments, notify: Option<&NotifySocket>) {
    // The same program serves every address, so the first address is enough.
    let address = arguments.addresses.first().copied().map(loopback);
    match (&arguments.ready, notify, address) {
        (Ready::Notify, Some(notify), _) => notify.ready().await,
        (Ready::Accepting, _, Some(address)) => accepting(address).await,
        (Ready::Http(path), _, Some(address)) => answer(address, path).await,
        (Ready::Started, _, _) => {}
        (Ready::Notify | Ready::Accepting | Ready::Http(_), _, _) => future::pending().await,
    }
}

/// Waits until the program answers a request of the path with a status from 200 to 399.
async fn answer(address: SocketAddr, path: &str) {
    loop {
        let connection = connect(address, FIRST_BYTE).await;
        match status(connection, address, path).await {
            Ok(200..=399) => return,
            Ok(_) | Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn status(mut connection: TcpStream, address: SocketAddr, path: &str) -> io::Result<u16> {
    let request = format!("ET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    // The length of `HTTP/1.1 200`.
    let mut line = [0; 12];
    connection.read_exact(&mut line).await?;
    let status = str::from_utf8(&line[9..]).ok().and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The socket of a worker for `sd_notify`.
#[derive(Debug)]
pub(super) struct NotifySocket {
    socket: UnixDatagram,
    path: PathBuf,
}

impl NotifySocket {
    /// Binds the socket in the directory of the service.
    pub(super) fn bind(directory: Option<&Path>, worker: WorkerId) -> anyhow::Result<Self> {
        let path = directory.context("there is no directory for sockets")?.join(worker.0.to_string());
        let socket = UnixDatagram::bind(&path).with_context(|| format!("cannot bind {}", path.display()))?;
        Ok(NotifySocket { socket, path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for `READY=1`.
    async fn ready(&self) {
        let mut buffer = [0; 4_096];
        while let Ok(length) = self.socket.recv(&mut buffer).await {
            if buffer[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                return;
            }
        }
        future::pending::<()>().await;
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
