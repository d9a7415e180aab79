//! The preload in servers of Node.js: the lame duck, the drain, pings and statistics.

use std::fs;
use std::path::Path;

use serde_json::Value;

use std::io::Read;
use std::net::TcpStream;

use super::node_clients::{Client, Script, nodes};
use super::support::{SERVER, Service, text, until};

/// Runs a service with one worker and without a limit on drains.
fn service(node: &str, script: &str, options: &[&str]) -> Service {
    let own = ["-n", "1", "--node", node, "--drain", "1h"];
    Service::of_script(script, &[&own, options].concat())
}

/// The key and the certificate of `localhost`.
const TLS: &str = include_str!("localhost.pem");

/// Each way of a program to write the header `Connection`.
const HEADERS: &str = "
const server = require('http').createServer((req, res) => {
  if (req.url === '/set') res.setHeader('Connection', 'keep-alive');
  if (req.url === '/object') res.writeHead(200, 'fine', { connection: 'keep-alive', 'Content-Length': 2 });
  if (req.url === '/flat') res.writeHead(200, ['X-A', 'connection', 'CONNECTION', 'keep-alive', 'Content-Length', '2']);
  if (req.url === '/pairs') res.writeHead(200, [['Connection', 'keep-alive'], ['Content-Length', '2']]);
  res.end('ok');
});
server.keepAliveTimeout = 0;
server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
";

/// A lame duck asks each client to connect elsewhere, even if the program writes another `Connection`.
#[test]
fn lame_duck_closes_after_answers() {
    for node in nodes() {
        let service = service(&node, HEADERS, &["--lame-duck", "1h", "--shutdown", "2h"]);
        let port = service.ready_port();
        let mut clients =
            ["/", "/set", "/object", "/flat", "/pairs"].map(|path| (path, Client::connect(port)));
        for (path, client) in &mut clients {
            assert!(!client.get(path).closes(), "{node}: {path}");
        }
        let mut reload = service.begin("reload", &[]);
        for (path, mut client) in clients {
            while !client.get(path).closes() {}
            assert_eq!(client.rest(), "", "{node}: {path}");
        }
        assert!(!Client::connect(port).get("/").closes(), "the successor serves");
        let _ = reload.kill();
        let _ = reload.wait();
    }
}

/// Idle connections are closed at the end of the lame duck, with or without earlier requests.
#[test]
fn idle_connections_delay_no_reload() {
    for node in nodes() {
        let service = service(&node, HEADERS, &["--lame-duck", "1ms"]);
        let port = service.ready_port();
        let (mut used, mut unused) = (Client::connect(port), Client::connect(port));
        used.get("/");
        text(&service.command("reload", &[]));
        assert_eq!((used.rest(), unused.rest()), (String::new(), String::new()), "{node}");
    }
}

/// An answer in progress completes. Because the answer has promised a lasting connection, the next request is
/// served as well.
#[test]
fn lame_duck_completes_answers() {
    let script = "
        const server = require('http').createServer((req, res) => {
          if (req.method === 'GET') return res.end('ok');
          res.flushHeaders();
          req.pipe(res);
        });
        server.keepAliveTimeout = 0;
        server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
        process.on('internalMessage', ({ act }) => act === 'disconnect' && console.log('asked to disconnect'));
    ";
    for node in nodes() {
        let service = service(&node, script, &["--lame-duck", "1ms"]);
        let port = service.ready_port();
        let mut client = Client::connect(port);
        client.write("POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 6\r\n\r\nabc");
        assert!(!client.head().contains("connection: close"), "{node}");
        let mut reload = service.begin("reload", &[]);
        service.line("asked to disconnect");
        client.write("defGET / HTTP/1.1\r\nHost: here\r\n\r\n");
        let rest = client.rest();
        assert!(rest.contains("abc") && rest.contains("def"), "{node}: {rest}");
        assert!(rest.contains("Connection: close") && rest.ends_with("\r\n\r\nok"), "{node}: {rest}");
        assert!(reload.wait().expect("a child").success(), "{node}");
    }
}

/// The lame duck asks a client with a lasting connection over TLS to close, and closes a connection without a
/// handshake.
#[test]
fn https_lame_duck_closes() {
    let script = "
        const tls = require('fs').readFileSync('localhost.pem');
        const server = require('https').createServer({ key: tls, cert: tls }, (_, res) => res.end('ok'));
        server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
    ";
    let client = "
        const https = require('https');
        const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
        const options = { port: process.argv[1], agent, rejectUnauthorized: false };
        let last;
        const ask = () => https.get(options, (res) => {
          const { connection } = res.headers;
          if (connection !== last) console.log(last = connection);
          res.resume().on('end', connection === 'close' ? () => {} : ask);
        });
        ask();
    ";
    for node in nodes() {
        let service = with_tls(&node, script, &["--lame-duck", "500ms"]);
        let port = service.ready_port();
        let mut silent = Client::connect(port);
        let mut client = Script::start("node", service.directory.path(), client, port);
        assert_eq!(client.line(), "keep-alive", "{node}");
        text(&service.command("reload", &[]));
        assert_eq!(client.line(), "close", "{node}");
        assert_eq!(silent.rest(), "", "{node}");
    }
}

