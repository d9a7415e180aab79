//! The control socket of a service: each request and each reply is one line of JSON.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::unistd::geteuid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{interval, timeout};

use crate::accept::accept;
use crate::feed::{Numbered, Record};
use crate::protocol::{RecordKind, Reply, Request, SIGN_OF_LIFE, encode, send};
use crate::service::Service;
use crate::upgrade::Upgrades;
use crate::{replacing, socket_path};

/// The longest request in bytes.
const LONGEST_REQUEST: u64 = 4_096;

/// How long a client may take to send the request.
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// The largest number of connected clients.
const COMMANDS: usize = 32;

/// A bound control socket. `Drop` removes the file.
#[derive(Debug)]
pub(crate) struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Binds the socket, for this user alone. Replaces the socket of a killed service.
    ///
    /// # Errors
    /// Another service uses the path, the path is no socket, or the socket cannot be bound.
    pub(crate) async fn bind(path: &Path) -> anyhow::Result<Control> {
        socket_path::check_length(path)?;
        match UnixStream::connect(path).await {
            Ok(_) => bail!(
                "a service already runs with the control socket {}; stop it, or choose another `--name`",
                path.display()
            ),
            // The backlog is full: a service exists, but is stopped.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => bail!(
                "a service that does not answer has the control socket {}; choose another `--name`",
                path.display()
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => remove_stale(path)?,
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("cannot use {} as the control socket; choose another `--control`", path.display())
                });
            }
        }
        let listener = UnixListener::bind(path).with_context(|| {
            format!("cannot bind the control socket {}; choose another `--control`", path.display())
        })?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(Control { listener, path: path.to_owned() })
    }

    /// Takes over the socket of the previous program.
    ///
    /// # Errors
    /// The runtime cannot register the socket.
    pub(crate) fn after(socket: OwnedFd, path: PathBuf) -> io::Result<Control> {
        let listener = UnixListener::from_std(socket.into())?;
        Ok(Control { listener, path })
    }

    /// A copy of the socket, and the path.
    ///
    /// # Errors
    /// The process has no free descriptor.
    pub(crate) fn copy(&self) -> io::Result<(OwnedFd, PathBuf)> {
        Ok((self.listener.as_fd().try_clone_to_owned()?, self.path.clone()))
    }

    /// Answers requests until the future is dropped.
    pub(crate) async fn serve(self, service: Arc<Service>, upgrades: Arc<Upgrades>) {
        let places = Arc::new(Semaphore::new(COMMANDS));
        let start = |(stream, _)| match places.clone().try_acquire_owned() {
            Ok(place) => drop(tokio::spawn(answer(stream, service.clone(), upgrades.clone(), place))),
            Err(_) => refuse(&stream),
        };
        accept("the control socket", |cx| self.listener.poll_accept(cx), start).await;
    }
}

/// Removes the socket of a killed service.
fn remove_stale(path: &Path) -> anyhow::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.file_type().is_socket() {
        bail!("{} is no socket; choose another `--control`", path.display());
    }
    if metadata.uid() != geteuid().as_raw() {
        bail!("the socket {} belongs to another user; choose another `--control`", path.display());
    }
    Ok(fs::remove_file(path)?)
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Refuses a client beyond `COMMANDS`. The text fits into the empty buffer of a new connection.
fn refuse(stream: &UnixStream) {
    let error = format!(
        "{COMMANDS} commands are connected to this service; end one of them, such as `cluster logs -f`"
    );
    let _ = stream.try_write(encode(&Reply::Failed { error }).as_bytes());
}

/// Answers a client. The client occupies a place until the connection ends.
async fn answer(
    stream: UnixStream,
    service: Arc<Service>,
    upgrades: Arc<Upgrades>,
    _place: OwnedSemaphorePermit,
) {
    let result = converse(stream, &service, &upgrades).await;
    if let Err(error) = result {
        tracing::debug!(%error, "a command has disconnected");
    }
}

