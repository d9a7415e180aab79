//! The hint for a late worker, and the findings of `cluster check`.

use std::io::Write;
use std::net::{TcpListener, TcpStream};

use nix::sys::signal::Signal;

use super::foreign::SERVER as PYTHON;
use super::support::{SERVER, Service, command, error, text};

/// Runs a service with a `ready-timeout` of 10 s: the hint follows after 5 s.
fn late(files: &[(&str, &str)], arguments: &[&str]) -> Service {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).expect("a file");
    }
    let own = ["-n", "1", "--name", "app", "--ready-timeout", "10s"];
    Service::start(directory, &[&own, arguments].concat())
}

/// A server in Python with a port of its own.
const OWN_PORT: &str = "
import http.server
http.server.HTTPServer(('127.0.0.1', 0), http.server.BaseHTTPRequestHandler).serve_forever()
";

#[test]
#[cfg(target_os = "linux")]
fn hint_names_the_own_port() {
    let python = ["python3", "app.py"];
    let service = late(&[("app.py", OWN_PORT)], &python);
    let foreign = late(&[("app.py", OWN_PORT)], &[&["--listen", "127.0.0.1:0"][..], &python].concat());
    // The wrapper starts the server without the channel.
    let parent = "require('child_process').spawn('node', ['app.js'], { stdio: 'inherit' })";
    let wrapped = late(&[("app.js", SERVER), ("wrap.js", parent)], &["wrap.js"]);
    let line = service.line("worker 1 is not ready after 5s");
    assert!(line.contains("app.py`) listens on 127.0.0.1:"), "{line}");
    assert!(line.contains(" itself: write `--listen 127.0.0.1:"), "{line}");
    let line = foreign.line("worker 1 is not ready after 5s");
    assert!(line.contains("has to take the inherited socket (`LISTEN_FDS`"), "{line}");
    let line = wrapped.line("worker 1 is not ready after 5s");
    assert!(line.contains("(`node app.js`) listens on 127.0.0.1:"), "{line}");
    assert!(line.contains("without the channel of the worker"), "{line}");
    // The last program does not read the channel, and would outlive a SIGKILL of the service.
    for service in [service, foreign, wrapped] {
        text(&service.command("stop", &[]));
    }
}

/// The port of a thread is no port of the worker: only the main thread has the channel.
#[test]
#[cfg(target_os = "linux")]
fn hint_names_the_thread() {
    let script = "const { Worker, isMainThread } = require('worker_threads');
        if (isMainThread) new Worker(__filename); else require('http').createServer().listen(0, '127.0.0.1');";
    let service = late(&[("app.js", script)], &["app.js"]);
    let line = service.line("worker 1 is not ready after 5s");
    assert!(line.contains("perhaps in a thread (`worker_threads`) or with `exclusive` or `reusePort`: listen in the main thread"), "{line}");
    text(&service.command("stop", &[]));
}

/// A shutdown that waits names the workers. Here a request stays open.
#[test]
fn waiting_shutdown_names_workers() {
    let script =
        "require('http').createServer(() => console.log('requested')).listen(0, '127.0.0.1', function () {
        console.log('port', this.address().port);
    });";
    let mut service = late(&[("app.js", script)], &["--term", "100ms", "app.js"]);
    let port = service.ready_port();
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("a listener");
    client.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").expect("a connection");
    service.line("| requested");
    service.signal(Signal::SIGTERM);
    let line = service.line("the shutdown waits for worker 1 (process ");
    assert!(line.contains("another SIGTERM or ctrl-c"), "{line}");
    service.signal(Signal::SIGTERM);
    assert_eq!(service.code(), Some(0));
}

