//! A running service, and the lines of the service. A test waits for lines, never for a time; only a hanging
//! test reaches the limit.

use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// The limit of a waiting test.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);

/// A Node.js server: prints the port, and answers with the process id.
pub(crate) const SERVER: &str = "
const server = require('http').createServer((_, res) => res.end(String(process.pid)));
server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
";

/// `cluster run` in a temporary directory.
pub(crate) struct Service {
    pub(crate) directory: TempDir,
    running: Running,
}

/// A running command, and the lines of standard output and standard error.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    /// Lines that a search for a later line has skipped: the order between the two outputs is not defined.
    earlier: RefCell<Vec<String>>,
}

impl Service {
    /// Writes the script to `app.js`, and starts a service.
    pub(crate) fn of_script(script: &str, options: &[&str]) -> Service {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("app.js"), script).expect("a file");
        let options: Vec<&str> = options.iter().copied().chain(["app.js"]).collect();
        Service::start(directory, &options)
    }

    /// Starts `cluster run ARGUMENTS` in a directory.
    pub(crate) fn start(directory: TempDir, arguments: &[&str]) -> Service {
        let mut run = command(directory.path(), "run");
        run.args(arguments);
        Service::of_command(directory, run)
    }

    /// Starts a command. The command becomes the service, or starts the service.
    pub(crate) fn of_command(directory: TempDir, mut command: Command) -> Service {
        let running = Running::start(&mut command);
        Service { directory, running }
    }

    /// Starts `cluster NAME --follow` for the service.
    pub(crate) fn follow(&self, name: &str) -> Running {
        Running::start(command(self.directory.path(), name).arg("--follow"))
    }

    /// Waits for a line with the text. Returns no line twice.
    #[track_caller]
    pub(crate) fn line(&self, text: &str) -> String {
        self.running.line(text)
    }

    /// Waits for the port of [`SERVER`].
    #[track_caller]
    pub(crate) fn port(&self) -> u16 {
        let line = self.line("| port ");
        line.rsplit(' ').next().and_then(|port| port.parse().ok()).expect("a port")
    }

    /// Waits for the port of [`SERVER`] and for the first ready worker. The two lines arrive in any order.
    #[track_caller]
    pub(crate) fn ready_port(&self) -> u16 {
        let (mut port, mut is_ready) = (None, false);
        while port.is_none() || !is_ready {
            let line = self.line("");
            is_ready |= line.contains("slot 0: worker 1 is ready");
            port = port.or_else(|| line.split_once("| port ")?.1.parse().ok());
        }
        port.expect("a port")
    }

    /// Runs `cluster COMMAND ARGUMENTS` for the service.
    pub(crate) fn command(&self, name: &str, arguments: &[&str]) -> Output {
        command(self.directory.path(), name).args(arguments).output().expect("the command starts")
    }

    /// Starts [`Service::command`] in the background.
    pub(crate) fn begin(&self, name: &str, arguments: &[&str]) -> Child {
        let mut command = command(self.directory.path(), name);
        command.args(arguments).stdout(Stdio::null()).spawn().expect("the command starts")
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.running.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.running.child.id().cast_signed()), signal).expect("the service runs");
    }

    /// The lines that no call has returned, up to the end of the service.
    pub(crate) fn rest(&self) -> Vec<String> {
        self.running.rest()
    }

    /// Waits for the end of the service, and returns the exit code.
    pub(crate) fn code(&mut self) -> Option<i32> {
        self.running.child.wait().expect("a child").code()
    }
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Running {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
        let (sender, lines) = channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("a pipe")), Box::new(child.stderr.take().expect("a pipe"))];
        for stream in streams {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        Running { child, lines, earlier: RefCell::default() }
    }

    /// The lines that no call has returned, up to the end of the command.
    pub(crate) fn rest(&self) -> Vec<String> {
        let earlier = self.earlier.take();
        earlier.into_iter().chain(self.lines.iter()).collect()
    }

    /// A listening TCP port of the process.
    #[cfg(target_os = "linux")]
    pub(crate) fn listening_port(&self) -> Option<u16> {
        use procfs::net::TcpState;
        use procfs::process::{FDTarget, Process};
        let process = Process::new(self.child.id().cast_signed()).ok()?;
        let sockets = process.fd().ok()?.flatten().filter_map(|descriptor| match descriptor.target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        });
        let sockets: Vec<u64> = sockets.collect();
        let entries = procfs::net::tcp().ok()?;
        let own =
            entries.iter().find(|entry| entry.state == TcpState::Listen && sockets.contains(&entry.inode));
        own.map(|entry| entry.local_address.port())
    }

    /// Waits for a line with the text. Returns no line twice.
    #[track_caller]
    pub(crate) fn line(&self, text: &str) -> String {
        let mut earlier = self.earlier.borrow_mut();
        if let Some(at) = earlier.iter().position(|line| line.contains(text)) {
            return earlier.remove(at);
        }
        loop {
            let line = self.lines.recv_timeout(LIMIT);
            assert!(line.is_ok(), "no line with `{text}` after {earlier:#?}");
            let line = line.unwrap_or_default();
            if line.contains(text) {
                return line;
            }
            earlier.push(line);
        }
    }
}

/// A failed test leaves no process behind.
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command of `cluster` with `directory` as the runtime directory.
pub(crate) fn command(directory: &Path, name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cluster"));
    command.arg(name).current_dir(directory).env("XDG_RUNTIME_DIR", directory).env_remove("NODE_OPTIONS");
    command
}

/// The body of the answer to one request.
pub(crate) fn get(port: u16) -> String {
    try_get(port).expect("an answer")
}

/// [`get`] with an error instead of a panic.
pub(crate) fn try_get(port: u16) -> io::Result<String> {
    let answer = request(port, "/")?;
    let body = answer.rsplit("\r\n").find(|line| !line.is_empty() && *line != "0");
    body.map(ToOwned::to_owned).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// The whole answer to a request for a path.
pub(crate) fn request(port: u16, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The port for metrics and health checks, chosen by the kernel.
#[track_caller]
pub(crate) fn metrics_port(service: &Service) -> u16 {
    let line = service.line("metrics and health checks on http://127.0.0.1:");
    let address = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split('/').next());
    address.and_then(|port| port.parse().ok()).expect("a port")
}

/// Whether a program exists.
pub(crate) fn exists(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    is_present(program, found.is_ok_and(|output| output.status.success()))
}

/// Returns whether the means of a test are present. Otherwise prints a line, and the test is skipped. With
/// `CLUSTER_TEST_ALL`, as in `.ci/run`, the test fails instead.
pub(crate) fn is_present(means: &str, found: bool) -> bool {
    if !found {
        assert!(std::env::var_os("CLUSTER_TEST_ALL").is_none(), "no {means}; CI.md has the packages");
        // The test harness would hide the output of `eprintln!` in a passing test.
        let _ = writeln!(io::stderr(), "skipped: no {means}");
    }
    found
}

/// Waits for a state that another process causes without a report.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LIMIT, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The standard output of a command. Fails if the command has failed.
pub(crate) fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The standard error of a command. Fails if the command has succeeded.
pub(crate) fn error(output: &Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}