fn with_tls(node: &str, script: &str, options: &[&str]) -> Service {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("localhost.pem"), TLS).expect("a file");
    fs::write(directory.path().join("app.js"), script).expect("a file");
    let own = ["-n", "1", "--node", node, "--drain", "1h"];
    Service::start(directory, &[&own, options, &["app.js"]].concat())
}

/// The session receives GOAWAY, the open stream completes, and an idle session does not delay the reload.
fn http2_session_ends(create: &str, scheme: &str) {
    let script = format!(
        "const tls = require('fs').readFileSync('localhost.pem');
        const server = require('http2').{create};
        server.on('stream', (stream) => {{
          stream.respond();
          stream.pipe(stream);
        }});
        server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));"
    );
    let client = format!(
        "const connect = () => require('http2').connect('{scheme}://localhost:' + process.argv[1], {{ rejectUnauthorized: false }});
        connect().on('close', () => console.log('idle session closed'));
        const busy = connect();
        const stream = busy.request({{ ':method': 'POST' }});
        stream.write('abc');
        let body = '';
        stream.on('data', (data) => {{
          if (body === '') console.log('open');
          body += data;
        }});
        busy.once('goaway', () => {{
          console.log('goaway');
          stream.end('def');
        }});
        stream.on('close', () => console.log(body));"
    );
    for node in nodes() {
        let service = with_tls(&node, &script, &["--lame-duck", "1ms"]);
        let port = service.ready_port();
        let mut silent = Client::connect(port);
        let mut client = Script::start("node", service.directory.path(), &client, port);
        assert_eq!(client.line(), "open", "{node}");
        text(&service.command("reload", &[]));
        let mut lines = [client.line(), client.line(), client.line()];
        lines.sort();
        assert_eq!(lines, ["abcdef", "goaway", "idle session closed"], "{node}");
        silent.rest();
    }
}

#[test]
fn http2_sessions_end() {
    http2_session_ends("createServer()", "http");
}

#[test]
fn http2_tls_sessions_end() {
    http2_session_ends("createSecureServer({ key: tls, cert: tls })", "https");
}

/// A connection after an upgrade is not a connection of HTTP: the drain waits for the end.
#[test]
fn upgraded_connections_last() {
    let script = "
        const server = require('http').createServer();
        server.on('upgrade', (_, socket) => {
          socket.write('HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: echo\\r\\n\\r\\n');
          socket.pipe(socket);
        });
        server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
    ";
    for node in nodes() {
        let service = service(&node, script, &["--lame-duck", "1ms"]);
        let port = service.ready_port();
        let mut idle = TcpStream::connect(("127.0.0.1", port)).expect("a listener");
        let mut client = Client::connect(port);
        client.write("GET / HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
        assert!(client.head().contains(" 101 "), "{node}");
        let mut reload = service.begin("reload", &[]);
        // Idle connections of HTTP are closed before the upgraded connection.
        assert_eq!(idle.read(&mut [0]).expect("the end"), 0, "{node}");
        client.write("HI\r\n\r\n");
        assert_eq!(client.head(), "hi\r\n\r\n", "{node}");
        drop(client);
        assert!(reload.wait().expect("a child").success(), "{node}");
    }
}

/// A worker with the preload answers pings. A blocked worker does not answer, counts as hung, and is
/// replaced.
#[test]
fn blocked_worker_is_replaced() {
    let script = "
        let pings = 0;
        process.on('internalMessage', ({ cmd }) => {
          if (cmd === 'NODE_CLUSTER_PING' && ++pings === 3) console.log('three pings');
        });
        const server = require('http').createServer((_, res) => {
          console.log('blocked');
          for (;;);
        });
        server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
    ";
    for node in nodes() {
        let service = service(&node, script, &["--heartbeat", "1s"]);
        let port = service.port();
        service.line("three pings");
        let mut client = Client::connect(port);
        client.write("GET / HTTP/1.1\r\nHost: here\r\n\r\n");
        service.line("blocked");
        service.line("slot 0: worker 2 is ready");
    }
}

/// Here the primary is Node.js: the program of the primary receives the statistics as messages. The program
/// of the worker does not receive the requests.
#[test]
fn worker_reports_statistics() {
    let primary = "
        const cluster = require('cluster');
        cluster.setupPrimary({ exec: 'app.js', execArgv: ['--require', process.argv[1]] });
        const worker = cluster.fork();
        const ask = () => worker.send({ cmd: 'NODE_CLUSTER_STATS' });
        worker.on('listening', ({ port }) => require('net').connect(port, '127.0.0.1', ask));
        let answers = 0;
        worker.on('message', (message) => {
          const { cmd, connections, heapUsed, heapTotal, delayMean, delayMax, utilization } = message;
          if (cmd !== 'CLUSTER_STATS') return console.log('the program received', message);
          answers += 1;
          // A delay right after a reply is not measured, so the next request follows after several
          // measurements.
          if (connections !== 1 || delayMax < 50) return setTimeout(ask, 1_000);
          console.log(answers > 1, heapUsed < heapTotal, delayMean <= delayMax, 0 < utilization && utilization <= 1);
          worker.kill();
        });
    ";
    let script = "
        process.on('message', (message) => process.send(message));
        require('http').createServer().listen(0, '127.0.0.1');
        setInterval(() => {
          for (const end = Date.now() + 100; Date.now() < end; );
        }, 300);
    ";
    let preload = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/preload.cjs");
    for node in nodes() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("app.js"), script).expect("a file");
        let mut command = std::process::Command::new(&node);
        command.arg("--eval").arg(primary).arg(&preload).current_dir(directory.path());
        let output = command.output().expect("Node.js is installed");
        assert_eq!(text(&output), "true true true true\n", "{node}");
    }
}

