//! The commands for a running service.

use std::fmt;
use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde_json::error::Category;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::time::timeout;

use crate::args::{
    EventsArguments, LogsArguments, ReloadArguments, RestartArguments, ScaleArguments, StatusArguments,
    Target, UpgradeArguments,
};
use crate::feed::{Record, RecordKind};
use crate::protocol::{Reply, Request};
use crate::report::{self, Coded};
use crate::socket_path;
use crate::status::Status;

/// The time between two updates of `status --watch`.
const REFRESH: Duration = Duration::from_secs(1);

/// `cluster status`.
pub(crate) async fn status(arguments: StatusArguments) -> anyhow::Result<()> {
    let StatusArguments { target, watch } = arguments;
    loop {
        let status = ask_status(&target).await?;
        if target.json {
            report::line(serde_json::to_string(&status)?)?;
        } else {
            let home = if watch && io::stdout().is_terminal() { CLEAR } else { "" };
            report::line(format!("{home}{status}").trim_end())?;
        }
        if !watch {
            return Ok(());
        }
        tokio::time::sleep(REFRESH).await;
    }
}

/// Clears the terminal, and moves the cursor to the top left.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// The status of a service.
pub(crate) async fn ask_status(target: &Target) -> anyhow::Result<Status> {
    let mut exchange = Exchange::start(target, &Request::Status).await?;
    loop {
        match exchange.next().await? {
            Reply::Status(status) => return Ok(status),
            Reply::Progress { .. } | Reply::Lost { .. } | Reply::Alive => {}
            Reply::Done => bail!("the service has sent no status"),
            Reply::Failed { error } => bail!(error),
        }
    }
}

/// `cluster logs`.
pub(crate) async fn logs(arguments: LogsArguments) -> anyhow::Result<()> {
    let LogsArguments { target, follow, slot } = arguments;
    print_records(&target, &Request::Records { kind: RecordKind::Output, slot, follow, after: 0 }).await
}

/// `cluster events`.
pub(crate) async fn events(arguments: EventsArguments) -> anyhow::Result<()> {
    let EventsArguments { target, follow } = arguments;
    print_records(&target, &Request::Records { kind: RecordKind::Event, slot: None, follow, after: 0 }).await
}

async fn print_records(target: &Target, request: &Request) -> anyhow::Result<()> {
    let end = await_end(target, request, |record| print(record, target));
    tokio::select! {
        result = end => result,
        // Ends also while no record arrives: the reader has closed the pipe, as in `cluster logs -f | head`.
        () = report::output_closed() => Ok(()),
    }
}

/// `cluster reload`.
pub(crate) async fn reload(arguments: ReloadArguments) -> anyhow::Result<()> {
    let request = if arguments.abandon { Request::Abandon } else { Request::Reload };
    carry_out(&arguments.target, &request).await
}

/// `cluster scale`.
pub(crate) async fn scale(arguments: ScaleArguments) -> anyhow::Result<()> {
    carry_out(&arguments.target, &Request::Scale { workers: arguments.workers }).await
}

/// `cluster restart`.
pub(crate) async fn restart(arguments: RestartArguments) -> anyhow::Result<()> {
    carry_out(&arguments.target, &Request::Restart { slot: arguments.slot }).await
}

/// `cluster upgrade`.
pub(crate) async fn upgrade(arguments: UpgradeArguments) -> anyhow::Result<()> {
    carry_out(&arguments.target, &Request::Upgrade { timeout: arguments.timeout }).await
}

/// `cluster stop`.
pub(crate) async fn stop(target: Target) -> anyhow::Result<()> {
    carry_out(&target, &Request::Stop).await
}

/// The primary's events with a counterpart among the supervisor's events, printed in JSON only.
const DETAILS: [&str; 5] = ["fork", "online", "listening", "disconnect", "exit"];

/// Sends a command, and waits until the command is complete.
pub(crate) async fn complete(target: &Target, request: &Request) -> anyhow::Result<()> {
    await_end(target, request, |_| Ok(())).await
}

/// Sends a command, and prints events until the command is complete. With `--json`, `DETAILS` are printed as
/// well.
async fn carry_out(target: &Target, request: &Request) -> anyhow::Result<()> {
    let print_event = |record| match &record {
        Record::Event(event) if !target.json && DETAILS.contains(&event.event.as_str()) => Ok(()),
        Record::Event(event) if !target.json => report::line(&event.text),
        Record::Event(_) | Record::Output(_) => print(record, target),
    };
    await_end(target, request, print_event).await
}

fn print(record: Record, target: &Target) -> io::Result<()> {
    if target.json { report::line(serde_json::to_string(&record)?) } else { report::line(record) }
}

/// Sends a request, and calls `observe` with each record until the last reply.
async fn await_end(
    target: &Target,
    request: &Request,
    mut observe: impl FnMut(Record) -> io::Result<()>,
) -> anyhow::Result<()> {
    let mut exchange = Exchange::start(target, request).await?;
    loop {
        match exchange.next().await? {
            Reply::Progress { record, .. } => observe(record)?,
            Reply::Lost { records } if target.json => {
                report::line(serde_json::json!({ "record": "lost", "records": records }))?;
            }
            Reply::Lost { records } => {
                eprintln!("cluster: {records} records are missing: the reader is slow");
            }
            Reply::Status(_) | Reply::Alive => {}
            Reply::Done => return Ok(()),
            Reply::Failed { error } => bail!(error),
        }
    }
}

