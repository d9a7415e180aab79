//! Foreign programs with `--listen`: in Python, from packages of Debian, and broken programs.

use std::net::TcpStream;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::support::{Service, command, error, exists, get, is_present, text, try_get, until};

/// A server in Python. The server checks the variables of systemd, prints the process id, and drains on
/// SIGTERM.
pub(crate) const SERVER: &str = r"
import http.server, os, signal, socket, threading

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass

class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

assert os.environ['LISTEN_PID'] == str(os.getpid())
assert os.environ['LISTEN_FDS'] == '1'
server = Server(None, Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=3)
server.socket.setblocking(False)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
print('names', os.environ['LISTEN_FDNAMES'], 'pid', os.getpid(), 'port', server.socket.getsockname()[1], flush=True)
server.serve_forever(0.05)
server.server_close()
";

/// Runs a script in Python with options.
pub(crate) fn python(script: &str, options: &[&str]) -> Service {
    run(&[("app.py", script)], options, &["/usr/bin/env", "python3", "app.py"])
}

/// Runs a program with files and options.
fn run(files: &[(&str, &str)], options: &[&str], program: &[&str]) -> Service {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).expect("a file");
    }
    Service::start(directory, &[options, &["--name", "app"], program].concat())
}

/// The port of the service's only address, from the status.
pub(crate) fn port(service: &Service) -> u16 {
    let status = text(&service.command("status", &[]));
    let line = status.lines().find(|line| line.starts_with("listens on ")).expect("an address");
    line.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

/// Reloads `reloads` times while clients open a connection for each request. Fails if a request is lost.
/// Returns the number of requests.
pub(crate) fn reload_under_load(service: &Service, port: u16, reloads: usize) -> u64 {
    let (answered, lost) = reload_under_clients(service, port, reloads);
    assert_eq!(lost, 0, "lost requests");
    answered
}

/// The clients of [`reload_under_clients`].
const CLIENTS: u64 = 2;

/// Reloads `reloads` times while clients open a connection for each request. Returns the numbers of answered
/// and of lost requests.
fn reload_under_clients(service: &Service, port: u16, reloads: usize) -> (u64, u64) {
    let (is_over, answered, lost) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let count = if try_get(port).is_ok() { &answered } else { &lost };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let outputs: Vec<_> = (0..reloads).map(|_| service.command("reload", &[])).collect();
        is_over.store(true, Ordering::Relaxed);
        for output in outputs {
            assert!(text(&output).trim_end().ends_with("finished"), "{output:?}");
        }
    });
    (answered.into_inner(), lost.into_inner())
}

#[test]
fn python_reloads_without_loss() {
    let mut service = python(SERVER, &["-n", "2", "--listen", "web=127.0.0.1:0"]);
    service.line("names web pid");
    service.line("slot 1: worker 2 is ready");
    let port = port(&service);
    let before = get(port);
    assert!(reload_under_load(&service, port, 2) > 0);
    assert_ne!(before, get(port), "another process answers");
    text(&service.command("stop", &[]));
    assert_eq!(service.code(), Some(0));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the port is free");
}

/// `READY=1` makes the worker ready, other messages do not.
#[test]
fn notification_makes_ready() {
    let script = r"
import os, signal, socket
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(os.environ['NOTIFY_SOCKET'])
notify.send(b'STATUS=READY=1 soon')
print('before', flush=True)
notify.send(b'STATUS=here\nREADY=1')
signal.pause()
";
    let service = python(script, &["-n", "1", "--ready", "notify"]);
    service.line("before");
    service.line("slot 0: worker 1 is ready");
}

#[test]
fn silent_program_is_not_ready() {
    let script = "import signal; signal.pause()";
    for ready in ["notify", "accepting", "http:/"] {
        let options = ["-n", "1", "--listen", "127.0.0.1:0", "--ready", ready, "--ready-timeout", "300ms"];
        let service = python(script, &options);
        service.line("was not ready after 300ms");
    }
}

