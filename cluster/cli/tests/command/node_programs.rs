//! Kinds of Node.js programs, and the observations of a program with the preload.

use super::node_clients::{Client, Script, nodes, version};
use super::support::{Service, get, text};

fn service(node: &str, file: &str, script: &str, options: &[&str]) -> Service {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join(file), script).expect("a file");
    let own = ["-n", "1", "--node", node, "--drain", "1h", "--lame-duck", "1ms"];
    Service::start(directory, &[&own, options, &[file]].concat())
}

/// Prints everything that the preload could change: in the process, in children and in a thread.
const OBSERVER: &str = "
const { fork, spawnSync } = require('child_process');
const { Worker } = require('worker_threads');
const cluster = require('cluster');
const events = [...new Set([...process.eventNames(), 'message', 'disconnect', 'SIGTERM', 'exit'])].filter((name) => name !== 'internalMessage');
const seen = {
  listeners: events.map((name) => [String(name), process.listenerCount(name)]).sort(),
  options: process.env.NODE_OPTIONS,
  execArgv: process.execArgv,
  keys: Object.keys(require.cache),
  role: [cluster.isPrimary, cluster.isWorker, cluster.worker.id, process.connected],
  writeHead: require('http').ServerResponse.prototype.writeHead.name + require('http').ServerResponse.prototype.writeHead.length,
  child: String(spawnSync(process.execPath, ['-p', '[process.env.NODE_OPTIONS, process.connected, require(`cluster`).isWorker]']).stdout),
};
seen.keys = seen.keys.filter((key) => !key.includes('preload'));
const server = require('http').createServer((_, res) => {
  res.end(JSON.stringify({ ...seen, socket: res.socket.eventNames().map((name) => [String(name), res.socket.listenerCount(name)]) }));
});
const thread = new Worker('require(`worker_threads`).parentPort.postMessage([process.env.NODE_OPTIONS, process.connected])', { eval: true });
thread.on('message', (message) => {
  seen.thread = message;
  const child = fork('-', { execArgv: ['-e', 'process.send([process.env.NODE_OPTIONS, require(`cluster`).isWorker]); process.disconnect()'] });
  child.on('message', (message) => {
    seen.fork = message;
    server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
  });
});
";

/// With the preload, a program observes the same as in a worker of Node's own cluster.
#[test]
fn preload_is_invisible() {
    let primary = "
        const cluster = require('cluster');
        cluster.setupPrimary({ exec: 'app.js', execArgv: [] });
        cluster.fork();
        process.stdin.on('end', () => process.exit()).resume();
    ";
    for node in nodes() {
        let service = service(&node, "app.js", OBSERVER, &[]);
        let mut own = Script::start(&node, service.directory.path(), primary, 0);
        let port = own.line().rsplit(' ').next().and_then(|port| port.parse().ok());
        let expected = get(port.expect("a port"));
        assert!(expected.contains("listeners"), "{node}: {expected}");
        assert_eq!(get(service.port()), expected, "{node}");
    }
}

/// The user's own `NODE_OPTIONS` remain for the program and for children.
#[test]
fn own_node_options_stay() {
    let script = "
        const server = require('http').createServer((_, res) => res.end(process.env.NODE_OPTIONS));
        server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
    ";
    for node in nodes() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        std::fs::write(root.join("app.js"), script).expect("a file");
        let config = format!(
            "program = 'app.js'\nworkers = 1\nnode = '{node}'\n[env]\nNODE_OPTIONS = '--no-warnings'\n"
        );
        std::fs::write(root.join("cluster.toml"), config).expect("a file");
        assert_eq!(get(Service::start(directory, &[]).port()), "--no-warnings", "{node}");
    }
}

/// A program that forks workers runs as a worker here: the branch for a primary never runs.
#[test]
fn forking_program_is_worker() {
    let script = "
        const cluster = require('cluster');
        if (cluster.isPrimary) for (let i = 0; i < 4; i++) cluster.fork();
        else {
          const server = require('http').createServer((_, res) => res.end('worker ' + cluster.worker.id));
          server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
          cluster.worker.on('disconnect', () => console.log('the program observes the disconnect'));
        }
    ";
    for node in nodes() {
        let service = service(&node, "app.js", script, &[]);
        let port = service.ready_port();
        assert_eq!(get(port), "worker 1", "{node}");
        text(&service.command("reload", &[]));
        service.line("the program observes the disconnect");
        assert_eq!(get(port), "worker 2", "{node}");
    }
}

#[test]
fn modules_and_typescript_are_served() {
    let module = "
        import { createServer } from 'node:http';
        const server = createServer((_, res) => res.end(import.meta.url));
        await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
        console.log('port', server.address().port);
    ";
    for node in nodes() {
        let (major, minor) = version(&node);
        let has_typescript = major > 22 || (major == 22 && minor >= 18);
        let typed = module.replace("const server", "const server: import('node:http').Server");
        let files = [("app.mjs", module), ("app.mts", &typed)];
        for (file, script) in files.into_iter().take(1 + usize::from(has_typescript)) {
            let service = service(&node, file, script, &[]);
            let port = service.ready_port();
            let mut client = Client::connect(port);
            assert!(client.get("/").body.ends_with(file), "{node}");
            text(&service.command("reload", &[]));
            assert_eq!(client.rest(), "", "{node}");
            assert!(get(port).ends_with(file), "{node}");
        }
    }
}

/// A program with an interval would run on after the last connection. The preload ends the program, by
/// SIGTERM if the program handles the signal.
#[test]
fn busy_program_exits_after_drain() {
    let script = "
        const server = require('http').createServer((_, res) => res.end('ok'));
        server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
        setInterval(() => {}, 1000);
        process.on('exit', (code) => console.log('exit with', code));
    ";
    let handler =
        "process.on('SIGTERM', () => { console.log('SIGTERM'); server.close(() => {}); process.exit(0); });";
    for node in nodes() {
        for (script, line) in [(script.to_owned(), "exit with 0"), (script.to_owned() + handler, "SIGTERM")] {
            let service = service(&node, "app.js", &script, &[]);
            service.ready_port();
            text(&service.command("reload", &[]));
            service.line(line);
        }
    }
}

/// A program without further work exits at once: the preload does not keep the process running.
#[test]
fn finished_program_exits_itself() {
    let script = "
        const server = require('http').createServer((_, res) => res.end('ok'));
        server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
        process.on('beforeExit', (code) => console.log('nothing is left'));
    ";
    for node in nodes() {
        let service = service(&node, "app.js", script, &[]);
        service.ready_port();
        text(&service.command("reload", &[]));
        service.line("nothing is left");
    }
}

/// The program may send messages with the names of the preload's messages, and may replace `process.send`.
#[test]
fn programs_messages_stay() {
    let script = "
        process.on('message', () => {});
        process.send({ cmd: 'CLUSTER_STATS', of: 'the program' });
        const { send } = process;
        process.send = (message, ...rest) => {
          if (message.cmd === 'NODE_CLUSTER_PONG') throw new Error('replaced');
          return send.call(process, message, ...rest);
        };
        const server = require('http').createServer((_, res) => res.end('ok'));
        server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
        let pings = 0;
        process.on('internalMessage', ({ cmd }) => {
          if (cmd === 'NODE_CLUSTER_PING' && ++pings === 4) console.log('four pings');
        });
    ";
    for node in nodes() {
        let service = service(&node, "app.js", script, &["--heartbeat", "1s"]);
        let port = service.port();
        service.line("four pings");
        assert_eq!(get(port), "ok", "{node}");
    }
}
