//! `cluster upgrade`: neither clients nor workers observe an upgrade, and the process remains.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::foreign;
use super::support::{LIMIT, SERVER, Service, get, text, try_get, until};

/// Clients that send requests without a pause.
struct Load {
    is_over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<(u64, Option<io::Error>)>>,
}

impl Load {
    /// Starts clients with a lasting connection, and clients with a connection for each request.
    fn start(port: u16, lasting: usize, fresh: usize) -> Load {
        let is_over = Arc::new(AtomicBool::new(false));
        let clients = (0..lasting + fresh).map(|number| {
            let is_over = is_over.clone();
            thread::spawn(move || {
                let mut answered = 0;
                let sent = if number < lasting {
                    send_on_one(port, &is_over, &mut answered)
                } else {
                    send_on_many(port, &is_over, &mut answered)
                };
                (answered, sent.err())
            })
        });
        Load { clients: clients.collect(), is_over }
    }

    /// Ends the clients, and returns the number of answers. Fails if a request has failed.
    fn end(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        let ends = self.clients.into_iter().map(|client| client.join().expect("no panic"));
        let (answered, errors): (Vec<u64>, Vec<_>) = ends.unzip();
        let errors: Vec<io::Error> = errors.into_iter().flatten().collect();
        assert!(errors.is_empty(), "{errors:?}");
        assert!(answered.iter().all(|answered| *answered > 0), "{answered:?}");
        answered.iter().sum()
    }
}

fn send_on_one(port: u16, is_over: &AtomicBool, answered: &mut u64) -> io::Result<()> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut stream = BufReader::new(stream);
    while !is_over.load(Ordering::Relaxed) {
        stream.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            if line == "\r\n" {
                break;
            }
        }
        stream.read_exact(&mut vec![0; length])?;
        *answered += 1;
    }
    Ok(())
}

fn send_on_many(port: u16, is_over: &AtomicBool, answered: &mut u64) -> io::Result<()> {
    while !is_over.load(Ordering::Relaxed) {
        try_get(port)?;
        *answered += 1;
    }
    Ok(())
}

/// The status of the service, from `--json`.
pub(crate) fn status(service: &Service) -> Value {
    serde_json::from_str(&text(&service.command("status", &["--json"]))).expect("JSON")
}

/// The process ids of the workers.
#[track_caller]
pub(crate) fn workers(service: &Service) -> Vec<u64> {
    let status = status(service);
    let slots = status["slots"].as_array().expect("slots").iter();
    slots.map(|slot| slot["pid"].as_u64().expect("a process")).collect()
}

/// Waits for the port of [`SERVER`] and for `workers` ready workers. The lines arrive in any order.
#[track_caller]
pub(crate) fn ready(service: &Service, workers: usize) -> u16 {
    let (mut port, mut found) = (None, 0);
    while port.is_none() || found < workers {
        let line = service.line("");
        found += usize::from(line.contains("is ready"));
        port = port.or_else(|| line.split_once("| port ")?.1.parse().ok());
    }
    port.expect("a port")
}

pub(crate) fn upgrade(service: &Service) -> String {
    text(&service.command("upgrade", &[]))
}

fn descriptors(service: &Service) -> usize {
    fs::read_dir(format!("/proc/{}/fd", service.id())).expect("the service runs").count()
}

/// The child processes of the service, each with the state: `R`, `S`, `Z`.
fn children(service: &Service) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{}/task", service.id())).expect("the service runs").flatten() {
        // Fails if the thread has ended meanwhile.
        let listed = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        for child in listed.split_whitespace() {
            let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            let state = stat.rsplit(") ").next().unwrap_or_default().chars().take(1).collect();
            found.push((child.parse().expect("a number"), state));
        }
    }
    found.sort();
    found
}

/// 10 upgrades under clients with lasting connections and with new connections: no request fails, and the
/// processes remain.
#[test]
fn upgrades_lose_no_request() {
    let service = Service::of_script(SERVER, &["-n", "2"]);
    let port = ready(&service, 2);
    let before = workers(&service);
    let load = Load::start(port, 8, 4);
    for _ in 0..10 {
        let told = upgrade(&service);
        assert!(
            told.contains("has passed the trial") && told.contains("has handed over to version"),
            "{told}"
        );
    }
    assert!(load.end() > 10);
    assert_eq!(workers(&service), before);
    assert_eq!(status(&service)["pid"].as_u64(), Some(service.id().into()));
}

/// 20 upgrades leave neither a descriptor nor a child process behind.
#[test]
fn upgrades_leave_nothing() {
    let service = Service::of_script(SERVER, &["-n", "2", "--metrics", "127.0.0.1:0"]);
    ready(&service, 2);
    upgrade(&service);
    let (open, processes) = (descriptors(&service), children(&service));
    assert_eq!(processes.len(), 2, "{processes:?}");
    for _ in 0..20 {
        upgrade(&service);
    }
    assert_eq!(children(&service).len(), 2, "{:?}", children(&service));
    // The service closes the connection of a command after the answer, perhaps only after the first count.
    until("no more descriptors than before", || descriptors(&service) <= open);
}