/// A status of 503 does not make the program ready, a status of 200 does.
#[test]
fn answered_request_makes_ready() {
    let refusing =
        SERVER.replace("send_response(200)", "send_response(503 if self.path == '/health' else 200)");
    let options = ["-n", "1", "--listen", "127.0.0.1:0", "--ready", "http:/health"];
    let service = python(&refusing, &[&options[..], &["--ready-timeout", "1s"]].concat());
    service.line("was not ready after 1s");
    drop(service);
    let service = python(SERVER, &options);
    service.line("slot 0: worker 1 is ready");
}

/// The old worker accepts and answers during the reload. A silent successor must not count as ready.
#[test]
fn silent_successor_abandons_the_reload() {
    for ready in ["accepting", "http:/"] {
        let options = ["-n", "1", "--listen", "127.0.0.1:0", "--ready", ready];
        let service = python(SERVER, &options);
        service.line("slot 0: worker 1 is ready");
        let port = port(&service);
        let before = get(port);
        let silent = "import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
print('silent', os.getpid(), flush=True)
signal.sigwait([signal.SIGUSR1])
sys.exit(3)";
        std::fs::write(service.directory.path().join("app.py"), silent).expect("a file");
        let mut reload = command(service.directory.path(), "reload");
        let reload = reload.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a command");
        let successor = number(service.line("| silent ").rsplit(' ').next().unwrap_or_default());
        for _ in 0..50 {
            assert_eq!(before, get(port), "the old worker serves");
        }
        kill(Pid::from_raw(successor), Signal::SIGUSR1).expect("a successor");
        let failure = error(&reload.wait_with_output().expect("an end"));
        assert!(failure.contains("exited before it was ready"), "{failure}");
        assert_eq!(before, get(port), "the old worker serves");
    }
}

#[test]
fn program_that_exits_is_given_up() {
    let options = ["-n", "1", "--listen", "127.0.0.1:0", "--max-restarts", "1"];
    let mut service = python("import sys; sys.exit(7)", &options);
    service.line("exited before it was ready: exit status: 7");
    assert_eq!(service.code(), Some(1));
}

#[test]
fn missing_program_is_an_error() {
    let mut service = run(&[], &["--listen", "127.0.0.1:0"], &["./no-such-program"]);
    service.line("there is no program");
    assert_eq!(service.code(), Some(1));
}

#[test]
fn address_in_use_is_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = taken.local_addr().expect("an address").to_string();
    let mut service = python(SERVER, &["--listen", &address]);
    service.line(&format!("cannot listen on {address}: Address already in use"));
    assert_eq!(service.code(), Some(1));
}

/// A program that ignores signals is killed, and so is its child.
#[test]
fn deaf_program_is_killed() {
    let script = "
import signal, subprocess
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(['sleep', '1000'])
print('child', child.pid, flush=True)
while True: signal.pause()
";
    let options =
        ["-n", "1", "--ready", "started", "--shutdown", "200ms", "--term", "100ms", "--lame-duck", "10ms"];
    let mut service = python(script, &options);
    let line = service.line("| child ");
    text(&service.command("stop", &[]));
    assert_eq!(service.code(), Some(0));
    has_ended(line.split("child ").nth(1).map(number).expect("a number"));
}

/// A program may start a daemon, a process in a session of its own. The daemon is killed when the worker
/// ends, by a reload and by a shutdown.
#[test]
#[cfg(target_os = "linux")]
fn daemon_ends_with_the_worker() {
    let daemon = "import subprocess
child = subprocess.Popen(['sh', '-c', 'setsid sleep 1000 & echo $!'], stdout=subprocess.PIPE, pass_fds=[3])
print('daemon', child.stdout.readline().decode().strip(), flush=True)
";
    let mut service = python(&format!("{daemon}{SERVER}"), &["-n", "1", "--listen", "127.0.0.1:0"]);
    let daemon_of = |line: String| line.split("daemon ").nth(1).map(number).expect("a number");
    let old = daemon_of(service.line("| daemon "));
    service.line("slot 0: worker 1 is ready");
    text(&service.command("reload", &[]));
    has_ended(old);
    let new = daemon_of(service.line("| daemon "));
    text(&service.command("stop", &[]));
    assert_eq!(service.code(), Some(0));
    has_ended(new);
}