/// Under the shared policy a lame duck still accepts connections. The drain also closes idle connections.
#[test]
fn shared_policy_drains() {
    for node in nodes() {
        let service = service(&node, SERVER, &["--policy", "shared", "--lame-duck", "1ms"]);
        let port = service.ready_port();
        let mut unused = Client::connect(port);
        text(&service.command("reload", &[]));
        assert_eq!(unused.rest(), "", "{node}");
    }
}

/// The statistics of the only worker.
fn statistics(service: &Service) -> Value {
    let status: Value = serde_json::from_str(&text(&service.command("status", &["--json"]))).expect("JSON");
    status["slots"][0]["statistics"].clone()
}

/// A status asks for statistics, and the next status has the answers.
#[test]
fn status_has_statistics() {
    let service = Service::of_script(SERVER, &["-n", "1"]);
    let _client = Client::connect(service.ready_port());
    until("the connection is reported", || statistics(&service)["connections"] == 1);
    assert!(statistics(&service)["heap_used"].as_u64() > Some(1_000_000));
}

/// Counts more connections than the preload keeps with strong references.
#[test]
fn statistics_count_many_connections() {
    let service = Service::of_script(SERVER, &["-n", "1"]);
    let port = service.ready_port();
    let mut clients: Vec<Client> = (0..300).map(|_| Client::connect(port)).collect();
    until("all connections are reported", || statistics(&service)["connections"] == 300);
    clients.truncate(20);
    until("the closed connections are forgotten", || statistics(&service)["connections"] == 20);
    for client in &mut clients {
        assert!(client.get("/").head.starts_with("http/1.1 200"));
    }
}

/// Node.js workers report their open connections to the policy, without any request for statistics: after the
/// connections of a worker end, this worker receives the next connections.
#[test]
fn preload_reports_open_connections() {
    const COUNTING: &str = "
        const server = require('net').createServer((socket) => socket.resume().write(`${process.env.CLUSTER_SLOT}\n`));
        server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
    ";
    for node in nodes() {
        let options = ["-n", "2", "--node", &node, "--policy", "least-connections"];
        let service = Service::of_script(COUNTING, &options);
        let (mut port, mut ready) = (None, 0);
        while port.is_none() || ready < 2 {
            let line = service.line("");
            ready += usize::from(line.contains("is ready"));
            port = port.or_else(|| line.split_once("| port ")?.1.parse().ok());
        }
        let port: u16 = port.expect("a port");
        let status = || -> Value {
            serde_json::from_str(&text(&service.command("status", &["--json"]))).expect("JSON")
        };
        let count = |key: &str| [0, 1].map(|slot| status()["slots"][slot][key].as_u64());
        // A worker that has not answered receives nothing, so each connection waits for the answer of the
        // last.
        let mut connected = 0;
        let mut slot = || {
            let mut client = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
            let mut line = [0; 2];
            client.read_exact(&mut line).expect("a line");
            connected += 1;
            until("the worker has answered", || {
                count("acknowledged_connections").into_iter().flatten().sum::<u64>() == connected
            });
            (line[0], client)
        };
        let mut clients: Vec<_> = (0..6).map(|_| slot()).collect();
        let of_first = |clients: &[(u8, TcpStream)]| clients.iter().filter(|(slot, _)| *slot == b'0').count();
        assert_eq!(of_first(&clients), 3, "{node}");
        until("the open connections are reported", || count("open_connections") == [Some(3); 2]);
        clients.retain(|(slot, _)| *slot == b'1');
        until("the closed connections are reported", || count("open_connections") == [Some(0), Some(3)]);
        clients.extend((0..3).map(|_| slot()));
        assert_eq!(of_first(&clients), 3, "{node}");
    }
}
