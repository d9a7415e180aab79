//! Sockets that travel with messages, in both directions, of every kind; and what becomes of those that do not arrive.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};

use ::cluster::{
    Event, HandleType, IncomingHandle, Primary, SendError, Sent, Signal, Socket, WorkerError, WorkerId,
};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use super::support::{
    FOREVER, Tested, asynchronous, connect, fork, message, port, primary, rest, said, same, until,
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        asynchronous("a_worker_uses_the_sockets_it_is_sent", to_worker),
        asynchronous("a_primary_uses_the_sockets_it_is_sent", to_primary),
        asynchronous("a_connection_goes_on_to_another_worker", passed_on),
        asynchronous("a_socket_that_is_duplicated_stays", kept_open),
        asynchronous("a_socket_that_nobody_takes_is_closed", not_taken),
        asynchronous("a_socket_that_is_not_sent_is_the_senders", not_sent),
        asynchronous("a_socket_for_a_dead_worker_is_closed", dead_worker),
        asynchronous("a_worker_without_descriptors_does_not_receive_a_socket", not_received),
        asynchronous("what_is_no_socket_cannot_be_sent", no_socket),
        asynchronous("many_sockets_arrive_in_order", many),
    ]
}

/// A client, and the server's end of its connection.
fn connection() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = connect(listener.local_addr()?.port())?;
    Ok((client, listener.accept()?.0))
}

/// The next message and its socket.
async fn passed(primary: &mut Primary) -> Result<(Value, Option<IncomingHandle>), Failed> {
    match until(primary, |event| matches!(event, Event::Message { .. })).await?.pop() {
        Some(Event::Message { message, handle, .. }) => Ok((message.json()?, handle)),
        other => Err(format!("{other:?}").into()),
    }
}

async fn over(mut primary: Primary) -> Tested {
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

async fn to_worker() -> Tested {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "use sockets");
    let (client, server) = connection()?;
    same(primary.send_with(worker, json!("a"), server)?, Sent::Buffered)?;
    same(message(&mut primary).await?, json!(["a", "TcpStream"]))?;
    // The end of the file comes when no copy is left.
    same(said(&mut primary, client).await?, "used".into())?;

    let (client, server) = UnixStream::pair()?;
    primary.send_with(worker, json!("b"), server)?;
    same(message(&mut primary).await?, json!(["b", "UnixStream"]))?;
    same(said(&mut primary, client).await?, "used".into())?;

    let server = TcpListener::bind("127.0.0.1:0")?;
    let client = connect(server.local_addr()?.port())?;
    primary.send_with(worker, json!("c"), server)?;
    same(message(&mut primary).await?, json!(["c", "TcpListener"]))?;
    same(said(&mut primary, client).await?, "used".into())?;

    let directory = tempfile::tempdir()?;
    let path = directory.path().join("s");
    let server = UnixListener::bind(&path)?;
    let client = UnixStream::connect(&path)?;
    primary.send_with(worker, json!("d"), server)?;
    same(message(&mut primary).await?, json!(["d", "UnixListener"]))?;
    same(said(&mut primary, client).await?, "used".into())?;

    let (client, server) =
        (UdpSocket::bind("127.0.0.1:0")?, tokio::net::UdpSocket::bind("127.0.0.1:0").await?);
    client.set_read_timeout(Some(FOREVER))?;
    client.send_to(b"?", server.local_addr()?)?;
    primary.send_with(worker, json!("e"), Socket::try_from(server)?)?;
    same(message(&mut primary).await?, json!(["e", "UdpSocket"]))?;
    let mut answer = [0; 10];
    let length = client.recv(&mut answer)?;
    same(&answer[..length], b"used")?;
    over(primary).await
}

async fn to_primary() -> Tested {
    let mut primary = primary()?;
    fork(&mut primary, "send sockets");
    for _ in 0..5 {
        let (message, handle) = passed(&mut primary).await?;
        let passed = handle.ok_or("a socket comes with it")?;
        let socket = primary.take_socket(passed).ok_or("it is there")?;
        same(primary.take_socket(passed).is_none(), true)?;
        same(message, used(socket.into(), passed.kind)?)?;
    }
    // What it has read from the connections.
    same(message(&mut primary).await?, json!(["tcp", "unix"]))?;
    over(primary).await
}

/// What the worker says of a socket that it sends.
fn used(socket: Socket, kind: HandleType) -> Result<Value, Failed> {
    Ok(match (socket, kind) {
        (Socket::TcpStream(mut stream), HandleType::Socket) => {
            stream.write_all(b"tcp")?;
            json!("tcp")
        }
        (Socket::UnixStream(mut stream), HandleType::Socket) => {
            stream.write_all(b"unix")?;
            json!("unix")
        }
        (Socket::TcpListener(listener), HandleType::Server) => json!(listener.local_addr()?.port()),
        (Socket::UnixListener(listener), HandleType::Server) => json!(listener.local_addr()?.as_pathname()),
        (Socket::UdpSocket(socket), HandleType::Datagram { v6: true }) => json!(socket.local_addr()?.port()),
        other => return Err(format!("{other:?}").into()),
    })
}

