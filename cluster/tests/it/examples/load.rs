//! Clients with keep-alive connections. Each client sends one request after the other and counts the answers.
//! No request is repeated: a request without a whole answer has failed.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The counts of clients.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Answered requests.
    pub(crate) answered: u64,
    /// Requests without a whole answer, on a connection that had earlier answers.
    pub(crate) broken: u64,
    /// Requests without a whole answer, on a new connection.
    pub(crate) unserved: u64,
    /// Refused connections.
    pub(crate) refused: u64,
}

impl Tally {
    pub(crate) fn failed(&self) -> u64 {
        self.broken + self.unserved + self.refused
    }
}

/// Running clients.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Tally>>,
}

impl Load {
    /// Starts `clients` clients for each port.
    pub(crate) fn start(clients: usize, ports: &[u16]) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |port: u16| {
            let (stop, answered) = (stop.clone(), answered.clone());
            thread::spawn(move || work(SocketAddr::from(([127, 0, 0, 1], port)), &stop, &answered))
        };
        let clients = ports.iter().flat_map(|port| (0..clients).map(|_| *port)).map(client).collect();
        Load { stop, answered, clients }
    }

    /// Waits until `more` further requests are answered.
    pub(crate) fn wait_for(&self, more: u64) {
        let enough = self.answered.load(Ordering::Relaxed) + more;
        while self.answered.load(Ordering::Relaxed) < enough {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until every client has finished its request. Returns the sum of the counts.
    pub(crate) fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = Tally::default();
        for client in self.clients {
            let tally = client.join().unwrap_or_default();
            sum.answered += tally.answered;
            sum.broken += tally.broken;
            sum.unserved += tally.unserved;
            sum.refused += tally.refused;
        }
        sum
    }
}

fn work(server: SocketAddr, stop: &AtomicBool, answered: &AtomicU64) -> Tally {
    let mut tally = Tally::default();
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut connection) = connect(server) else {
            tally.refused += 1;
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        let mut is_new = true;
        let mut is_open = true;
        while is_open && !stop.load(Ordering::Relaxed) {
            if let Ok(stays_open) = request(&mut connection) {
                tally.answered += 1;
                answered.fetch_add(1, Ordering::Relaxed);
                is_open = stays_open;
            } else {
                *if is_new { &mut tally.unserved } else { &mut tally.broken } += 1;
                is_open = false;
            }
            is_new = false;
        }
    }
    tally
}

fn connect(server: SocketAddr) -> io::Result<BufReader<TcpStream>> {
    let client = TcpStream::connect(server)?;
    client.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(BufReader::new(client))
}

/// Sends a request and reads the answer. Returns whether the connection is still open.
fn request(connection: &mut BufReader<TcpStream>) -> io::Result<bool> {
    connection.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let (mut length, mut stays_open) = (0, true);
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().map_err(io::Error::other)?;
        }
        stays_open &= line != "connection: close";
        if line.is_empty() {
            break;
        }
    }
    connection.read_exact(&mut vec![0; length])?;
    Ok(stays_open)
}
