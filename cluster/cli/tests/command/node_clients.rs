//! The versions of Node.js under test, and clients of Node.js servers.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use super::support::{LIMIT, command};

/// The executables of Node.js under test, from `CLUSTER_TEST_NODES`, separated by colons. Default: `node`.
pub(crate) fn nodes() -> Vec<String> {
    let list = env::var("CLUSTER_TEST_NODES").unwrap_or_else(|_| "node".to_owned());
    list.split(':').map(str::to_owned).collect()
}

/// `cluster run` with an executable as `node` in `PATH`, for programs behind a shell or `#!`.
pub(crate) fn with_node(node: &str, directory: &Path, arguments: &[&str]) -> Command {
    let mut run = command(directory, "run");
    run.args(arguments);
    if let Some(own) = Path::new(node).parent().filter(|own| own.is_absolute()) {
        let path = env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(own.to_path_buf()).chain(env::split_paths(&path));
        run.env("PATH", env::join_paths(all).expect("no colon in a name"));
    }
    run
}

/// The major and the minor version of an executable of Node.js.
pub(crate) fn version(node: &str) -> (u32, u32) {
    let output = Command::new(node).arg("--version").output().expect("Node.js is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.trim_start_matches('v').split('.').map_while(|part| part.parse().ok());
    numbers.next().zip(numbers.next()).expect("a version")
}

/// A client with a lasting connection of HTTP/1.
pub(crate) struct Client(BufReader<TcpStream>);

/// An answer.
pub(crate) struct Answer {
    /// The head in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// Whether the server announces the close of the connection.
    pub(crate) fn closes(&self) -> bool {
        let mut lines = self.head.lines();
        lines.any(|line| line == "connection: close")
    }
}

impl Client {
    pub(crate) fn connect(port: u16) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("a listener");
        stream.set_read_timeout(Some(LIMIT)).expect("a time above 0");
        Client(BufReader::new(stream))
    }

    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.write(&format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n"));
        let head = self.head();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.and_then(|length| length.parse().ok()).expect("a length");
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("a body");
        Answer { head, body: String::from_utf8(body).expect("a text") }
    }

    #[track_caller]
    pub(crate) fn write(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).expect("an open connection");
    }

    /// Reads the head of an answer. Returns the head in lower case.
    #[track_caller]
    pub(crate) fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.0.read_line(&mut head).expect("an answer"), 0, "the server closed: `{head}`");
        }
        head.to_lowercase()
    }

    /// Reads until the connection ends.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("an end");
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// A client, as a script of Node.js. `line` returns the next line of the output.
pub(crate) struct Script {
    child: Child,
    lines: Receiver<String>,
}

impl Script {
    /// Runs a script in a directory. `process.argv[1]` is the port. Dropping the value ends the standard
    /// input.
    pub(crate) fn start(node: &str, directory: &Path, script: &str, port: u16) -> Script {
        let mut command = Command::new(node);
        command.args(["--eval", script, &port.to_string()]).current_dir(directory);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Node.js is installed");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Script { child, lines }
    }

    /// Ends the standard input, and returns the last line.
    #[track_caller]
    pub(crate) fn finish(&mut self) -> String {
        drop(self.child.stdin.take());
        self.line()
    }

    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        self.lines.recv_timeout(LIMIT).expect("a line before the end")
    }
}

/// A failed test leaves no client behind.
impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
