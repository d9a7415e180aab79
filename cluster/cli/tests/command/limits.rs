//! Limits on descriptors and times: full tables of descriptors, idle clients, and stopped processes.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::support::{SERVER, Service, command, error, get, metrics_port, request, text, until};

/// Starts the service in a shell with a limit.
fn limited(limit: &str, arguments: &[&str]) -> Service {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("app.js"), SERVER).expect("a file");
    let program = command(directory.path(), "run").get_program().to_owned();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{limit} && exec \"$0\" run \"$@\"")]).arg(program).args(arguments);
    shell.current_dir(directory.path()).env("XDG_RUNTIME_DIR", directory.path());
    Service::of_command(directory, shell)
}

fn signal(pid: &str, signal: Signal) {
    kill(Pid::from_raw(pid.parse().expect("a process id")), signal).expect("a process");
}

/// The worker is stopped, and waiting clients fill the descriptors for connections. Commands, health checks
/// and new workers use the descriptors in reserve.
#[test]
fn waiting_clients_leave_descriptors() {
    let options = ["-n", "1", "--metrics", "127.0.0.1:0", "app.js"];
    let mut service = limited("ulimit -n 64", &options);
    let metrics = metrics_port(&service);
    let port = service.ready_port();
    let worker = get(port);
    let start = Instant::now();
    signal(&worker, Signal::SIGSTOP);
    let clients = [(); 200].map(|()| TcpStream::connect(("127.0.0.1", port)).expect("a listener"));
    service.line("cannot accept a connection: EMFILE");
    assert!(text(&service.command("status", &[])).contains("ready"));
    assert!(request(metrics, "/healthz").expect("an answer").ends_with("ok\n"));
    assert!(request(metrics, "/metrics").expect("an answer").contains("cluster_connections_queued"));
    signal(&worker, Signal::SIGKILL);
    service.line("slot 0: worker 2 is ready");
    for mut client in clients {
        client.write_all(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").expect("a connection");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
    text(&service.command("stop", &[]));
    assert_eq!(service.code(), Some(0));
    let warnings = service.rest().iter().filter(|line| line.contains("cannot accept")).count();
    let most = start.elapsed().as_secs() / 10;
    assert!(warnings as u64 <= most, "{warnings} warnings after the first, and {most} at most");
}

#[test]
#[cfg(target_os = "linux")]
fn workers_keep_the_former_limit() {
    let service =
        limited("ulimit -Sn 200", &["-n", "1", "sh", "-c", "echo limit $(ulimit -Sn); exec node app.js"]);
    assert!(service.line("| limit ").ends_with("limit 200"));
    service.line("slot 0: worker 1 is ready");
    text(&service.command("upgrade", &[]));
    text(&service.command("restart", &["0"]));
    assert!(service.line("| limit ").ends_with("limit 200"), "after an upgrade");
    let limits = fs::read_to_string(format!("/proc/{}/limits", service.id())).expect("the service runs");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    let fields: Vec<_> = line.split_whitespace().collect();
    assert_eq!(fields[3], fields[4], "{line}");
}

#[test]
fn stopped_service_is_named() {
    let service = Service::of_script(SERVER, &["-n", "1"]);
    service.line("slot 0: worker 1 is ready");
    service.signal(Signal::SIGSTOP);
    let status = service.command("status", &[]);
    service.signal(Signal::SIGCONT);
    let text = error(&status);
    let id = service.id();
    assert!(text.contains(&format!("process {id}, has not answered")), "{text}");
    #[cfg(target_os = "linux")]
    assert!(text.contains(&format!("`kill -CONT {id}`")), "{text}");
    assert_eq!(status.status.code(), Some(4));
}

/// A client that sends no request is disconnected after a time, and the number of clients is bounded.
#[test]
fn idle_commands_are_bounded() {
    let service = Service::of_script(SERVER, &["-n", "1"]);
    service.line("slot 0: worker 1 is ready");
    let socket = service.directory.path().join("cluster/app.sock");
    let half = |_| {
        let mut stream = UnixStream::connect(&socket).expect("a service");
        stream.write_all(b"{\"command\"").expect("a connection");
        stream
    };
    let idle: Vec<UnixStream> = (0..32).map(half).collect();
    assert!(error(&service.command("status", &[])).contains("32 commands are connected"));
    for stream in idle {
        let mut reply = String::new();
        BufReader::new(stream).read_line(&mut reply).expect("a reply");
        assert!(reply.contains("the request is not complete after 5s"), "{reply}");
    }
    text(&service.command("status", &[]));
}

/// A new peer takes the place of the oldest idle peer.
#[test]
fn idle_peers_leave_health_checks() {
    let service = Service::of_script(SERVER, &["-n", "1", "--metrics", "127.0.0.1:0"]);
    let metrics = metrics_port(&service);
    let half = |_| {
        let mut stream = TcpStream::connect(("127.0.0.1", metrics)).expect("a listener");
        stream.write_all(b"GET /healthz HT").expect("a connection");
        stream
    };
    let mut idle: Vec<TcpStream> = (0..16).map(half).collect();
    assert!(request(metrics, "/healthz").expect("an answer").ends_with("ok\n"));
    let mut rest = Vec::new();
    // Fails with a reset: the service has closed with unread bytes.
    let _ = idle.remove(0).read_to_end(&mut rest);
    assert_eq!(rest, b"");
    // A later peer has not lost the connection, and completes its request.
    let mut later = idle.remove(0);
    later.write_all(b"TP/1.1\r\nHost: here\r\n\r\n").expect("a connection");
    let mut answer = String::new();
    later.read_to_string(&mut answer).expect("an answer");
    assert!(answer.ends_with("ok\n"), "{answer}");
}

/// The follower ends although no further record arrives, as in `cluster logs -f | head -1`.
#[test]
fn closed_pipe_ends_an_idle_follower() {
    let service = Service::of_script(SERVER, &["-n", "1"]);
    service.line("slot 0: worker 1 is ready");
    for name in ["logs", "events"] {
        let mut follower = command(service.directory.path(), name);
        let mut follower = follower.arg("-f").stdout(Stdio::piped()).spawn().expect("a command");
        let mut reader = BufReader::new(follower.stdout.take().expect("a pipe"));
        assert_ne!(reader.read_line(&mut String::new()).expect("a line"), 0);
        drop(reader);
        let mut status = None;
        until("the end of the follower", || {
            status = follower.try_wait().expect("a child");
            status.is_some()
        });
        assert!(status.expect("an end").success());
    }
}
