//! The protocols of systemd: notifications to a real socket, the watchdog, activation by
//! `systemd-socket-activate`.

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;

use nix::sys::signal::Signal;

use super::support::{LIMIT, SERVER, Service, command, exists, get, text};

/// Waits for a notification with the text. Ignores notifications of the watchdog.
#[track_caller]
fn notification(socket: &UnixDatagram, text: &str) -> String {
    let mut buffer = [0; 4_096];
    loop {
        let length = socket.recv(&mut buffer);
        assert!(length.is_ok(), "no notification with {text}");
        let notification = String::from_utf8_lossy(&buffer[..length.unwrap_or_default()]).into_owned();
        if notification.contains(text) {
            return notification;
        }
    }
}

/// `Type=notify-reload`: ready; reloading at SIGHUP, with the time; ready again; stopping.
#[test]
fn service_manager_is_notified() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("app.js"), SERVER).expect("a file");
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(LIMIT)).expect("a time above 0");
    let mut run = command(directory.path(), "run");
    run.args(["-n", "1", "app.js"]).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "100000");
    let mut service = Service::of_command(directory, run);
    let ready = notification(&socket, "READY");
    assert!(ready.starts_with("READY=1\n"), "{ready}");
    for _ in 0..3 {
        assert_eq!(notification(&socket, "WATCHDOG"), "WATCHDOG=1\n");
    }
    service.signal(Signal::SIGHUP);
    let reloading = notification(&socket, "RELOADING");
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    let ready = notification(&socket, "READY");
    assert!(ready.starts_with("READY=1\n"), "{ready}");
    service.signal(Signal::SIGTERM);
    let stopping = notification(&socket, "STOPPING");
    assert!(stopping.starts_with("STOPPING=1\n"), "{stopping}");
    assert_eq!(service.code(), Some(0));
}

/// Starts a service behind `systemd-socket-activate`, at a free port. If another process binds the port
/// first, tries another port.
pub(crate) fn listening(start: impl Fn(u16) -> Service) -> (Service, u16) {
    loop {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let port = free.expect("a free port").port();
        let service = start(port);
        if !service.line("").contains("Address already in use") {
            return (service, port);
        }
    }
}

/// Starts `cluster run ARGUMENTS` behind `systemd-socket-activate`. The start waits for the first connection.
pub(crate) fn activated(files: &[(&str, &str)], port: u16, arguments: &[&str]) -> Service {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).expect("a file");
    }
    let path = std::env::var("PATH").expect("a path");
    let mut activate = std::process::Command::new("systemd-socket-activate");
    activate
        .arg(format!("--listen=127.0.0.1:{port}"))
        .arg(format!("--setenv=XDG_RUNTIME_DIR={}", directory.path().display()))
        .arg(format!("--setenv=PATH={path}"))
        .args([env!("CARGO_BIN_EXE_cluster"), "run"])
        .args(arguments)
        .current_dir(directory.path());
    Service::of_command(directory, activate)
}

/// An unmodified Node.js program that listens on the port receives the activated socket. A bind of the same
/// port would fail with EADDRINUSE. The first connection waits in the socket until a worker accepts.
#[test]
fn node_program_gets_activated_socket() {
    if !exists("systemd-socket-activate") {
        return;
    }
    let (mut service, port) = listening(|port| {
        let script = SERVER.replace("listen(0,", &format!("listen({port},"));
        activated(&[("app.js", &script)], port, &["-n", "2", "app.js"])
    });
    let first = get(port);
    service.line("slot 1: worker 2 is ready");
    text(&service.command("reload", &[]));
    assert_ne!(first, get(port));
    text(&service.command("stop", &[]));
    assert_eq!(service.code(), Some(0));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the port is free");
}

/// A program in another language, without `--listen`, does not inherit the activated socket.
#[test]
fn hint_names_the_activated_socket() {
    if !exists("systemd-socket-activate") {
        return;
    }
    let (service, port) = listening(|port| {
        activated(&[], port, &["-n", "1", "--ready-timeout", "4s", "/usr/bin/env", "sleep", "1000"])
    });
    let _first = TcpStream::connect(("127.0.0.1", port)).expect("a socket");
    let line = service.line("worker 1 is not ready after 2s");
    assert!(line.contains(&format!("write `--listen 127.0.0.1:{port}`")), "{line}");
}

#[test]
fn foreign_program_gets_activated_socket() {
    if !exists("systemd-socket-activate") {
        return;
    }
    let (_service, port) = listening(|port| {
        let listen = format!("127.0.0.1:{port}");
        let arguments = ["-n", "1", "--listen", &listen, "/usr/bin/env", "python3", "app.py"];
        activated(&[("app.py", super::foreign::SERVER)], port, &arguments)
    });
    assert!(!get(port).is_empty());
}
