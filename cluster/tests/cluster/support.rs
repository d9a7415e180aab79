//! Shared parts of the tests: a primary under a deadline, clients, and the count of open descriptors.

use std::future::Future;
use std::net::TcpStream;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{env, fs, io, iter, process, thread};

use ::cluster::{Event, Primary, Settings, SpawnOptions, WorkerId};
use libtest_mimic::{Failed, Trial};
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The limit of each wait.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// The limit of a test: many times the duration of the longest test.
const TEST_BOUND: Duration = Duration::from_mins(3);

pub(crate) type TestResult = Result<(), Failed>;

/// A test that also fails if descriptors or children remain, or after [`TEST_BOUND`].
pub(crate) fn trial(name: &str, test: impl FnOnce() -> TestResult + Send + 'static) -> Trial {
    Trial::test(name, move || {
        let before = open();
        bounded(test)?;
        let after = open();
        if before == after {
            Ok(())
        } else {
            Err(format!("open before: {before:?}, after: {after:?}").into())
        }
    })
}

/// Runs a test. After the limit, ends this program, because a test without an end would make the reader wait.
fn bounded(test: impl FnOnce() -> TestResult) -> TestResult {
    let (ended, end) = mpsc::channel::<()>();
    let watch = thread::spawn(move || {
        if end.recv_timeout(TEST_BOUND) == Err(RecvTimeoutError::Timeout) {
            eprintln!("the test has not ended within its bound of {TEST_BOUND:?}");
            process::exit(101);
        }
    });
    let result = test();
    drop(ended);
    watch.join().map_err(|_| "the watch of the bound has panicked")?;
    result
}

/// A test inside a runtime.
pub(crate) fn asynchronous<F>(name: &str, test: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = TestResult>,
{
    trial(name, move || runtime()?.block_on(test()))
}

/// A runtime with the number of threads in the variable THREADS; by default a current-thread runtime.
pub(crate) fn runtime() -> io::Result<Runtime> {
    let threads = env::var("THREADS").ok().and_then(|threads| threads.parse().ok());
    if let Some(threads) = threads {
        return Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    }
    Builder::new_current_thread().enable_all().build()
}

/// The open descriptors of this process by name, and the children.
fn open() -> (Vec<String>, Vec<u32>) {
    let links = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let mut descriptors: Vec<String> = links
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .filter(|target| !target.ends_with("/fd"))
        .collect();
    descriptors.sort();
    (descriptors, children())
}

pub(crate) fn children() -> Vec<u32> {
    children_of(process::id())
}

pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let parent = parent.to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| child_of(&parent, &entry.file_name().to_string_lossy())).collect()
}

/// The process id of `process`, if `parent` is its parent.
fn child_of(parent: &str, process: &str) -> Option<u32> {
    let number = process.parse().ok()?;
    let status = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name may contain any text, so the state and the parent are read after it.
    let (_, rest) = status.rsplit_once(") ")?;
    (rest.split(' ').nth(1) == Some(parent)).then_some(number)
}

/// What a child has inherited: the variables of a role, and the number of descriptors.
pub(crate) fn inherited() -> io::Result<Value> {
    let role = ["NODE_UNIQUE_ID=", "NODE_CHANNEL_FD=", "NODE_CHANNEL_SERIALIZATION_MODE="];
    let variables = output(&mut process::Command::new("env"))?;
    let of_role = |line: &&str| role.iter().any(|name| line.starts_with(name));
    let variables: Vec<&str> = variables.lines().filter(of_role).collect();
    let descriptors = output(process::Command::new("ls").arg("/proc/self/fd"))?;
    Ok(json!({ "variables": variables, "descriptors": descriptors.lines().count() }))
}

pub(crate) fn output(command: &mut process::Command) -> io::Result<String> {
    String::from_utf8(command.output()?.stdout).map_err(io::Error::other)
}

/// A primary for the programs in `programs`.
pub(crate) fn primary() -> Result<Primary, Failed> {
    Ok(Primary::new(Settings::default())?)
}

/// A primary for another program.
pub(crate) fn primary_of(exec: &str, args: &[&str]) -> Result<Primary, Failed> {
    let command = SpawnOptions::new().exec(exec).args(args.iter().copied());
    Ok(Primary::new(Settings { spawn: command, ..Settings::default() })?)
}

/// Forks a worker with a program of `programs`.
pub(crate) fn fork(primary: &mut Primary, program: &str) -> WorkerId {
    primary.fork_with_env([("PROGRAM", program)]).expect("what can be")
}

/// Forks a worker with a program of `programs` and an address.
pub(crate) fn fork_at(primary: &mut Primary, program: &str, address: &str) -> WorkerId {
    primary.fork_with_env([("PROGRAM", program), ("ADDRESS", address)]).expect("what can be")
}

