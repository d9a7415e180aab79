//! Sockets other than TCP connections with Node.js on the other side: paths, datagrams, and sockets in
//! messages. Ignored without `node`.

use std::io::{self, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use ::cluster::{AddressType, Event, Primary, SchedulingPolicy, Signal, Socket};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use super::node::{is_absent, leading, lines, script};
use super::support::{TestResult, asynchronous, connect, message, read_answer, rest, trial, until};

/// Uses each received socket, and sends a socket of the same kind back.
const PASSING_WORKER: &str = "
    const [net, dgram] = [require('net'), require('dgram')];
    process.on('message', (message, handle) => {
        if (handle instanceof net.Socket) {
            handle.end('node');
            const server = net.createServer((connection) => {
                server.close();
                process.send('socket', connection);
            }).listen({ port: 0, host: '127.0.0.1', exclusive: true }, () => process.send(server.address().port));
        } else if (handle instanceof net.Server) {
            handle.on('connection', (connection) => {
                connection.end('node');
                process.send('server', handle);
            });
        } else if (handle instanceof dgram.Socket) {
            handle.on('message', (text, client) => {
                handle.send('node', client.port, client.address);
                process.send(handle.type, handle);
            });
        } else {
            process.exit(3);
        }
    });
";

/// Sends a socket of each kind in turn, and receives a socket in return.
const PASSING_PRIMARY: &str = "
    const [cluster, net, dgram, fs] = [require('cluster'), require('net'), require('dgram'), require('fs')];
    process.execPath = process.argv[2];
    cluster.setupPrimary({ exec: 'none', args: [] });
    const worker = cluster.fork({ PROGRAM: 'send sockets back' });
    worker.on('exit', (code, signal) => console.log('exit', code, signal));
    const next = () => { const step = steps.shift(); if (step) step(); else worker.disconnect(); };
    const received = (kind, handle) => {
        console.log(kind, handle && handle.constructor.name);
        handle.close ? handle.close() : handle.destroy();
        next();
    };
    worker.on('message', received);
    const server = (path) => {
        const listening = net.createServer(() => console.log('not here')).listen(path, () => {
            let to = listening.address().port;
            // Renamed, because a close in the primary would remove the path.
            if (!to) fs.renameSync(path, to = path + '2');
            worker.send('server', listening, () => listening.close(() => {
                net.connect(to).on('data', (data) => console.log(String(data)));
            }));
        });
    };
    const steps = [
        () => {
            const listening = net.createServer((connection) => {
                listening.close();
                worker.send('socket', connection);
            }).listen(0, '127.0.0.1', () => {
                net.connect(listening.address().port).on('data', (data) => console.log(String(data)));
            });
        },
        () => server(0),
        () => server(process.argv[3]),
        () => {
            const socket = dgram.createSocket('udp4').bind(0, '127.0.0.1', () => {
                const client = dgram.createSocket('udp4');
                const { port } = socket.address();
                client.on('message', (text) => { console.log(String(text)); client.close(); });
                worker.send('datagram', socket, () => socket.close(() => client.send('?', port, '127.0.0.1')));
            });
        },
    ];
    worker.on('online', next);
";

/// Serves a path, and datagrams.
const PLACES: &str = "
    const [net, dgram] = [require('net'), require('dgram')];
    net.createServer((connection) => connection.end('node')).listen({ path: process.argv[2], readableAll: true });
    const socket = dgram.createSocket('udp4');
    socket.on('message', (text, client) => socket.send('node', client.port, client.address));
    socket.bind(0, '127.0.0.1');
";

/// Lets a worker serve a path and datagrams. A client uses each.
const PLACES_PRIMARY: &str = "
    const [cluster, net, dgram, fs] = [require('cluster'), require('net'), require('dgram'), require('fs')];
    process.execPath = process.argv[2];
    cluster.setupPrimary({ exec: 'none', args: [] });
    if (process.argv[3] === 'shared') cluster.schedulingPolicy = cluster.SCHED_NONE;
    const path = process.argv[4];
    const worker = cluster.fork({ PROGRAM: 'serve both', LISTEN: path });
    let left = 2;
    const done = () => { if (--left === 0) worker.disconnect(); };
    worker.on('exit', (code, signal) => console.log('exit', code, signal, !fs.existsSync(path)));
    worker.on('listening', ({ address, port, addressType }) => {
        if (addressType === 'udp4') {
            console.log('listening', address, addressType);
            const client = dgram.createSocket('udp4').on('message', (text) => {
                console.log('datagram', String(text));
                client.close(done);
            });
            client.send('?', port, address);
        } else {
            console.log('listening', address, port, addressType);
            net.connect(path).on('data', (data) => console.log('data', String(data))).on('close', done);
        }
    });
";

pub(crate) fn trials() -> Vec<Trial> {
    let absent = is_absent();
    let trials = [
        asynchronous("node_workers_serve_paths_and_datagrams", || places(SchedulingPolicy::RoundRobin)),
        asynchronous("node_workers_share_paths_and_datagrams", || places(SchedulingPolicy::Shared)),
        trial("our_worker_serves_sockets_under_node", || our_places("round-robin")),
        trial("our_worker_shares_sockets_under_node", || our_places("shared")),
        asynchronous("node_workers_pass_sockets", node_sockets),
        trial("node_primary_passes_sockets", our_sockets),
    ];
    trials.into_iter().map(|trial| trial.with_ignored_flag(absent)).collect()
}

async fn places(policy: SchedulingPolicy) -> TestResult {
    let script = script(PLACES)?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("s");
    let mut primary = leading(&script, &[&path], policy)?;
    primary.fork()?;
    let (mut at_path, mut at_port) = (None, None);
    while at_path.is_none() || at_port.is_none() {
        let listening = until(&mut primary, |event| matches!(event, Event::Listening { .. })).await?.pop();
        let Some(Event::Listening { address, .. }) = listening else { continue };
        match address.address_type {
            AddressType::Path => at_path = address.address,
            _ => at_port = u16::try_from(address.port).ok(),
        }
    }
    assert_eq!(at_path.as_deref(), path.to_str());
    let mode = std::fs::metadata(&path)?.permissions().mode();
    assert_eq!(mode & 0o444, 0o444);
    assert_eq!(read_answer(&mut primary, UnixStream::connect(&path)?).await?, "node");
    let client = UdpSocket::bind("127.0.0.1:0")?;
    client.send_to(b"?", ("127.0.0.1", at_port.unwrap_or_default()))?;
    assert_eq!(datagram(&mut primary, client).await?, "node");
    primary.disconnect_all();
    rest(&mut primary).await?;
    assert!(!path.exists());
    Ok(())
}

/// The next datagram for a client, while the primary runs.
async fn datagram(primary: &mut Primary, client: UdpSocket) -> Result<String, Failed> {
    client.set_nonblocking(true)?;
    let client = tokio::net::UdpSocket::from_std(client)?;
    let mut text = [0; 100];
    tokio::select! {
        length = client.recv(&mut text) => Ok(String::from_utf8_lossy(&text[..length?]).into_owned()),
        event = until(primary, |event| matches!(event, Event::Exit { .. })) => Err(format!("{event:?}").into()),
    }
}

fn our_places(policy: &str) -> TestResult {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("s");
    let mut lines = lines(PLACES_PRIMARY, &[policy.as_ref(), path.as_os_str()])?;
    lines.sort();
    let listening = format!("listening {} -1 -1", path.display());
    let expected = ["data 1", "datagram ? for 1", "exit 0 null true", &listening, "listening 127.0.0.1 udp4"];
    if lines == expected { Ok(()) } else { Err(Failed::from(format!("{lines:?}"))) }
}

async fn node_sockets() -> TestResult {
    let script = script(PASSING_WORKER)?;
    let mut primary = leading(&script, &[], SchedulingPolicy::RoundRobin)?;
    let worker = primary.fork()?;
    until(&mut primary, |event| matches!(event, Event::Online { .. })).await?;

    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = connect(listener.local_addr()?.port())?;
    primary.send_with(worker, json!("socket"), listener.accept()?.0)?;
    let port = message(&mut primary).await?.as_u64().and_then(|port| u16::try_from(port).ok());
    assert_eq!(io::read_to_string(client)?, "node");
    let client = connect(port.ok_or("a port")?)?;
    match back(&mut primary).await? {
        (kind, Socket::TcpStream(mut stream)) if kind == "socket" => stream.write_all(b"rust")?,
        other => return Err(format!("{other:?}").into()),
    }
    assert_eq!(io::read_to_string(client)?, "rust");

    let address = listener.local_addr()?;
    let client = connect(address.port())?;
    primary.send_with(worker, json!("server"), listener)?;
    match back(&mut primary).await? {
        (kind, Socket::TcpListener(listener)) if kind == "server" => {
            assert_eq!(listener.local_addr()?, address);
        }
        other => return Err(format!("{other:?}").into()),
    }
    assert_eq!(io::read_to_string(client)?, "node");

    // Without a Unix server: a Node worker takes its descriptor for a descriptor of the primary.
    let (client, stream) = UnixStream::pair()?;
    primary.send_with(worker, json!("socket"), stream)?;
    message(&mut primary).await?;
    assert_eq!(io::read_to_string(client)?, "node");

    let (socket, client) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    client.send_to(b"?", socket.local_addr()?)?;
    primary.send_with(worker, json!("datagram"), socket)?;
    match back(&mut primary).await? {
        (kind, Socket::UdpSocket(_)) if kind == "udp4" => {}
        other => return Err(format!("{other:?}").into()),
    }
    assert_eq!(datagram(&mut primary, client).await?, "node");
    primary.kill(worker, Signal::SIGTERM);
    rest(&mut primary).await.map(drop)
}

/// The next message with a socket.
async fn back(primary: &mut Primary) -> Result<(Value, Socket), Failed> {
    match until(primary, |event| matches!(event, Event::Message { .. })).await?.pop() {
        Some(Event::Message { message, handle: Some(passed), .. }) => {
            Ok((message.json()?, primary.take_socket(passed).ok_or("a passed socket")?.into()))
        }
        other => Err(format!("{other:?}").into()),
    }
}

fn our_sockets() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut lines = lines(PASSING_PRIMARY, &[directory.path().join("s").as_os_str()])?;
    lines.sort();
    let back = ["TcpListener Server", "TcpStream Socket", "UdpSocket Socket", "UnixListener Server"];
    let expected = [&back[..], &["exit 0 null", "used", "used", "used", "used"]].concat();
    if lines == expected { Ok(()) } else { Err(Failed::from(format!("{lines:?}"))) }
}
