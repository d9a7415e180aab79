//! Unmodified servers of well-known packages, through reloads, a scale and a crash: no client loses a
//! request.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::node_clients::{Client, Script, nodes, with_node};
use super::support::{Service, is_present, text};

/// The folder of the servers with all packages. `None`: the registry cannot be reached.
pub(super) fn installed() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER.get_or_init(install).as_deref()
}

fn install() -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("servers");
    fs::create_dir_all(&folder).expect("a folder");
    let lock = fs::read(own.join("servers/package-lock.json")).expect("a lockfile");
    let is_installed = fs::read(folder.join("installed")).is_ok_and(|installed| installed == lock);
    for entry in fs::read_dir(own.join("servers")).expect("a folder") {
        let file = entry.expect("a file").path();
        fs::copy(&file, folder.join(file.file_name().expect("a name"))).expect("a copy");
    }
    fs::copy(own.join("tests/command/localhost.pem"), folder.join("localhost.pem")).expect("a copy");
    if !is_installed {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder);
        let output = npm.output().expect("npm is installed");
        if !output.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        }
        if !is_present("packages of npm: `npm ci` has failed", output.status.success()) {
            return None;
        }
        fs::write(folder.join("installed"), lock).expect("a file");
    }
    Some(folder)
}

pub(super) fn in_folder(folder: &Path, node: &str, arguments: &[&str]) -> Service {
    let directory = tempfile::tempdir().expect("a directory");
    let cwd = ["--node", node, "--cwd", folder.to_str().expect("a name in UTF-8")];
    let run = with_node(node, directory.path(), &[&cwd, arguments].concat());
    Service::of_command(directory, run)
}

/// Serves a client during two reloads and a scale; a second client begins at the moment of a crash.
fn loses_nothing(server: &str, kind: &str) {
    let Some(folder) = installed() else { return };
    for node in nodes() {
        let service = in_folder(folder, &node, &["-n", "2", server]);
        let port = service.ready_port();
        let run = format!("require('./client.js').run('{kind}', process.argv[1])");
        let mut client = Script::start("node", folder, &run, port);
        assert_eq!(client.line(), "serving", "{node}");
        text(&service.command("reload", &[]));
        text(&service.command("scale", &["+1"]));
        text(&service.command("reload", &[]));
        let last = client.finish();
        let process = last.strip_prefix("lost 0, the last answer is of ").expect(&last);
        let process = Pid::from_raw(process.parse().expect("a process id"));
        kill(process, Signal::SIGKILL).expect("the worker runs");
        let mut client = Script::start("node", folder, &run, port);
        assert_eq!(client.line(), "serving", "{node}");
        service.line("restarts at once");
        let last = client.finish();
        assert!(last.starts_with("lost 0, "), "{node}: {last}");
    }
}

#[test]
fn express_loses_nothing() {
    loses_nothing("express.js", "http");
}

#[test]
fn fastify_loses_nothing() {
    loses_nothing("fastify.js", "http");
}

#[test]
fn koa_loses_nothing() {
    loses_nothing("koa.js", "http");
}

#[test]
fn https_loses_nothing() {
    loses_nothing("https.js", "https");
}

#[test]
fn http2_loses_nothing() {
    loses_nothing("http2.js", "http2");
}

#[test]
fn ws_loses_nothing() {
    loses_nothing("ws.js", "ws");
}

#[test]
fn pino_loses_nothing() {
    loses_nothing("pino.js", "http");
}

/// The program's own shutdown completes after the drain has closed the servers.
#[test]
fn shutdown_of_packages_completes() {
    let Some(folder) = installed() else { return };
    for node in nodes() {
        for package in ["http-terminator", "stoppable", "@godaddy/terminus", "http-graceful-shutdown"] {
            let service = in_folder(folder, &node, &["-n", "1", "shutdown.js", package]);
            service.ready_port();
            text(&service.command("reload", &[]));
            service.line("the program ends itself");
        }
    }
}

/// Wrappers that start the program as a child.
#[test]
fn wrappers_of_packages_are_served() {
    let Some(folder) = installed() else { return };
    for node in nodes() {
        for arguments in [
            &["npx", "cross-env", "X=1", "node", "express.js"][..],
            &["npx", "dotenv", "--", "node", "express.js"],
            &["npx", "tsx", "express.js"],
            &["npx", "cross-env", "X=1", "tsx", "express.js"],
            &["npx", "run-s", "express"],
            &["npx", "yarn", "express"],
        ] {
            let service = in_folder(folder, &node, &[&["-n", "1"], arguments].concat());
            let port = service.ready_port();
            let mut unused = Client::connect(port);
            text(&service.command("reload", &[]));
            assert_eq!(unused.rest(), "", "{node}: {arguments:?}");
        }
    }
}

/// With WebSocket alone. `sticky.rs` tests long polling.
#[test]
fn socket_io_loses_nothing() {
    loses_nothing("socket.io.js", "socket.io");
}