/// The events up to and including the first wanted event.
pub(crate) async fn until(
    primary: &mut Primary,
    mut wanted: impl FnMut(&Event) -> bool,
) -> Result<Vec<Event>, Failed> {
    let mut seen = Vec::new();
    loop {
        match timeout(TIMEOUT, primary.next()).await {
            Ok(Some(event)) => seen.push(event),
            Ok(None) => return Err(format!("no more events after {seen:?}").into()),
            Err(_) => return Err(format!("no event in time after {seen:?}").into()),
        }
        if seen.last().is_some_and(&mut wanted) {
            return Ok(seen);
        }
    }
}

/// The port in the next `Listening`.
pub(crate) async fn port(primary: &mut Primary) -> Result<u16, Failed> {
    match until(primary, |event| matches!(event, Event::Listening { .. })).await?.pop() {
        Some(Event::Listening { address, .. }) => Ok(u16::try_from(address.port)?),
        other => Err(format!("{other:?}").into()),
    }
}

/// The next message of a worker.
pub(crate) async fn message(primary: &mut Primary) -> Result<Value, Failed> {
    match until(primary, |event| matches!(event, Event::Message { .. })).await?.pop() {
        Some(Event::Message { message, .. }) => Ok(message.json()?),
        other => Err(format!("{other:?}").into()),
    }
}

/// Runs the primary until a task with a remote has ended. Also returns the events. Without this, a test that
/// awaits only the task may hang, because the task waits for the primary.
pub(crate) async fn drive<T>(
    primary: &mut Primary,
    mut task: JoinHandle<T>,
) -> Result<(T, Vec<Event>), Failed> {
    let mut seen = Vec::new();
    loop {
        tokio::select! {
            ended = &mut task => return Ok((ended?, seen)),
            event = timeout(TIMEOUT, primary.next()) => match event {
                Ok(Some(event)) => seen.push(event),
                Ok(None) | Err(_) => return Err(format!("the task has not ended; {seen:?}").into()),
            }
        }
    }
}

/// The remaining events.
pub(crate) async fn rest(primary: &mut Primary) -> Result<Vec<Event>, Failed> {
    let mut seen = Vec::new();
    while let Some(event) =
        timeout(TIMEOUT, primary.next()).await.map_err(|_| format!("{seen:?} and no end"))?
    {
        seen.push(event);
    }
    Ok(seen)
}

/// A client with a time limit for reads.
pub(crate) fn connect(port: u16) -> io::Result<TcpStream> {
    let client = TcpStream::connect(("127.0.0.1", port))?;
    client.set_read_timeout(Some(TIMEOUT))?;
    Ok(client)
}

/// Reads the answer of a server to the end, while the primary runs.
pub(crate) async fn read_answer(
    primary: &mut Primary,
    client: impl io::Read + Send + 'static,
) -> Result<String, Failed> {
    let reading = tokio::task::spawn_blocking(move || io::read_to_string(client));
    tokio::pin!(reading);
    loop {
        tokio::select! {
            answer = &mut reading => return Ok(answer??),
            event = primary.next() => if event.is_none() {
                return Ok(reading.await??);
            }
        }
    }
}

/// Holds all free descriptors of the process.
pub(crate) struct FdExhaustion {
    limit: (rlim_t, rlim_t),
    _descriptors: Vec<fs::File>,
}

impl FdExhaustion {
    pub(crate) fn new() -> io::Result<Self> {
        FdExhaustion::except(0)
    }

    /// Takes all free descriptors except `free`.
    pub(crate) fn except(free: usize) -> io::Result<Self> {
        let limit = getrlimit(Resource::RLIMIT_NOFILE)?;
        // The limit is above the number of open descriptors, and low enough to open all the rest.
        setrlimit(Resource::RLIMIT_NOFILE, 100, limit.1)?;
        let mut descriptors: Vec<_> = iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
        descriptors.truncate(descriptors.len().saturating_sub(free));
        Ok(FdExhaustion { limit, _descriptors: descriptors })
    }
}

impl Drop for FdExhaustion {
    fn drop(&mut self) {
        let restored = setrlimit(Resource::RLIMIT_NOFILE, self.limit.0, self.limit.1);
        assert!(restored.is_ok(), "a limit can be restored: {restored:?}");
    }
}

/// Collects the output of a subscriber.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().map_err(|_| io::ErrorKind::Other)?.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub(crate) fn text(&self) -> Result<String, Failed> {
        Ok(String::from_utf8(self.0.lock().map_err(|_| "a lock")?.clone())?)
    }
}
