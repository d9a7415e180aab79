//! Sockets of every kind in messages, in both directions; and lost sockets.

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
    TIMEOUT, TestResult, asynchronous, connect, fork, message, port, primary, read_answer, rest, until,
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        asynchronous("worker_uses_received_sockets", to_worker),
        asynchronous("primary_uses_received_sockets", to_primary),
        asynchronous("connection_is_passed_on", passed_on),
        asynchronous("duplicated_socket_stays_open", kept_open),
        asynchronous("untaken_socket_is_closed", not_taken),
        asynchronous("unsent_socket_is_returned", not_sent),
        asynchronous("socket_for_dead_worker_is_closed", dead_worker),
        asynchronous("starved_worker_receives_no_socket", not_received),
        asynchronous("only_sockets_can_be_sent", no_socket),
        asynchronous("many_sockets_arrive_in_order", many),
    ]
}

/// A client, and the server's end of the connection.
fn connection() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = connect(listener.local_addr()?.port())?;
    Ok((client, listener.accept()?.0))
}

/// The next message and the socket.
async fn passed(primary: &mut Primary) -> Result<(Value, Option<IncomingHandle>), Failed> {
    match until(primary, |event| matches!(event, Event::Message { .. })).await?.pop() {
        Some(Event::Message { message, handle, .. }) => Ok((message.json()?, handle)),
        other => Err(format!("{other:?}").into()),
    }
}

async fn over(mut primary: Primary) -> TestResult {
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

async fn to_worker() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "use sockets");
    let (client, server) = connection()?;
    assert_eq!(primary.send_with(worker, json!("a"), server)?, Sent::Buffered);
    assert_eq!(message(&mut primary).await?, json!(["a", "TcpStream"]));
    // The client reads the end only when no copy of the socket is open.
    assert_eq!(read_answer(&mut primary, client).await?, "used");

    let (client, server) = UnixStream::pair()?;
    primary.send_with(worker, json!("b"), server)?;
    assert_eq!(message(&mut primary).await?, json!(["b", "UnixStream"]));
    assert_eq!(read_answer(&mut primary, client).await?, "used");

    let server = TcpListener::bind("127.0.0.1:0")?;
    let client = connect(server.local_addr()?.port())?;
    primary.send_with(worker, json!("c"), server)?;
    assert_eq!(message(&mut primary).await?, json!(["c", "TcpListener"]));
    assert_eq!(read_answer(&mut primary, client).await?, "used");

    let directory = tempfile::tempdir()?;
    let path = directory.path().join("s");
    let server = UnixListener::bind(&path)?;
    let client = UnixStream::connect(&path)?;
    primary.send_with(worker, json!("d"), server)?;
    assert_eq!(message(&mut primary).await?, json!(["d", "UnixListener"]));
    assert_eq!(read_answer(&mut primary, client).await?, "used");

    let (client, server) =
        (UdpSocket::bind("127.0.0.1:0")?, tokio::net::UdpSocket::bind("127.0.0.1:0").await?);
    client.set_read_timeout(Some(TIMEOUT))?;
    client.send_to(b"?", server.local_addr()?)?;
    primary.send_with(worker, json!("e"), Socket::try_from(server)?)?;
    assert_eq!(message(&mut primary).await?, json!(["e", "UdpSocket"]));
    let mut answer = [0; 10];
    let length = client.recv(&mut answer)?;
    assert_eq!(&answer[..length], b"used");
    over(primary).await
}

async fn to_primary() -> TestResult {
    let mut primary = primary()?;
    fork(&mut primary, "send sockets");
    for _ in 0..5 {
        let (message, handle) = passed(&mut primary).await?;
        let passed = handle.ok_or("a socket")?;
        let socket = primary.take_socket(passed).ok_or("a passed socket")?;
        assert!(primary.take_socket(passed).is_none());
        assert_eq!(message, used(socket.into(), passed.kind)?);
    }
    // The bytes that the worker has read from the connections.
    assert_eq!(message(&mut primary).await?, json!(["tcp", "unix"]));
    over(primary).await
}

