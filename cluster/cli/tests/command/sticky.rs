//! The policy `sticky`: sessions of socket.io with the default transports, from many addresses.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::node_clients::{Script, nodes};
use super::node_servers::{in_folder, installed};
use super::support::{get, text};

fn sessions(folder: &Path, port: u16) -> Script {
    Script::start("node", folder, "require('./sessions.js').run(process.argv[1])", port)
}

/// No undisturbed session fails. During a reload, a scale, a second reload and a crash some sessions begin
/// again, and every message arrives. Afterwards no session fails.
#[test]
fn socket_io_keeps_sessions() {
    const COMPLETE: &str = "a session of each address, failed 0";
    let Some(folder) = installed() else { return };
    for node in nodes() {
        let arguments = ["-n", "4", "--policy", "sticky", "socket.io-polling.js"];
        let service = in_folder(folder, &node, &arguments);
        let port = service.port();
        for worker in 1..=4 {
            service.line(&format!("worker {worker} is ready"));
        }
        let mut clients = sessions(folder, port);
        assert_eq!(clients.line(), COMPLETE, "{node}");
        text(&service.command("reload", &[]));
        text(&service.command("scale", &["+1"]));
        text(&service.command("reload", &[]));
        let process = get(port).parse().expect("a process id");
        kill(Pid::from_raw(process), Signal::SIGKILL).expect("the worker runs");
        service.line("worker 15 is ready");
        let last = clients.finish();
        assert!(last.starts_with("lost 0, "), "{node}: {last}");
        let mut clients = sessions(folder, port);
        assert_eq!(clients.line(), COMPLETE, "{node}");
        assert_eq!(clients.finish(), "lost 0, failed 0", "{node}");
    }
}
