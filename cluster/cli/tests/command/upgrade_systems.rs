//! `cluster upgrade` with more than a plain service: with an activated socket, with daemons, and in the
//! middle of large messages.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cluster::Worker;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::foreign::{self, has_ended, number};
use super::support::{SERVER, Service, exists, get, text};
use super::systemd::{activated, listening};
use super::upgrade::{upgrade, workers};

/// The socket of the service manager serves the port before and after an upgrade, for running and for new
/// workers.
#[test]
fn activated_socket_survives_upgrade() {
    if !exists("systemd-socket-activate") {
        return;
    }
    let (mut service, port) = listening(|port| {
        let script = SERVER.replace("listen(0,", &format!("listen({port},"));
        activated(&[("app.js", &script)], port, &["-n", "2", "app.js"])
    });
    get(port);
    service.line("slot 1: worker 2 is ready");
    let socket = inode(&service, port);
    let before = workers(&service);
    for _ in 0..2 {
        upgrade(&service);
        assert_eq!(workers(&service), before);
        get(port);
    }
    text(&service.command("reload", &[]));
    upgrade(&service);
    text(&service.command("scale", &["3"]));
    assert!(!before.contains(&get(port).parse().expect("a process id")));
    assert_eq!(inode(&service, port), socket);
    text(&service.command("stop", &[]));
    assert_eq!(service.code(), Some(0));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the port is free");
}

/// A worker of a foreign program inherits the activated socket by number, also after an upgrade.
#[test]
fn activated_program_survives_upgrade() {
    if !exists("systemd-socket-activate") {
        return;
    }
    let (service, port) = listening(|port| {
        let listen = format!("127.0.0.1:{port}");
        let arguments = ["-n", "1", "--listen", &listen, "/usr/bin/env", "python3", "app.py"];
        activated(&[("app.py", foreign::SERVER)], port, &arguments)
    });
    let first = get(port);
    service.line("slot 0: worker 1 is ready");
    let socket = inode(&service, port);
    upgrade(&service);
    assert_eq!(get(port), first);
    text(&service.command("reload", &[]));
    upgrade(&service);
    assert_ne!(get(port), first);
    assert_eq!(inode(&service, port), socket);
}

/// The listening socket of a port.
#[track_caller]
fn inode(service: &Service, port: u16) -> String {
    let table = fs::read_to_string(format!("/proc/{}/net/tcp", service.id())).expect("the service runs");
    let listening = format!(":{port:04X} 00000000:0000 0A");
    let line = table.lines().find(|line| line.contains(&listening)).expect("a socket");
    line.split_whitespace().nth(9).expect("the column `inode`").to_owned()
}

/// After upgrades, a daemon still belongs to the worker, and a daemon that exits is reaped.
#[test]
fn daemon_ends_after_upgrade() {
    let daemons = "import subprocess
for name in 'short', 'long':
    child = subprocess.Popen(['sh', '-c', 'setsid sleep 1000 & echo $!'], stdout=subprocess.PIPE, pass_fds=[3])
    print(name, child.stdout.readline().decode().strip(), flush=True)
    child.wait()
";
    let script = format!("{daemons}{}", foreign::SERVER);
    let mut service = foreign::python(&script, &["-n", "1", "--listen", "127.0.0.1:0"]);
    let daemon_of = |name: &str| number(service.line(name).split(name).nth(1).expect("a number"));
    let (short, old) = (daemon_of("| short "), daemon_of("| long "));
    service.line("slot 0: worker 1 is ready");
    upgrade(&service);
    kill(Pid::from_raw(short), Signal::SIGKILL).expect("a daemon");
    super::support::until("the daemon is reaped", || !Path::new(&format!("/proc/{short}")).exists());
    text(&service.command("reload", &[]));
    has_ended(old);
    let new = daemon_of("| long ");
    upgrade(&service);
    text(&service.command("stop", &[]));
    assert_eq!(service.code(), Some(0));
    has_ended(new);
}

/// The name by which the test harness finds [`large_messages`].
const LARGE_MESSAGES: &str = "command::upgrade_systems::large_messages";

/// The program of [`large_messages_survive_upgrade`], a worker in Rust. The worker sends messages of 3 MB
/// without a pause, and then a last message.
#[test]
#[ignore = "no test, but a program that a service starts"]
fn large_messages() {
    let is_over = || !Path::new("send").exists();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let worker = Worker::join().expect("a worker");
        for number in 0_u64.. {
            worker.send(format!("{number} {}", "x".repeat(3_000_000))).expect("a primary");
            worker.flush().await.expect("a primary");
            if number == 2 {
                println!("sending");
            }
            if is_over() {
                break;
            }
        }
        worker.send("complete").expect("a primary");
        worker.disconnected().await;
    });
}

/// Upgrades while a worker in Rust sends messages of 3 MB without a pause.
#[test]
fn large_messages_survive_upgrade() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("send"), "").expect("a file");
    let program = std::env::current_exe().expect("this program");
    let program = program.to_str().expect("a path in UTF-8");
    let options = ["-n", "1", "--name", "app", "--ready", "message:complete"];
    let arguments =
        [&options[..], &[program, "--exact", LARGE_MESSAGES, "--ignored", "--nocapture"]].concat();
    let mut service = Service::start(directory, &arguments);
    service.line("| sending");
    for _ in 0..5 {
        upgrade(&service);
    }
    fs::remove_file(service.directory.path().join("send")).expect("a file");
    service.line("slot 0: worker 1 is ready");
    text(&service.command("stop", &[]));
    assert_eq!(service.code(), Some(0));
}

/// The first half of a message is read before the upgrade, the second half afterwards: the whole message
/// makes the worker ready.
#[test]
fn half_message_survives_upgrade() {
    let directory = tempfile::tempdir().expect("a directory");
    let half = "x".repeat(20_000);
    let script = "#!/bin/sh
printf '\"%s' \"$1\" >&3
echo half
until test -e proceed; do sleep 0.05; done
printf 'tail\"\\n' >&3
read line <&3
";
    let path = directory.path().join("run");
    fs::write(&path, script).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our file");
    let ready = format!("message:{half}tail");
    let service = Service::start(directory, &["-n", "1", "--ready", &ready, "./run", &half]);
    service.line("| half");
    upgrade(&service);
    fs::write(service.directory.path().join("proceed"), "").expect("a file");
    service.line("slot 0: worker 1 is ready");
    text(&service.command("stop", &[]));
}
