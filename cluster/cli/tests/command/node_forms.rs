//! Forms of Node.js programs: each form serves, and an idle connection of the old worker delays no reload.

use std::net::TcpListener;

use super::node_clients::{Client, nodes, version};
use super::support::{Service, command, get, text};

const SERVE: &str = "
const server = new (globalThis.Server ?? require('http').Server)((_, res) => res.end('ok'));
server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
";

/// Serves, and reloads with an idle connection.
fn is_served(node: &str, form: &str, arguments: &[&str]) {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().canonicalize().expect("a path");
    std::fs::write(root.join("app.js"), form.to_owned() + SERVE).expect("a file");
    std::fs::write(root.join("own.env"), "PORT=1\nNODE_OPTIONS=--no-warnings\n").expect("a file");
    let options = ["-n", "1", "--drain", "1h", "--lame-duck", "1ms", node];
    let root = root.display().to_string();
    let arguments: Vec<String> = arguments.iter().map(|argument| argument.replace("ROOT", &root)).collect();
    let arguments = options.into_iter().chain(arguments.iter().map(String::as_str)).chain(["app.js"]);
    let service = Service::start(directory, &arguments.collect::<Vec<_>>());
    let port = service.ready_port();
    let mut idle = Client::connect(port);
    assert_eq!(idle.get("/").body, "ok", "{node}: {form}");
    text(&service.command("reload", &[]));
    assert_eq!(idle.rest(), "", "{node}: {form}");
    assert_eq!(get(port), "ok", "{node}: {form}");
}

/// The preload survives replaced functions, and methods of a subclass.
#[test]
fn replaced_functions_harm_no_reload() {
    let forms = [
        "globalThis.setTimeout = globalThis.setInterval = () => { throw new Error('replaced'); };
        globalThis.clearTimeout = globalThis.setTimeout;",
        "process.hrtime.bigint = () => 0n;
        process._getActiveHandles = process.exit = () => { throw new Error('replaced'); };",
        "globalThis.Server = class extends require('http').Server { closeIdleConnections() {} };",
    ];
    for node in nodes() {
        for form in forms {
            is_served(&node, form, &[]);
        }
    }
}

/// A program with messages of its own, threads, children, handlers of the last resort, and requests to
/// itself.
#[test]
fn busy_programs_are_served() {
    let forms = [
        "process.on('message', () => {}); process.send({ hello: 1 }); process.send('text');",
        "const cluster = require('cluster'); if (cluster.isPrimary) cluster.setupPrimary({ exec: 'missing.js' });",
        "new (require('worker_threads').Worker)('setInterval(() => {}, 1000)', { eval: true });",
        "require('child_process').fork('-', { execArgv: ['-e', 'process.on(`disconnect`, () => process.exit())'] });",
        "process.on('uncaughtException', () => {}); setTimeout(() => { throw new Error('late'); });",
        "process.on('beforeExit', () => process.exit(0)); process.title = 'x'.repeat(200);",
        "const ask = () => fetch(`http://127.0.0.1:${server.address()?.port}`).then((res) => res.text());
        setInterval(() => ask().catch(() => {}), 10);",
    ];
    for node in nodes() {
        for form in forms {
            is_served(&node, form, &[]);
        }
    }
}

/// Options of Node.js before the script: loaders, files of variables, source maps and the permission model.
#[test]
fn node_options_are_served() {
    for node in nodes() {
        let cases: [(_, &[&str]); 5] = [
            ((18, 0), &["--enable-source-maps", "--title=own"]),
            ((20, 6), &["--env-file", "own.env"]),
            ((20, 6), &["--import", "data:text/javascript,import 'node:http'"]),
            ((20, 6), &["--experimental-loader", "data:text/javascript,export {}"]),
            ((24, 0), &["--permission", "--allow-net", "--allow-fs-read=ROOT"]),
        ];
        for (since, options) in cases {
            let knows = |option: &str| option != "--allow-net" || version(&node) >= (25, 0);
            let options: Vec<_> = options.iter().copied().filter(|option| knows(option)).collect();
            if version(&node) >= since {
                is_served(&node, "", &options);
            }
        }
    }
}

/// With `--inspect` each worker has an inspector, although the port of the option is taken.
#[test]
fn inspectors_have_different_ports() {
    let inspected = SERVE.replace("'ok'", "new URL(require('inspector').url()).port");
    for node in nodes() {
        for by_variable in [false, true] {
            let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
            let first = taken.local_addr().expect("an address").port().to_string();
            let option = format!("--inspect=127.0.0.1:{first}");
            let directory = tempfile::tempdir().expect("a directory");
            std::fs::write(directory.path().join("app.js"), &inspected).expect("a file");
            let mut run = command(directory.path(), "run");
            run.args(["-n", "1", "--lame-duck", "1ms", node.as_str()]);
            if by_variable { run.env("NODE_OPTIONS", option) } else { run.arg(option) }.arg("app.js");
            let service = Service::of_command(directory, run);
            let port = service.ready_port();
            let second = get(port);
            text(&service.command("reload", &[]));
            let third = get(port);
            assert!(first != second && first != third && second != third, "{node}: {first} {second} {third}");
        }
    }
}