/// The worker's message with a socket.
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

async fn passed_on() -> TestResult {
    let mut primary = primary()?;
    fork(&mut primary, "give connections away");
    let port = port(&mut primary).await?;
    let other = fork(&mut primary, "use sockets");
    for _ in 0..3 {
        let client = connect(port)?;
        let (message, handle) = passed(&mut primary).await?;
        let socket = handle.and_then(|passed| primary.take_socket(passed)).ok_or("a socket")?;
        primary.send_with(other, &message, socket)?;
        assert_eq!(super::support::message(&mut primary).await?, json!([message, "TcpStream"]));
        assert_eq!(io::read_to_string(client)?, "used");
    }
    over(primary).await
}

async fn kept_open() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "use sockets");
    let (client, mut server) = connection()?;
    primary.send_with(worker, json!("a"), Socket::duplicate(&server)?)?;
    assert_eq!(message(&mut primary).await?, json!(["a", "TcpStream"]));
    server.write_all(b" and still here")?;
    drop(server);
    assert_eq!(read_answer(&mut primary, client).await?, "used and still here");
    over(primary).await
}

async fn not_taken() -> TestResult {
    let mut primary = primary()?;
    fork(&mut primary, "give connections away");
    let client = connect(port(&mut primary).await?)?;
    let (_, handle) = passed(&mut primary).await?;
    assert!(handle.is_some());
    assert_eq!(read_answer(&mut primary, client).await?, String::new());
    assert!(handle.and_then(|passed| primary.take_socket(passed)).is_none());
    over(primary).await
}

async fn not_sent() -> TestResult {
    let mut primary = primary()?;
    let (client, server) = connection()?;
    let not_sent = primary.send_with(WorkerId(9), json!(1), server).err().ok_or("there is no such worker")?;
    assert_eq!(not_sent.error, SendError::UnknownWorker);
    let worker = fork(&mut primary, "use sockets");
    let reserved = json!({ "cmd": "NODE_RESERVED" });
    let not_sent = primary.send_with(worker, &reserved, not_sent.socket).err().ok_or("an error")?;
    assert_eq!(not_sent.error, SendError::Reserved);
    primary.send_with(worker, json!("a"), not_sent.socket)?;
    assert_eq!(read_answer(&mut primary, client).await?, "used");
    over(primary).await
}

/// The worker is stopped before the answer, and then killed.
async fn dead_worker() -> TestResult {
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
        // The connection is closed or reset. It must not stay open.
        let mut nothing = Vec::new();
        let _ = client.read_to_end(&mut nothing);
        assert!(nothing.is_empty(), "{nothing:?}");
    }
    Ok(())
}

async fn not_received() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "exhaust descriptors, then use sockets");
    assert_eq!(message(&mut primary).await?, json!("exhausted"));
    let (client, server) = connection()?;
    primary.send_with(worker, json!("lost"), server)?;
    let error = Event::Error { worker, error: WorkerError::NotReceived };
    until(&mut primary, |event| *event == error).await?;
    assert_eq!(read_answer(&mut primary, client).await?, String::new());
    // Nothing else is lost.
    primary.send(worker, json!("give up"))?;
    assert_eq!(message(&mut primary).await?, json!("given up"));
    let (client, server) = connection()?;
    primary.send_with(worker, json!("a"), server)?;
    assert_eq!(read_answer(&mut primary, client).await?, "used");
    over(primary).await
}

async fn no_socket() -> TestResult {
    let errno = |error: io::Error| error.raw_os_error();
    assert_eq!(Socket::duplicate(File::open("/dev/null")?).map(drop).map_err(errno), Err(Some(88)));
    assert_eq!(Socket::duplicate(io::pipe()?.0).map(drop).map_err(errno), Err(Some(88)));
    Ok(())
}

async fn many() -> TestResult {
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
        assert_eq!(message(&mut primary).await?, json!([number, "TcpStream"]));
        assert_eq!(message(&mut primary).await?, json!("between"));
    }
    for client in clients {
        assert_eq!(io::read_to_string(client)?, "used");
    }
    over(primary).await
}
