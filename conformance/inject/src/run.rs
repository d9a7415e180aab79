//! A run: starts the primary under the tracer, runs the clients, asks for the shutdown, and collects the
//! evidence.

use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, PipeReader, Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cluster_conformance::observation::{Line, Observer};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::clients::{self, Address, ClientEnd, ROUNDS};
use crate::injection::{Injection, Victim};
use crate::server::{Cluster, RELOADED, SOCKET, WORKERS};
use crate::tracer::{Followed, Living, Tracer, descriptors};

/// The time in which a run ends, unless the runtime loses a signal.
pub(crate) const PROMPT: Duration = Duration::from_secs(7);

/// The time between further signals: a supervisor ignores an earlier repetition.
const AGAIN: Duration = Duration::from_secs(2);

/// The number of further signals.
const SIGNALS: u32 = 3;

/// The time of a client for an answer.
const PATIENCE: Duration = Duration::from_secs(6);

/// The time in which both workers listen, or fail, before clients start.
const START: Duration = Duration::from_secs(3);

/// The time in which the primary closes the descriptors of connections that are over.
const SETTLING: Duration = Duration::from_secs(1);

/// The same time of an undisturbed primary, before the number of sockets is known.
const UNDISTURBED: Duration = Duration::from_millis(100);

/// The cluster, and the process with the failing call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) cluster: Cluster,
    pub(crate) victim: Victim,
}

/// All observations of a run.
#[derive(Debug)]
pub(crate) struct Evidence {
    pub(crate) lines: Vec<Line>,
    /// Lines of standard output without the form of an observation.
    pub(crate) garbled: Vec<String>,
    pub(crate) stderr: String,
    pub(crate) clients: Vec<ClientEnd>,
    pub(crate) followed: Followed,
    /// The sockets of the primary after the clients, before the shutdown.
    pub(crate) sockets: usize,
    /// The files left in the directory of the run.
    pub(crate) files: Vec<String>,
    /// The numbers of the processes still running at the deadline.
    pub(crate) late: Vec<usize>,
    pub(crate) took: Duration,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        self.garbled.iter().try_for_each(|line| writeln!(f, "garbled: {line}"))?;
        writeln!(f, "{}", self.stderr)?;
        for report in self.followed.processes.values() {
            writeln!(f, "process {}: {:?}, open: {:?}", report.number, report.end, report.left)?;
        }
        writeln!(f, "calls: {:?}", self.followed.calls)?;
        writeln!(f, "clients: {:?}", self.clients)?;
        writeln!(
            f,
            "sockets of the primary: {}; files: {:?}; late: {:?}",
            self.sockets, self.files, self.late
        )?;
        write!(f, "took {:?}", self.took)
    }
}

/// Runs the cluster once. `settled` is the number of sockets of an undisturbed primary after the clients, if
/// known.
///
/// # Errors
///
/// The machine cannot start or trace processes.
pub(crate) fn run(
    setup: Setup,
    injection: Option<Injection>,
    settled: Option<usize>,
) -> anyhow::Result<Evidence> {
    let begun = Instant::now();
    let directory = tempfile::tempdir()?;
    let mut stderr = tempfile::tempfile()?;
    let (stdout, written) = std::io::pipe()?;
    let root = start(setup.cluster, directory.path(), written, &stderr)?;
    let living = Living::default();
    let tracer = Tracer::seize(root, setup.victim, injection, &living).context("ptrace")?;
    let (over, is_over) = mpsc::channel();
    let (followed, late, (lines, garbled), (clients, sockets)) = thread::scope(|scope| {
        let (send, lines) = mpsc::channel();
        let reader = scope.spawn(move || read_lines(stdout, &send));
        let place = directory.path();
        let living = &living;
        let driver = scope.spawn(move || drive(setup.cluster, root, living, lines, place, settled));
        let watchdog = scope.spawn(move || watch(root, living, &is_over));
        let followed = tracer.follow();
        drop(over);
        let late = watchdog.join().expect("the watchdog does not panic");
        let read = reader.join().expect("the reader does not panic");
        (followed, late, read, driver.join().expect("the driver does not panic"))
    });
    let followed = followed.context("ptrace")?;
    let late =
        late.iter().filter_map(|pid| followed.processes.get(pid)).map(|report| report.number).collect();
    let names = fs::read_dir(directory.path())?.filter_map(Result::ok);
    let files = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let stderr = text(&mut stderr)?;
    Ok(Evidence { lines, garbled, stderr, clients, followed, sockets, files, late, took: begun.elapsed() })
}

