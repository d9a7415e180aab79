//! The servers of a worker on the real face and their connections: one task each. They report to the worker's part and
//! decide nothing.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use cluster::{Connection, ListenError, ListenOptions, Listener};
use socket2::SockRef;
use tokio::sync::{mpsc, oneshot};

use super::super::translate;
use super::worker::Part;
use crate::program::lines::Lines;
use crate::words;

/// Opens a server. Dropping what this returns closes it.
pub(super) fn open(part: Arc<Part>, name: String, options: ListenOptions) -> oneshot::Sender<()> {
    let (closing, closed) = oneshot::channel();
    let worker = part.worker.clone();
    let mut opening: Opening = Box::pin(async move { worker.listen_with(options).await });
    // A future does nothing before it is polled, and a command shall take effect at once.
    let first = opening.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    tokio::spawn(async move {
        let opened = match first {
            Poll::Ready(opened) => opened,
            Poll::Pending => opening.await,
        };
        match opened {
            Ok(listener) => serve(part, name, listener, closed).await,
            Err(ListenError::Bind(error)) => {
                let errno = translate::errno(error.errno);
                part.see(&words::listen_failed(&name, &errno, error.address.port()), None);
            }
            // Asked to go before it listened: there is nothing to be told. A number needs no resolving.
            Err(ListenError::Disconnected | ListenError::Resolve(_)) => {}
        }
    });
    closing
}

type Opening = Pin<Box<dyn Future<Output = Result<Listener, ListenError>> + Send>>;

async fn serve(part: Arc<Part>, name: String, mut listener: Listener, mut closed: oneshot::Receiver<()>) {
    part.see(&words::listening(&name, listener.local_addr().port()), None);
    let (held, mut released) = mpsc::channel(1);
    let leaving = loop {
        tokio::select! {
            biased;
            _ = &mut closed => break false,
            accepted = listener.accept() => match accepted {
                Ok((connection, _)) => talk(&part, Talk { connection, server: name.clone(), _held: held.clone() }),
                Err(error) if error.kind() == ErrorKind::NotConnected => break true,
                // Its client was gone before it came; Node does not tell, either.
                Err(_) => {}
            },
        }
    };
    drop((listener, held));
    if !leaving {
        // The face does not say when the last connection of a dropped listener is over: the last one that holds this does.
        released.recv().await;
    }
    // A worker that leaves closes its servers before its channel; one that is torn away does not close them.
    if part.worker.is_connected() {
        part.see(&words::server("closed", &name), None);
    }
}

/// An open connection.
pub(super) struct Talk {
    connection: Connection,
    server: String,
    _held: mpsc::Sender<()>,
}

impl Talk {
    /// Writes a line, at once: the process may end before it would wait. A connection that cannot be written to says so
    /// when it is read.
    pub(super) fn say(&self, text: &str) {
        let _ = SockRef::from(&*self.connection).send(format!("{text}\n").as_bytes());
    }

    /// Ends this side.
    pub(super) fn end(&self) {
        let _ = SockRef::from(&*self.connection).shutdown(Shutdown::Write);
    }

    async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.connection.readable().await?;
            match self.connection.try_read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

/// A connection has come: it is seen at once, and a task reads it.
fn talk(part: &Arc<Part>, talk: Talk) {
    let (part, talk) = (part.clone(), Arc::new(talk));
    let number = part.keep(&talk);
    part.see(&words::server("connection", &talk.server), Some(&talk));
    tokio::spawn(async move {
        let how = listen(&part, &talk).await;
        part.see(&words::server(how, &talk.server), Some(&talk));
        drop(talk);
        part.forget(number);
    });
}

/// Hears what the client says, until its side is over; returns how.
async fn listen(part: &Arc<Part>, talk: &Talk) -> &'static str {
    let (mut lines, mut buffer) = (Lines::default(), [0; 4096]);
    loop {
        match talk.read(&mut buffer).await {
            Ok(0) => return "end",
            Ok(count) => {
                for text in lines.push(&buffer[..count]) {
                    part.see(&words::server_data(&talk.server, &text), Some(talk));
                }
            }
            Err(_) => return "reset",
        }
    }
}
