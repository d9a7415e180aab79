//! The clients of a run: three rounds of two connections. Each client sends a line and expects a line.

use std::io::{self, ErrorKind, Read, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The address of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Port(u16),
    Path(PathBuf),
}

/// The end of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClientEnd {
    /// The client has received the answer.
    Served(String),
    Refused(ErrorKind),
    /// The connection ended without the answer.
    Lost,
    /// The answer is late.
    Late,
}

pub(crate) const ROUNDS: usize = 3;

/// The number of connections open at once.
pub(crate) const AT_ONCE: usize = 2;

/// All clients.
pub(crate) const CLIENTS: usize = ROUNDS * AT_ONCE;

/// Runs the clients of a round, each for at most `patience`.
pub(crate) fn round(address: &Address, patience: Duration) -> Vec<ClientEnd> {
    let connections: Vec<_> = (0..AT_ONCE).map(|_| connect(address, patience)).collect();
    let written = connections.into_iter().map(|connection| {
        connection.map(|mut stream| {
            // A failed write is reported by the read.
            stream.write_all(b"?\n").unwrap_or_default();
            stream
        })
    });
    let written: Vec<_> = written.collect();
    written.into_iter().map(|connection| connection.map_or_else(|error| refused(&error), read)).collect()
}

trait Stream: Read + io::Write {}

impl<T: Read + io::Write> Stream for T {}

fn connect(address: &Address, patience: Duration) -> io::Result<Box<dyn Stream>> {
    Ok(match address {
        Address::Port(port) => {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, *port))?;
            stream.set_read_timeout(Some(patience))?;
            Box::new(stream)
        }
        Address::Path(path) => Box::new(connect_path(path, patience)?),
    })
}

fn connect_path(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(patience))?;
    Ok(stream)
}

fn refused(error: &io::Error) -> ClientEnd {
    ClientEnd::Refused(error.kind())
}

fn read(mut stream: Box<dyn Stream>) -> ClientEnd {
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        Ok(_) if !answer.is_empty() => ClientEnd::Served(answer.trim_end().to_owned()),
        Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => ClientEnd::Late,
        Ok(_) | Err(_) => ClientEnd::Lost,
    }
}