/// Starts a shell. The shell stops, and becomes the primary when continued.
fn start(cluster: Cluster, place: &Path, stdout: std::io::PipeWriter, stderr: &File) -> anyhow::Result<Pid> {
    let child = Command::new("sh")
        .args(["-c", "kill -STOP $$; exec \"$0\" serve \"$1\""])
        .arg(std::env::current_exe()?)
        .arg(cluster.name())
        .env("RUST_BACKTRACE", "0")
        .current_dir(place)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr.try_clone()?)
        .process_group(0)
        .spawn()?;
    Ok(Pid::from_raw(child.id().try_into()?))
}

fn text(file: &mut File) -> anyhow::Result<String> {
    let mut text = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Repeats SIGTERM after a time, kills every process later, and returns the killed processes.
fn watch(root: Pid, living: &Living, over: &Receiver<()>) -> Vec<Pid> {
    let is_over = |time| over.recv_timeout(time) != Err(RecvTimeoutError::Timeout);
    if is_over(PROMPT) {
        return Vec::new();
    }
    for _ in 0..SIGNALS {
        living.signal(root, Signal::SIGTERM);
        if is_over(AGAIN) {
            return Vec::new();
        }
    }
    let late = living.all();
    // A process may fork meanwhile.
    while !is_over(Duration::from_millis(10)) {
        for process in living.all() {
            living.signal(process, Signal::SIGKILL);
        }
    }
    late
}

/// Returns all lines, and sends each to the driver.
fn read_lines(stdout: PipeReader, driver: &mpsc::Sender<Line>) -> (Vec<Line>, Vec<String>) {
    let (mut lines, mut garbled) = (Vec::new(), Vec::new());
    for text in BufReader::new(stdout).lines().map_while(Result::ok) {
        match text.parse::<Line>() {
            Ok(line) => {
                lines.push(line.clone());
                // The driver stops listening after the start.
                driver.send(line).unwrap_or_default();
            }
            Err(_) => garbled.push(text),
        }
    }
    (lines, garbled)
}

/// Waits for the server, runs the clients and asks the primary to shut down. Returns the ends of the clients,
/// and the number of sockets of the primary before the shutdown.
fn drive(
    cluster: Cluster,
    root: Pid,
    living: &Living,
    lines: Receiver<Line>,
    place: &Path,
    settled: Option<usize>,
) -> (Vec<ClientEnd>, usize) {
    let mut ends = Vec::new();
    if let Some(address) = await_server(&lines, place) {
        for round in 0..ROUNDS {
            ends.extend(clients::round(&address, PATIENCE));
            if cluster == Cluster::Reload && round == 0 {
                living.signal(root, Signal::SIGHUP);
                await_reload(&lines);
            }
        }
    }
    drop(lines);
    let sockets = settle(root, settled);
    living.signal(root, Signal::SIGTERM);
    (ends, sockets)
}

/// Waits until the reload has finished or was abandoned, or a time has passed.
fn await_reload(lines: &Receiver<Line>) {
    let until = Instant::now() + START;
    while let Ok(line) = lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
        if line.observation.what == RELOADED {
            break;
        }
    }
}

/// Waits until each worker listens or has ended. `None`: no worker listens.
fn await_server(lines: &Receiver<Line>, place: &Path) -> Option<Address> {
    let until = Instant::now() + START;
    let (mut address, mut settled) = (None, 0);
    while settled < WORKERS || address.is_none() {
        let left = until.saturating_duration_since(Instant::now());
        let Ok(line) = lines.recv_timeout(left) else { break };
        if line.observer != Observer::Primary {
            continue;
        }
        match line.observation.what.as_str() {
            "listening" => {
                settled += 1;
                let port = line.observation.port().map(Address::Port);
                address = port.or_else(|| Some(Address::Path(place.join(SOCKET))));
            }
            "exit" | "error" => settled += 1,
            _ => {}
        }
    }
    address
}

/// Waits until the primary has no more sockets than an undisturbed primary, and returns the number.
fn settle(root: Pid, settled: Option<usize>) -> usize {
    let until = Instant::now() + if settled.is_some() { SETTLING } else { UNDISTURBED };
    loop {
        let sockets = descriptors(root).iter().filter(|target| target.starts_with("socket:")).count();
        if settled.is_some_and(|settled| sockets <= settled) || Instant::now() >= until {
            return sockets;
        }
        thread::sleep(Duration::from_millis(1));
    }
}