/// After SIGKILL of the service the program ends, and the port is free.
#[test]
fn program_ends_with_the_service() {
    let service = python(SERVER, &["-n", "1", "--listen", "127.0.0.1:0"]);
    let line = service.line("names unknown pid ");
    let pid = line.split("pid ").nth(1).map(number).expect("a number");
    service.line("slot 0: worker 1 is ready");
    service.signal(Signal::SIGKILL);
    has_ended(pid);
}

/// A program in C from Debian: drains on SIGINT, and reads `LISTEN_FDS`.
#[test]
fn lighttpd_reloads_without_loss() {
    if !exists("lighttpd") {
        return;
    }
    let configuration = "server.systemd-socket-activation = \"enable\"
server.document-root = var.CWD
server.port = 0
server.graceful-shutdown-timeout = 5
index-file.names = ( \"index.html\" )
mimetype.assign = ( \".html\" => \"text/html\" )
";
    let files = [("lighttpd.conf", configuration), ("index.html", "hello")];
    let options = ["-n", "2", "--listen", "127.0.0.1:0", "--stop-signal", "INT"];
    let service = run(&files, &options, &["lighttpd", "-D", "-f", "lighttpd.conf"]);
    service.line("slot 1: worker 2 is ready");
    let port = port(&service);
    assert_eq!(get(port), "hello");
    assert!(reload_under_load(&service, port, 2) > 0);
}

/// A server with worker processes of its own: the adapter signals only the first process of the server.
#[test]
fn gunicorn_reloads_without_loss() {
    if !exists("gunicorn") {
        return;
    }
    let app = "
def app(environ, start):
    start('200 OK', [('Content-Length', '5')])
    return [b'hello']
";
    let options = ["-n", "1", "--listen", "127.0.0.1:0"];
    let service = run(&[("site_app.py", app)], &options, &["gunicorn", "--workers", "2", "site_app:app"]);
    service.line("slot 0: worker 1 is ready");
    let port = port(&service);
    assert_eq!(get(port), "hello");
    assert!(reload_under_load(&service, port, 1) > 0);
}

/// The program takes the number of the descriptor as an argument.
///
/// At SIGTERM, uvicorn closes connections that are accepted but not read yet, with or without this command. A
/// client loses at most one request for each of the two processes: the next connection reaches the successor.
#[test]
fn uvicorn_takes_a_descriptor() {
    let package = std::fs::exists("/usr/lib/python3/dist-packages/uvicorn");
    if !is_present("uvicorn", package.unwrap_or_default()) {
        return;
    }
    let app = "
async def app(scope, receive, send):
    if scope['type'] != 'http': return
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'5')]})
    await send({'type': 'http.response.body', 'body': b'hello'})
";
    let options = ["-n", "2", "--listen", "127.0.0.1:0", "--ready", "http:/"];
    let program = ["/usr/bin/python3", "-m", "uvicorn", "--fd", "{fd}", "site_app:app"];
    let service = run(&[("site_app.py", app)], &options, &program);
    service.line("slot 1: worker 2 is ready");
    let port = port(&service);
    assert_eq!(get(port), "hello");
    let (answered, lost) = reload_under_clients(&service, port, 1);
    assert!(answered > 0 && lost <= CLIENTS * 2, "{lost} of {answered} requests are lost");
}

#[test]
fn unfit_readiness_is_an_error() {
    let directory: TempDir = tempfile::tempdir().expect("a directory");
    let mut service = Service::start(directory, &["--ready", "accepting", "true"]);
    service.line("a program without `listen` accepts no connections of the service");
    assert_eq!(service.code(), Some(1));
    let mut service = python(SERVER, &["--listen", "127.0.0.1:0", "--ready", "online"]);
    service.line("expected `accepting`, `started`");
    assert_eq!(service.code(), Some(1));
}

/// The number at the end of a text.
pub(crate) fn number(text: impl AsRef<str>) -> i32 {
    let mut words = text.as_ref().split_whitespace();
    words.find_map(|word| word.parse().ok()).expect("a number")
}

/// Waits until a process has ended.
#[track_caller]
pub(crate) fn has_ended(pid: i32) {
    until("the process has ended", || {
        // A zombie has ended as well; a machine without a reaper keeps zombies.
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        status.contains(") Z ") || kill(Pid::from_raw(pid), None).is_err()
    });
}