async fn converse(stream: UnixStream, service: &Service, upgrades: &Upgrades) -> io::Result<()> {
    let user = stream.peer_cred()?.uid();
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    if user != geteuid().as_raw() && user != 0 {
        let error =
            format!("user {user} may not command this service; run the command as its user, or as root");
        return send(&mut writer, &Reply::Failed { error }).await;
    }
    match read_request(&mut reader).await {
        Ok(Request::Records { kind, slot, follow, after }) => {
            if let Some(slot) = slot
                && let Err(error) = service.check_slot(slot).await
            {
                return send(&mut writer, &Reply::Failed { error }).await;
            }
            let wants = |numbered: &Numbered| {
                let is_wanted = match &numbered.record {
                    Record::Event(event) => {
                        kind == RecordKind::Event && (slot.is_none() || event.slot == slot)
                    }
                    Record::Output(line) => {
                        kind == RecordKind::Output && slot.is_none_or(|slot| line.slot == slot)
                    }
                };
                is_wanted && numbered.number > after
            };
            let end = async { drop(reader.read_u8().await) };
            let records = send_records(wants, follow, service, &mut writer);
            tokio::select! {
                sent = records => sent,
                () = end, if follow => Ok(()),
            }
        }
        Ok(Request::Upgrade { timeout }) => {
            let client = writer.as_ref().as_fd().try_clone_to_owned()?;
            carry_out(upgrades.carry_out(timeout.0, client), service, &mut writer).await
        }
        Ok(Request::Abandon) => replacing::abandon(service, &mut writer).await,
        Ok(request @ (Request::Reload | Request::Restart { .. })) => {
            let _work = service.begin_work();
            let slot = if let Request::Restart { slot } = request { Some(slot) } else { None };
            replacing::reload(slot, service, &mut writer).await
        }
        Ok(request) => {
            let _work = service.begin_work();
            carry_out(service.carry_out(request), service, &mut writer).await
        }
        Err(error) => send(&mut writer, &Reply::Failed { error: format!("{error:#}") }).await,
    }
}

async fn read_request(reader: &mut BufReader<OwnedReadHalf>) -> anyhow::Result<Request> {
    let mut line = String::new();
    let mut limited = reader.take(LONGEST_REQUEST);
    let read = timeout(REQUEST_TIME, limited.read_line(&mut line)).await;
    read.with_context(|| format!("the request is not complete after {REQUEST_TIME:?}"))??;
    serde_json::from_str(&line)
        .context("the request is not valid; use the version of the command that runs the service")
}

/// Sends the recent records, and with `follow` all later records as well.
async fn send_records(
    wants: impl Fn(&Numbered) -> bool,
    follow: bool,
    service: &Service,
    writer: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let (recent, mut later) = service.feed.recent();
    for record in recent.iter().filter(|record| wants(record)) {
        send(writer, &numbered(record)).await?;
    }
    drop(recent);
    if follow {
        follow_records(wants, &mut later, writer).await?;
    }
    send(writer, &Reply::Done).await
}

fn numbered(Numbered { number, record }: &Numbered) -> Reply {
    Reply::Progress { record: record.clone(), number: Some(*number) }
}

async fn follow_records(
    wants: impl Fn(&Numbered) -> bool,
    later: &mut Receiver<Arc<Numbered>>,
    writer: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let mut signs = interval(SIGN_OF_LIFE);
    loop {
        let record = tokio::select! {
            record = later.recv() => record,
            _ = signs.tick() => {
                send(writer, &Reply::Alive).await?;
                continue;
            }
        };
        match record {
            Ok(record) if wants(&record) => {
                send(writer, &numbered(&record)).await?;
            }
            Ok(_) => {}
            Err(RecvError::Lagged(records)) => send(writer, &Reply::Lost { records }).await?,
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

/// Carries out a request, and sends the events of the service to the client meanwhile.
async fn carry_out(
    work: impl Future<Output = Reply>,
    service: &Service,
    writer: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let mut records = service.feed.subscribe();
    let mut work = std::pin::pin!(work);
    let mut signs = interval(SIGN_OF_LIFE);
    let reply = loop {
        tokio::select! {
            biased;
            record = records.recv() => progress(record, writer).await?,
            reply = &mut work => break reply,
            _ = signs.tick() => send(writer, &Reply::Alive).await?,
        }
    };
    while let Ok(record) = records.try_recv() {
        progress(Ok(record), writer).await?;
    }
    send(writer, &reply).await
}

async fn progress(record: Result<Arc<Numbered>, RecvError>, writer: &mut OwnedWriteHalf) -> io::Result<()> {
    match record.as_deref().map(|numbered| &numbered.record) {
        Ok(Record::Output(_)) | Err(RecvError::Lagged(_) | RecvError::Closed) => Ok(()),
        Ok(record @ Record::Event(_)) => {
            send(writer, &Reply::Progress { record: record.clone(), number: None }).await
        }
    }
}