#[test]
fn hint_names_the_condition() {
    let cases = [
        (
            &["app.js"][..],
            "listens on no port of the service; a program without a port is ready with `--ready online`",
        ),
        (
            &["sleep", "1000"],
            "listens on no port of the service; a program in another language needs `--listen ADDR`",
        ),
        (&["--ready", "notify", "sleep", "1000"], "has not sent READY=1 to the socket NOTIFY_SOCKET"),
        (&["--ready", "message:up", "app.js"], "has not sent the message up"),
        (&["--listen", "127.0.0.1:0", "sleep", "1000"], "has accepted no connection from descriptor 3"),
        (
            &["--listen", "127.0.0.1:0", "--ready", "http:/up", "sleep", "1000"],
            "no request of /up was answered",
        ),
    ];
    let script = [("app.js", "setInterval(() => {}, 1000)")];
    let services = cases.map(|(arguments, missing)| (late(&script, arguments), missing));
    for (service, missing) in services {
        service.line(missing);
        text(&service.command("stop", &[]));
    }
}

/// In express 5, the callback of `listen` receives the error, and the program does not exit.
#[test]
fn log_names_the_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let script = format!(
        "require('http').createServer().on('error', () => setInterval(() => console.log('refused'), 100)).listen({}, '127.0.0.1')",
        address.port()
    );
    let refused =
        format!("cannot bind {address}: EADDRINUSE (the address is in use); stop what listens there");
    let service = late(&[("app.js", &script)], &["app.js"]);
    service.line("| refused");
    text(&service.command("stop", &[]));
    let lines = service.rest();
    assert!(lines.iter().any(|line| line.contains(&refused)), "{lines:#?}");
    let directory = &service.directory;
    let check = command(directory.path(), "check").args(["app.js"]).output().expect("the command starts");
    let failure = error(&check);
    assert!(failure.contains(&format!("cluster: {refused}")) && failure.contains("; 5s later"), "{failure}");
}

/// A program that is still working at the time for the hint gets no hint. A program that waits gets a hint,
/// although started later.
#[test]
#[cfg(target_os = "linux")]
fn busy_worker_gets_no_hint() {
    let busy = format!("while (require('fs').existsSync('busy')) {{}}\n{SERVER}");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("busy");
    for (file, text) in [(directory.path().join("app.js"), busy.as_str()), (path.clone(), "")] {
        std::fs::write(file, text).expect("a file");
    }
    let service = Service::start(directory, &["-n", "1", "app.js"]);
    let waiting = Service::of_script("setInterval(() => {}, 1000)", &["-n", "1"]);
    waiting.line("worker 1 is not ready after 5s");
    text(&waiting.command("stop", &[]));
    std::fs::remove_file(path).expect("a file");
    service.line("worker 1 is ready");
    text(&service.command("stop", &[]));
    let lines = service.rest();
    assert!(lines.iter().all(|line| !line.contains("is not ready")), "{lines:#?}");
}

/// A ready worker gets no hint. The old worker of the reload drains longer than the delay of the hint.
#[test]
fn ready_worker_gets_no_hint() {
    let service = late(&[("app.js", SERVER)], &["--lame-duck", "6s", "app.js"]);
    service.line("worker 1 is ready");
    text(&service.command("reload", &[]));
    text(&service.command("stop", &[]));
    assert!(service.rest().iter().all(|line| !line.contains("is not ready")));
}

/// Without a handler of the stop signal, a program would lose open requests at each reload.
#[test]
#[cfg(target_os = "linux")]
fn check_names_the_missing_handler() {
    let directory = tempfile::tempdir().expect("a directory");
    let without =
        PYTHON.lines().filter(|line| !line.contains("signal.signal(")).collect::<Vec<_>>().join("\n");
    let check = |script: &str| {
        std::fs::write(directory.path().join("app.py"), script).expect("a file");
        let arguments = ["--listen", "127.0.0.1:0", "python3", "app.py"];
        command(directory.path(), "check").args(arguments).output().expect("the command starts")
    };
    let failure = error(&check(&without));
    assert!(failure.contains("the program has no handler of SIGTERM"), "{failure}");
    assert!(text(&check(PYTHON)).contains("ready, and listening on 127.0.0.1:"));
}
