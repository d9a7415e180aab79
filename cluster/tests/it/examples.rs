//! Runs every example as described in the head of its file, and checks that no process remains: the workers
//! inherit the standard output, so the output ends with the last worker. The library itself is tested
//! elsewhere.

mod load;
mod tasks;
mod under_load;

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::{env, fs};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

type TestResult = Result<(), Box<dyn Error>>;

/// A running example.
struct Example {
    process: Child,
    lines: io::Lines<BufReader<ChildStdout>>,
}

/// Few processes remain after a failed test: workers end with the primary, except disconnecting workers that
/// still serve.
impl Drop for Example {
    fn drop(&mut self) {
        // Fails if the example has ended, which is usual.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Example {
    fn start(name: &str, arguments: &[&str]) -> Result<Self, Box<dyn Error>> {
        Example::start_with(name, arguments, &[])
    }

    /// Starts a program in a new process group, like a terminal or a service manager.
    fn start_with(
        name: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(build(name)?);
        command.args(arguments).envs(variables.iter().copied()).process_group(0);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = process.stdout.take().ok_or("a pipe")?;
        Ok(Example { process, lines: BufReader::new(output).lines() })
    }

    fn line(&mut self) -> Result<String, Box<dyn Error>> {
        Ok(self.lines.next().ok_or("a line before the end")??)
    }

    /// Waits for the line that is printed when all workers listen, and returns the port.
    fn port(&mut self) -> Result<u16, Box<dyn Error>> {
        let line = self.line()?;
        let (_, address) = line.split_once("workers serve ").ok_or_else(|| line.clone())?;
        port_of(address).ok_or_else(|| line.clone().into())
    }

    /// Waits until a worker for each core has announced `addresses` addresses. Returns the ports in ascending
    /// order.
    fn served_by_all(&mut self, addresses: usize) -> Result<Vec<u16>, Box<dyn Error>> {
        let workers = std::thread::available_parallelism()?.get();
        let ports: BTreeSet<u16> =
            (0..workers * addresses).map(|_| self.served()).collect::<Result<_, _>>()?;
        Ok(ports.into_iter().collect())
    }

    /// Waits for a line with these words.
    fn line_with(&mut self, words: &str) -> TestResult {
        while !self.line()?.contains(words) {}
        Ok(())
    }

    /// Waits for the next line about a listening worker, and returns the port.
    fn served(&mut self) -> Result<u16, Box<dyn Error>> {
        loop {
            let line = self.line()?;
            if let Some((_, address)) = line.split_once(" serves ") {
                return port_of(address).ok_or_else(|| line.clone().into());
            }
        }
    }

    /// The process group of the example.
    fn group(&self) -> Result<Pid, Box<dyn Error>> {
        Ok(Pid::from_raw(i32::try_from(self.process.id())?))
    }

    /// The process ids of the workers, ascending.
    fn children(&self) -> Result<Vec<Pid>, Box<dyn Error>> {
        let of = self.process.id();
        let children = fs::read_to_string(format!("/proc/{of}/task/{of}/children"))?;
        children.split_whitespace().map(|child| Ok(Pid::from_raw(child.parse()?))).collect()
    }

    fn terminate(&self) -> TestResult {
        self.signal(Signal::SIGTERM)
    }

    fn signal(&self, signal: Signal) -> TestResult {
        Ok(kill(Pid::from_raw(i32::try_from(self.process.id())?), signal)?)
    }

    /// The output until all processes have ended. The example must exit successfully.
    fn rest(mut self) -> Result<Vec<String>, Box<dyn Error>> {
        let rest = self.lines.by_ref().collect::<Result<_, _>>()?;
        let status = self.process.wait()?;
        if status.success() { Ok(rest) } else { Err(format!("{status}").into()) }
    }
}

fn port_of(address: &str) -> Option<u16> {
    address.trim_end_matches('/').rsplit_once(':')?.1.parse().ok()
}

/// The path of the executable. `cargo test` has built the executable; for a single test, this function does.
fn build(name: &str) -> Result<PathBuf, Box<dyn Error>> {
    let test = env::current_exe()?;
    let profile = test.ancestors().nth(2).ok_or("a test is in its profile's directory")?;
    let example = profile.join("examples").join(name);
    if !fs::exists(&example)? {
        let status = Command::new(env!("CARGO")).args(["build", "-p", "cluster", "--examples"]).status()?;
        assert!(status.success(), "the examples cannot be built");
    }
    Ok(example)
}

fn request(port: u16) -> io::Result<String> {
    let mut client = TcpStream::connect(("127.0.0.1", port))?;
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    io::read_to_string(client)
}

#[test]
fn http_replaces_dead_workers() -> TestResult {
    let mut example = Example::start("http", &["127.0.0.1:0"])?;
    let port = example.served_by_all(1)?[0];
    let answer = request(port)?;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let victim: i32 = answer.trim_end().rsplit(' ').next().ok_or("no number")?.parse()?;
    // An idle keep-alive connection does not delay the end of the worker.
    let mut idle = TcpStream::connect(("127.0.0.1", port))?;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    idle.read_exact(&mut [0; 15])?;
    kill(Pid::from_raw(victim), Signal::SIGKILL)?;
    example.line_with("exited: signal: SIGKILL")?;
    let answer = request(port)?;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    example.terminate()?;
    example.rest().map(drop)
}

/// The id of the process that answers.
fn answering_process(port: u16) -> Result<String, Box<dyn Error>> {
    let answer = request(port)?;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    Ok(answer.trim_end().rsplit(' ').next().ok_or("no number")?.to_owned())
}

/// No request fails during a reload, and afterwards the number of workers is the same. Each client sends a
/// request at once, because a reload closes connections that are idle for a second.
#[test]
fn http_reload_replaces_all_workers() -> TestResult {
    let mut example = Example::start("http", &["127.0.0.1:0"])?;
    let port = example.served_by_all(1)?[0];
    let workers = std::thread::available_parallelism()?.get();
    let mut known = BTreeSet::new();
    while known.len() < workers {
        known.insert(answering_process(port)?);
    }
    for _ in 0..2 {
        example.signal(Signal::SIGHUP)?;
        let mut new = BTreeSet::new();
        while new.len() < workers {
            new.extend(Some(answering_process(port)?).filter(|process| !known.contains(process)));
        }
        example.line_with(" finished")?;
        known = new;
    }
    for _ in 0..4 * workers {
        assert!(known.contains(&answering_process(port)?), "there are more workers than there were");
    }
    example.terminate()?;
    example.rest()?;
    Ok(())
}

/// A request without an answer keeps the worker running. Further signals end the worker without waiting for
/// the request.
#[test]
fn further_signals_end_http_at_once() -> TestResult {
    let mut example = Example::start("http", &["127.0.0.1:0"])?;
    let port = example.served_by_all(1)?[0];
    let mut half = TcpStream::connect(("127.0.0.1", port))?;
    half.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n")?;
    example.terminate()?;
    let is_refused = || TcpStream::connect(("127.0.0.1", port)).is_err();
    while !is_refused() {}
    while example.process.try_wait()?.is_none() {
        example.terminate()?;
    }
    example.rest().map(drop)
}

#[test]
fn count_adds_up() -> TestResult {
    let mut example = Example::start("count", &["6"])?;
    let port = example.port()?;
    for _ in 0..6 {
        assert!(request(port)?.starts_with("HTTP/1.1 204"));
    }
    let expected = "served 6 in all: {WorkerId(1): 3, WorkerId(2): 3}";
    assert_eq!(example.rest()?, [expected]);
    Ok(())
}

#[test]
fn graceful_waits_for_connections() -> TestResult {
    let mut example = Example::start("graceful", &["3600"])?;
    let port = example.port()?;
    let mut client = TcpStream::connect(("127.0.0.1", port))?;
    client.write_all(b"hello")?;
    client.read_exact(&mut [0; 5])?;
    // A service manager sends the signal to every process of the group.
    nix::sys::signal::killpg(example.group()?, Signal::SIGTERM)?;
    assert_eq!(example.line()?, "disconnecting the workers");
    let first = example.line()?;
    assert!(first.ends_with("exited with code 0"), "{first}");
    client.write_all(b"still")?;
    client.read_exact(&mut [0; 5])?;
    client.shutdown(Shutdown::Write)?;
    let rest = example.rest()?;
    assert!(rest.len() == 1 && rest[0].ends_with("exited with code 0"), "{rest:?}");
    Ok(())
}

#[test]
fn graceful_kills_at_deadline() -> TestResult {
    let mut example = Example::start("graceful", &["0"])?;
    let port = example.port()?;
    let mut client = TcpStream::connect(("127.0.0.1", port))?;
    client.write_all(b"hello")?;
    client.read_exact(&mut [0; 5])?;
    example.terminate()?;
    let rest = example.rest()?;
    assert!(rest.iter().any(|line| line.ends_with("was killed by SIGKILL")), "{rest:?}");
    Ok(())
}

#[test]
fn two_programs_talk() -> TestResult {
    build("two_programs_worker")?;
    let mut rest = Example::start("two_programs", &[])?.rest()?;
    rest.sort();
    let answer = |number: u32| format!(r#"{{"answer":"hello {number}","question":"what is your number?"}}"#);
    let expected = [
        format!("worker 1 answers {}", answer(0)),
        "worker 1 exited: Code(0)".into(),
        format!("worker 2 answers {}", answer(1)),
        "worker 2 exited: Code(0)".into(),
    ];
    assert_eq!(rest, expected);
    Ok(())
}

#[test]
fn missing_worker_program_is_named() -> TestResult {
    let example = build("two_programs")?;
    let alone = tempfile::tempdir_in(example.parent().ok_or("a directory")?)?;
    let linked = alone.path().join("two_programs");
    fs::hard_link(example, &linked)?;
    let output = Command::new(linked).output()?;
    let stderr = String::from_utf8(output.stderr)?;
    let named = format!("cannot start `{}`: ENOENT", alone.path().join("two_programs_worker").display());
    assert!(!output.status.success() && stderr.contains(&named), "{}: {stderr}", output.status);
    Ok(())
}

#[test]
fn http_fails_without_workers() -> TestResult {
    let output = Command::new(build("http")?).arg("no address").output()?;
    let stderr = String::from_utf8(output.stderr)?;
    assert!(!output.status.success() && stderr.contains("no worker is ready"), "{}: {stderr}", output.status);
    Ok(())
}

/// The first program prints the text of the error with advice, and exits with a failure.
#[test]
fn hello_reports_address_in_use() -> TestResult {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let output = Command::new(build("hello")?).arg(&address).output()?;
    let stderr = String::from_utf8(output.stderr)?;
    let text =
        format!("Error: cannot bind {address}: EADDRINUSE (the address is in use); stop what listens there");
    assert!(stderr.contains(&text), "{stderr}");
    assert!(!output.status.success() && stderr.contains("no worker is ready"), "{}: {stderr}", output.status);
    Ok(())
}

#[test]
fn flood_refuses_wrong_number() -> TestResult {
    let output = Command::new(build("flood")?).arg("many").output()?;
    let stderr = String::from_utf8(output.stderr)?;
    let text = "Error: `many` is not a number of MiB; usage: flood [MEBIBYTES]";
    assert!(!output.status.success() && stderr.starts_with(text), "{}: {stderr}", output.status);
    Ok(())
}

#[test]
fn worker_program_alone_fails() -> TestResult {
    let output = Command::new(build("two_programs_worker")?).output()?;
    let stderr = String::from_utf8(output.stderr)?;
    assert!(
        !output.status.success() && stderr.starts_with("Error: no primary started this process"),
        "{stderr}"
    );
    Ok(())
}
