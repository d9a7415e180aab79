//! Node.js programs other than a single HTTP server: other protocols, Unix sockets, UDP, and several servers
//! in a program.

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;

use super::node_clients::{Client, Script, nodes, version};
use super::support::{LIMIT, Service, get, text};

const LOCAL: &str = "'127.0.0.1', function () { console.log('port', this.address().port); }";

fn service(node: &str, script: &str) -> Service {
    let options = ["-n", "1", "--node", node, "--drain", "1h", "--lame-duck", "1ms"];
    Service::of_script(script, &options)
}

/// A connection of another protocol is not an idle connection of HTTP, even without a byte: the drain waits
/// until the client ends.
#[test]
fn other_protocols_are_left_alone() {
    let script = format!(
        "require('net').createServer((socket) => socket.pipe(socket)).listen(0, {LOCAL});
        process.on('internalMessage', ({{ act }}) => {{
          if (act === 'disconnect') setTimeout(() => console.log('drains'), 1500);
        }});"
    );
    for node in nodes() {
        let service = service(&node, &script);
        let port = service.ready_port();
        let (mut used, mut unused) = (Client::connect(port), Client::connect(port));
        used.write("A\r\n\r\n");
        assert_eq!(used.head(), "a\r\n\r\n", "{node}");
        let mut reload = service.begin("reload", &[]);
        // Idle connections of HTTP are closed before the other connections.
        service.line("drains");
        for client in [&mut used, &mut unused] {
            client.write("B\r\n\r\n");
            assert_eq!(client.head(), "b\r\n\r\n", "{node}");
        }
        drop((used, unused));
        assert!(reload.wait().expect("a child").success(), "{node}");
    }
}

/// Two ports, a Unix socket and UDP in the same program: each server continues to serve, and no idle
/// connection delays the reload.
#[test]
fn several_servers_are_reloaded() {
    let script = format!(
        "const http = require('http');
        const serve = (text) => {{
          const server = http.createServer((_, res) => res.end(text));
          server.keepAliveTimeout = 0;
          return server;
        }};
        const udp = require('dgram').createSocket('udp4', (data, {{ port, address }}) => udp.send(data, port, address));
        serve('unix').listen('own.sock', () =>
          udp.bind(0, '127.0.0.1', () => {{
            console.log('udp', udp.address().port);
            serve('second').listen(0, '127.0.0.1', function () {{
              console.log('second', this.address().port);
              serve('first').listen(0, {LOCAL});
            }});
          }}));"
    );
    for node in nodes() {
        let service = service(&node, &script);
        let number = |line: String| line.rsplit(' ').next().and_then(|port| port.parse().ok());
        let udp: u16 = number(service.line("| udp ")).expect("a port");
        let second = number(service.line("| second ")).expect("a port");
        let first = service.port();
        let unix = || {
            let mut stream =
                UnixStream::connect(service.directory.path().join("own.sock")).expect("a listener");
            stream.set_read_timeout(Some(LIMIT)).expect("a time above 0");
            stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").expect("an open connection");
            stream
        };
        let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        client.set_read_timeout(Some(LIMIT)).expect("a time above 0");
        let echo = || {
            client.send_to(b"ping", ("127.0.0.1", udp)).expect("a socket");
            client.recv(&mut [0; 8]).expect("an echo")
        };
        let (mut idle, mut silent) = (Client::connect(first), Client::connect(second));
        assert_eq!((idle.get("/").body.as_str(), echo()), ("first", 4), "{node}");
        let mut open = unix();
        text(&service.command("reload", &[]));
        assert_eq!((idle.rest(), silent.rest()), (String::new(), String::new()), "{node}");
        let mut rest = String::new();
        open.read_to_string(&mut rest).expect("an end");
        assert!(rest.ends_with("unix"), "{node}: {rest}");
        assert_eq!((get(first), get(second), echo()), ("first".into(), "second".into(), 4), "{node}");
        let mut later = [0; 12];
        unix().read_exact(&mut later).expect("an answer");
        assert_eq!(&later, b"HTTP/1.1 200", "{node}");
    }
}

/// A server with HTTP/2 and HTTP/1 by ALPN: both kinds of clients leave the old worker. In Node.js 18 the
/// server cannot close idle connections.
#[test]
fn alpn_clients_leave() {
    let script = format!(
        "const tls = require('fs').readFileSync('localhost.pem');
        const options = {{ key: tls, cert: tls, allowHTTP1: true }};
        require('http2').createSecureServer(options, (_, res) => res.end('ok')).listen(0, {LOCAL});"
    );
    let client = "
        const [, port] = process.argv;
        const connect = () => require('http2').connect('https://localhost:' + port, { rejectUnauthorized: false });
        connect().on('connect', () => console.log('open')).on('close', () => console.log('closed'));
        const agent = new (require('https').Agent)({ keepAlive: true });
        // The agent does not keep the process running, so an interval does.
        setInterval(() => {}, 1_000);
        const options = { port, agent, rejectUnauthorized: false };
        require('https').get(options, (res) => {
          res.resume().on('end', () => console.log('open'));
          res.socket.on('close', () => console.log('closed'));
        });
    ";
    for node in nodes().into_iter().filter(|node| version(node) >= (20, 0)) {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("localhost.pem"), include_str!("localhost.pem"))
            .expect("a file");
        std::fs::write(directory.path().join("app.js"), &script).expect("a file");
        let options = ["-n", "1", "--node", &node, "--drain", "1h", "--lame-duck", "1ms", "app.js"];
        let service = Service::start(directory, &options);
        let port = service.ready_port();
        let mut client = Script::start("node", service.directory.path(), client, port);
        assert_eq!([client.line(), client.line()], ["open", "open"], "{node}");
        text(&service.command("reload", &[]));
        assert_eq!([client.line(), client.line()], ["closed", "closed"], "{node}");
    }
}

/// The program closes all connections in a handler of SIGTERM. Both the preload and a shutdown send SIGTERM.
#[test]
fn own_shutdown_closes_connections() {
    let script = format!(
        "const server = require('http').createServer((_, res) => res.end('ok')).listen(0, {LOCAL});
        setInterval(() => {{}}, 1_000);
        process.on('SIGTERM', () => {{
          server.close(() => process.exit(0));
          server.closeIdleConnections();
          server.closeAllConnections();
        }});"
    );
    for node in nodes() {
        let service = service(&node, &script);
        let mut client = Client::connect(service.ready_port());
        client.get("/");
        text(&service.command("reload", &[]));
        service.line("worker 1 has drained");
        assert_eq!(client.rest(), "", "{node}");
    }
}

/// A server with methods of the program in place of those of Node.js: idle connections delay no reload.
#[test]
fn replaced_methods_delay_no_reload() {
    let script = format!(
        "const server = require('http').createServer((_, res) => res.end('ok')).listen(0, {LOCAL});
        server.closeIdleConnections = server.closeAllConnections = () => {{}};"
    );
    for node in nodes() {
        let service = service(&node, &script);
        let port = service.ready_port();
        let (mut used, mut unused) = (Client::connect(port), Client::connect(port));
        used.get("/");
        text(&service.command("reload", &[]));
        assert_eq!((used.rest(), unused.rest()), (String::new(), String::new()), "{node}");
    }
}
