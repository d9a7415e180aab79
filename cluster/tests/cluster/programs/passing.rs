//! Workers that receive and send sockets.

use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use ::cluster::{Listener, Socket, Worker, WorkerEvent};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Ended, accept, listen};
use crate::cluster::support::FdExhaustion;

/// Uses every received socket once, and reports the kind. Returns all other messages.
pub(super) async fn use_all(worker: &Worker) -> Ended {
    while let Some(event) = worker.next().await {
        let WorkerEvent::Message { message, socket } = event else { continue };
        match socket {
            Some(socket) => {
                let kind = used(socket.into()).await?;
                worker.send(json!([message, kind]))?;
            }
            None => drop(worker.send(&message)?),
        }
    }
    Ok(())
}

/// Has no free descriptor until a message arrives.
pub(super) async fn exhaust_fds(worker: &Worker) -> Ended {
    let exhaustion = FdExhaustion::new()?;
    worker.send(json!("exhausted"))?;
    worker.next().await;
    drop(exhaustion);
    worker.send(json!("given up"))?;
    use_all(worker).await
}

/// Uses every received socket and sends the socket back.
pub(super) async fn send_back(worker: &Worker) -> Ended {
    while let Some(event) = worker.next().await {
        if let WorkerEvent::Message { socket: Some(socket), .. } = event {
            let copy = Socket::duplicate(&socket)?;
            worker.send_with(json!(used(socket.into()).await?), copy)?;
        }
    }
    Ok(())
}

async fn used(socket: Socket) -> io::Result<&'static str> {
    Ok(match socket {
        Socket::TcpStream(mut stream) => {
            stream.write_all(b"used")?;
            "TcpStream"
        }
        Socket::UnixStream(mut stream) => {
            stream.write_all(b"used")?;
            "UnixStream"
        }
        Socket::TcpListener(listener) => {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            listener.accept().await?.0.write_all(b"used").await?;
            "TcpListener"
        }
        Socket::UnixListener(listener) => {
            let listener = tokio::net::UnixListener::from_std(listener)?;
            listener.accept().await?.0.write_all(b"used").await?;
            "UnixListener"
        }
        Socket::UdpSocket(socket) => {
            let socket = tokio::net::UdpSocket::from_std(socket)?;
            let (_, client) = socket.recv_from(&mut [0; 10]).await?;
            socket.send_to(b"used", client).await?;
            "UdpSocket"
        }
    })
}

/// Sends a socket of every kind, and then the input of the connections.
pub(super) async fn send_all(worker: &Worker) -> Ended {
    let tcp = TcpListener::bind("127.0.0.1:0")?;
    let mut ours = tokio::net::TcpStream::connect(tcp.local_addr()?).await?;
    worker.send_with(json!("tcp"), tcp.accept()?.0)?;
    let (mut near, far) = tokio::net::UnixStream::pair()?;
    worker.send_with(json!("unix"), Socket::try_from(far)?)?;
    worker.send_with(json!(tcp.local_addr()?.port()), tcp)?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("s");
    worker.send_with(json!(path), UnixListener::bind(&path)?)?;
    let udp = tokio::net::UdpSocket::bind("[::1]:0").await?;
    worker.send_with(json!(udp.local_addr()?.port()), Socket::try_from(udp)?)?;
    let (mut first, mut second) = (String::new(), String::new());
    ours.read_to_string(&mut first).await?;
    near.read_to_string(&mut second).await?;
    worker.send(json!([first, second]))?;
    super::take_events(worker.clone()).await
}

/// Passes every connection to the primary.
pub(super) async fn give_away(worker: &Worker) -> Ended {
    let mut listener: Listener = listen(worker).await?;
    loop {
        let connection = accept(&mut listener).await?;
        worker.send_with(json!("given away"), Socket::try_from(connection.into_inner())?)?;
    }
}

/// Holds every received socket. Each command releases a socket.
pub(super) async fn hold(worker: &Worker) -> Ended {
    let (mut held, mut guard) = (Vec::new(), None);
    while let Some(event) = worker.next().await {
        let WorkerEvent::Message { message, socket } = event else { continue };
        if let Some(received) = socket {
            held.push(received);
            worker.send(json!("held"))?;
            continue;
        }
        let done = match message.to::<String>()?.as_str() {
            "keep the guard" => {
                guard = held.pop().map(|received| received.into_parts().0);
                "kept the guard"
            }
            "drop the guard" => {
                drop(guard.take());
                "dropped the guard"
            }
            _ => {
                drop(held.pop());
                "dropped one"
            }
        };
        worker.send(json!(done))?;
    }
    Ok(())
}