/// The memory of the command: uptime, addresses, counts of restarts, recent records, and the metrics at the
/// same address.
#[test]
fn upgrade_keeps_the_memory() {
    let service = Service::of_script(SERVER, &["-n", "1", "--metrics", "127.0.0.1:0"]);
    let line = service.line("metrics and health checks on");
    let port = line.rsplit(':').next().and_then(|rest| rest.strip_suffix("/metrics"));
    let metrics: u16 = port.and_then(|port| port.parse().ok()).expect("a port");
    service.ready_port();
    text(&service.command("reload", &[]));
    let before = status(&service);
    upgrade(&service);
    let after = status(&service);
    for field in ["name", "pid", "program", "addresses"] {
        assert_eq!(before[field], after[field]);
    }
    assert!(after["uptime_ms"].as_u64() >= before["uptime_ms"].as_u64());
    let scraped = super::support::request(metrics, "/metrics").expect("an answer");
    assert!(scraped.contains("cluster_reloads_total{result=\"finished\"} 1"), "{scraped}");
    let events = text(&service.command("events", &[]));
    assert!(events.contains("reload 1 finished") && events.contains("upgraded: version"), "{events}");
}

/// After an upgrade a worker is restarted, reloaded and scaled as before. A second upgrade keeps workers of
/// both versions.
#[test]
fn upgraded_service_is_supervised() {
    let mut service = Service::of_script(SERVER, &["-n", "2"]);
    let port = ready(&service, 2);
    let before = workers(&service);
    upgrade(&service);
    kill(Pid::from_raw(i32::try_from(before[0]).expect("a process id")), Signal::SIGKILL).expect("a worker");
    service.line("slot 0: worker 3 is ready");
    upgrade(&service);
    assert_eq!(workers(&service)[1], before[1]);
    text(&service.command("scale", &["3"]));
    upgrade(&service);
    text(&service.command("reload", &[]));
    get(port);
    text(&service.command("stop", &[]));
    assert_eq!(service.code(), Some(0));
}

/// A worker prints while the service is upgraded: each line arrives once and in order, also a line printed in
/// two halves.
#[test]
fn upgrade_keeps_the_output() {
    let script = "
        let number = 0;
        setInterval(() => console.log('number', number++), 1);
        require('net').createServer((socket) => socket.on('data', (data) => {
            process.stderr.write(data);
            socket.write('.');
        })).listen(0, '127.0.0.1', function () { console.log('port', this.address().port); });
    ";
    let service = Service::of_script(script, &["-n", "1"]);
    let mut client = TcpStream::connect(("127.0.0.1", service.ready_port())).expect("a connection");
    client.set_read_timeout(Some(LIMIT)).expect("a time above 0");
    for part in ["one ", "two ", "three\n"] {
        client.write_all(part.as_bytes()).expect("a worker");
        client.read_exact(&mut [0]).expect("an answer");
        upgrade(&service);
    }
    service.line("| one two three");
    drop(client);
    text(&service.command("stop", &[]));
    let lines = service.rest();
    let numbers: Vec<u64> =
        lines.iter().filter_map(|line| line.split_once("| number ")?.1.parse().ok()).collect();
    let expected: Vec<u64> = (numbers[0]..).take(numbers.len()).collect();
    assert!(numbers.len() > 20 && numbers == expected, "{numbers:?}");
}

/// A reader of the output and a reader of the events continue: each record arrives once and in order.
#[test]
fn readers_continue_after_upgrade() {
    let script = format!("let number = 0; setInterval(() => console.log('number', number++), 1);\n{SERVER}");
    let service = Service::of_script(&script, &["-n", "1"]);
    service.ready_port();
    let (output, events) = (service.follow("logs"), service.follow("events"));
    let number =
        |line: String| -> u64 { line.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number") };
    let first = number(output.line("| number "));
    for _ in 0..3 {
        upgrade(&service);
        events.line("upgraded: version");
    }
    for expected in first + 1..first + 200 {
        assert_eq!(number(output.line("| number ")), expected);
    }
}

/// A foreign program with an inherited socket reports readiness by `sd_notify`.
#[test]
fn foreign_program_survives_upgrade() {
    let notify = "notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])
server.serve_forever";
    let script = foreign::SERVER.replace("server.serve_forever", notify);
    let service = foreign::python(&script, &["-n", "1", "--listen", "127.0.0.1:0", "--ready", "notify"]);
    service.line("slot 0: worker 1 is ready");
    let port = foreign::port(&service);
    let load = Load::start(port, 0, 4);
    for _ in 0..3 {
        upgrade(&service);
    }
    load.end();
    // The new worker inherits the socket by number, and finds the directory for `sd_notify`.
    text(&service.command("reload", &[]));
    upgrade(&service);
    get(port);
}

/// A path to the command. A test can replace the file.
pub(crate) fn link(directory: &Path) -> std::path::PathBuf {
    let path = directory.join("command");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_cluster"), &path).expect("a link");
    path
}