/// A request and the replies to the request. An upgrade of the service closes the connection. Then the client
/// connects again, and repeats a request without a reply; a request for records continues after the last
/// received record.
struct Exchange<'a> {
    target: &'a Target,
    request: Request,
    replies: Replies,
    has_answer: bool,
    /// The number of successive connections without a reply.
    silent: u32,
}

/// The command fails after `SILENT_CONNECTIONS` successive connections without a reply.
const SILENT_CONNECTIONS: u32 = 3;

impl<'a> Exchange<'a> {
    async fn start(target: &'a Target, request: &Request) -> anyhow::Result<Self> {
        let (request, replies) = (request.clone(), send_request(target, request).await?);
        Ok(Exchange { target, request, replies, has_answer: false, silent: 0 })
    }

    async fn next(&mut self) -> anyhow::Result<Reply> {
        loop {
            match self.replies.next().await {
                Ok(reply) => {
                    self.record(&reply);
                    return Ok(reply);
                }
                Err(error) if error.is::<Ended>() && self.may_repeat() => {
                    self.silent += 1;
                    let again = send_request(self.target, &self.request).await;
                    // Fails if the service has ended as well.
                    self.replies = again.map_err(|_| error)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn record(&mut self, reply: &Reply) {
        (self.has_answer, self.silent) = (true, 0);
        if let (Request::Records { after, .. }, Reply::Progress { number: Some(number), .. }) =
            (&mut self.request, reply)
        {
            *after = *number;
        }
    }

    fn may_repeat(&self) -> bool {
        self.silent < SILENT_CONNECTIONS
            && (matches!(self.request, Request::Records { .. }) || !self.has_answer)
    }
}

/// The service has closed the connection before the last reply.
#[derive(Debug)]
struct Ended;

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the service has ended before the command was complete; its log has the reason")
    }
}

impl std::error::Error for Ended {}

/// The longest wait for a reply: a working service sends a sign of life each second.
const SILENCE: Duration = Duration::from_secs(10);

/// The replies to a request.
#[derive(Debug)]
struct Replies {
    lines: Lines<BufReader<OwnedReadHalf>>,
    path: PathBuf,
    /// The process id of the service.
    pid: Option<i32>,
}

async fn send_request(target: &Target, request: &Request) -> anyhow::Result<Replies> {
    let path = socket(target)?;
    let stream = UnixStream::connect(&path).await.map_err(|error| not_connected(&path, &error))?;
    let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
    let (reader, mut writer) = stream.into_split();
    let line = serde_json::to_string(request).expect("texts and numbers") + "\n";
    // Fails if the service has closed the connection; the last reply has the reason.
    let _ = writer.write_all(line.as_bytes()).await;
    // Dropping the writing half would shut the connection down; `forget` keeps both directions open.
    writer.forget();
    Ok(Replies { lines: BufReader::new(reader).lines(), path, pid })
}

impl Replies {
    async fn next(&mut self) -> anyhow::Result<Reply> {
        let line = timeout(SILENCE, self.lines.next_line()).await;
        let line = line.map_err(|_| silent(&self.path, self.pid))?;
        let line = match line {
            Ok(line) => line.ok_or(Ended)?,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(Ended.into()),
            Err(error) => return Err(error).context("cannot read from the control socket"),
        };
        serde_json::from_str(&line).map_err(|error| match error.classify() {
            // A part of a line: the connection has ended within the line.
            Category::Eof => Ended.into(),
            Category::Io | Category::Syntax | Category::Data => anyhow::Error::new(error).context(
                "the service has sent an unknown reply; use the version of the command that runs the service",
            ),
        })
    }
}

/// The error about a service that runs but does not answer.
fn silent(path: &Path, pid: Option<i32>) -> anyhow::Error {
    let path = path.display();
    let Some(pid) = pid else {
        return Coded::silent(format!("the service of {path} does not answer"));
    };
    let advice = if is_stopped(pid) {
        format!("the process is stopped: `kill -CONT {pid}` continues the process")
    } else {
        format!("`kill -KILL {pid}` ends the service and its workers")
    };
    Coded::silent(format!("the service of {path}, process {pid}, has not answered for {SILENCE:?}; {advice}"))
}

/// Whether a signal has stopped a process.
#[cfg(target_os = "linux")]
fn is_stopped(pid: i32) -> bool {
    let stat = procfs::process::Process::new(pid).and_then(|process| process.stat());
    stat.is_ok_and(|stat| stat.state == 'T')
}

#[cfg(not(target_os = "linux"))]
fn is_stopped(_: i32) -> bool {
    false
}

fn socket(target: &Target) -> anyhow::Result<PathBuf> {
    match (&target.control, &target.name) {
        (Some(path), _) => socket_path::check_length(path).map(|()| path.clone()),
        (None, Some(name)) => socket_path::of_running(name),
        (None, None) => socket_path::only(),
    }
}

fn not_connected(path: &Path, error: &io::Error) -> anyhow::Error {
    let is_socket = fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    let socket = path;
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            Coded::not_running(format!("no service runs at {path}; start one with `cluster run`"))
        }
        io::ErrorKind::ConnectionRefused if !is_socket => {
            anyhow!("{path} is no socket; `--control` names the control socket of a service")
        }
        io::ErrorKind::ConnectionRefused => {
            Coded::not_running(format!("the service of {path} has ended; start one with `cluster run`"))
        }
        // The backlog of the socket is full.
        io::ErrorKind::WouldBlock => silent(socket, None),
        _ => anyhow!("cannot connect to {path}: {error}; run the command as the user of the service"),
    }
}