async fn passed_on() -> Tested {
    let mut primary = primary()?;
    fork(&mut primary, "give connections away");
    let port = port(&mut primary).await?;
    let other = fork(&mut primary, "use sockets");
    for _ in 0..3 {
        let client = connect(port)?;
        let (message, handle) = passed(&mut primary).await?;
        let socket = handle.and_then(|passed| primary.take_socket(passed)).ok_or("a socket comes with it")?;
        primary.send_with(other, &message, socket)?;
        same(super::support::message(&mut primary).await?, json!([message, "TcpStream"]))?;
        same(io::read_to_string(client)?, "used".into())?;
    }
    over(primary).await
}

async fn kept_open() -> Tested {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "use sockets");
    let (client, mut server) = connection()?;
    primary.send_with(worker, json!("a"), Socket::duplicate(&server)?)?;
    same(message(&mut primary).await?, json!(["a", "TcpStream"]))?;
    server.write_all(b" and still here")?;
    drop(server);
    same(said(&mut primary, client).await?, "used and still here".into())?;
    over(primary).await
}

async fn not_taken() -> Tested {
    let mut primary = primary()?;
    fork(&mut primary, "give connections away");
    let client = connect(port(&mut primary).await?)?;
    let (_, handle) = passed(&mut primary).await?;
    same(handle.is_some(), true)?;
    same(said(&mut primary, client).await?, String::new())?;
    same(handle.and_then(|passed| primary.take_socket(passed)).is_none(), true)?;
    over(primary).await
}

async fn not_sent() -> Tested {
    let mut primary = primary()?;
    let (client, server) = connection()?;
    let not_sent = primary.send_with(WorkerId(9), json!(1), server).err().ok_or("there is no such worker")?;
    same(not_sent.error, SendError::Closed)?;
    let worker = fork(&mut primary, "use sockets");
    let reserved = json!({ "cmd": "NODE_RESERVED" });
    let not_sent =
        primary.send_with(worker, &reserved, not_sent.socket).err().ok_or("it is not to be said")?;
    same(not_sent.error, SendError::Reserved)?;
    primary.send_with(worker, json!("a"), not_sent.socket)?;
    same(said(&mut primary, client).await?, "used".into())?;
    over(primary).await
}

/// It is stopped before it can answer, and killed.
async fn dead_worker() -> Tested {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "use sockets");
    until(&mut primary, |event| matches!(event, Event::Online { .. })).await?;
    primary.kill(worker, Signal::SIGSTOP);
    let mut clients = Vec::new();
    for number in 0..3 {
        let (client, server) = connection()?;
        primary.send_with(worker, json!(number), server)?;
        clients.push(client);
    }
    primary.kill(worker, Signal::SIGKILL);
    rest(&mut primary).await?;
    for mut client in clients {
        // Closed, or reset; but not left open.
        let mut nothing = Vec::new();
        let _ = client.read_to_end(&mut nothing);
        same(nothing, Vec::new())?;
    }
    Ok(())
}

async fn not_received() -> Tested {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "hoard, then use sockets");
    same(message(&mut primary).await?, json!("hoarding"))?;
    let (client, server) = connection()?;
    primary.send_with(worker, json!("lost"), server)?;
    let error = Event::Error { worker, error: WorkerError::NotReceived };
    until(&mut primary, |event| *event == error).await?;
    same(said(&mut primary, client).await?, String::new())?;
    // Nothing else is lost.
    primary.send(worker, json!("give up"))?;
    same(message(&mut primary).await?, json!("given up"))?;
    let (client, server) = connection()?;
    primary.send_with(worker, json!("a"), server)?;
    same(said(&mut primary, client).await?, "used".into())?;
    over(primary).await
}

async fn no_socket() -> Tested {
    let errno = |error: io::Error| error.raw_os_error();
    same(Socket::duplicate(File::open("/dev/null")?).map(drop).map_err(errno), Err(Some(88)))?;
    same(Socket::duplicate(io::pipe()?.0).map(drop).map_err(errno), Err(Some(88)))
}

async fn many() -> Tested {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "use sockets");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut clients = Vec::new();
    for number in 0..100 {
        clients.push(connect(listener.local_addr()?.port())?);
        primary.send_with(worker, json!(number), listener.accept()?.0)?;
        primary.send(worker, json!("between"))?;
    }
    for number in 0..100 {
        same(message(&mut primary).await?, json!([number, "TcpStream"]))?;
        same(message(&mut primary).await?, json!("between"))?;
    }
    for client in clients {
        same(io::read_to_string(client)?, "used".into())?;
    }
    over(primary).await
}
