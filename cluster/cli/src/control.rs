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
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{interval, timeout};

use crate::accept::accept;
use crate::concern::Concern;
use crate::feed::{Batch, EventRecord, Numbered, Reader, Record};
use crate::protocol::{Reply, Request, SIGN_OF_LIFE, encode, send, send_encoded};
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
            let end = async { drop(reader.read_u8().await) };
            let (records, last) = service.feed.read(kind, after);
            let last = (!follow).then_some(last);
            let records = send_records(records, last, slot, &mut writer);
            tokio::select! {
                sent = records => sent,
                () = end, if follow => Ok(()),
            }
        }
        Ok(Request::Upgrade { timeout }) => {
            let client = writer.as_ref().as_fd().try_clone_to_owned()?;
            let work = upgrades.carry_out(timeout.0, client);
            carry_out(work, Concern::Upgrade, service, &mut writer).await
        }
        Ok(Request::Abandon) => replacing::abandon(service, &mut writer).await,
        Ok(request @ (Request::Reload | Request::Restart { .. })) => {
            let _work = service.begin_work();
            let slot = if let Request::Restart { slot } = request { Some(slot) } else { None };
            replacing::reload(slot, service, &mut writer).await
        }
        Ok(Request::Scale { workers }) => {
            let _work = service.begin_work();
            match service.scaling(workers).await {
                Ok((now, wanted)) => {
                    let concern = Concern::Slots(now.min(wanted)..now.max(wanted));
                    carry_out(service.scale(wanted), concern, service, &mut writer).await
                }
                Err(error) => send(&mut writer, &Reply::Failed { error }).await,
            }
        }
        Ok(Request::Stop) => {
            let _work = service.begin_work();
            let concern = Concern::Shutdown { has_started: false };
            carry_out(service.stop(), concern, service, &mut writer).await
        }
        Ok(Request::Status) => send(&mut writer, &service.status().await).await,
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

/// Sends the records of a slot, or of all slots, up to the record with the number `last`. `None`: without an
/// end.
async fn send_records(
    mut reader: Reader,
    last: Option<u64>,
    slot: Option<u32>,
    writer: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let mut signs = interval(SIGN_OF_LIFE);
    loop {
        let Batch { lost, records } = reader.read();
        let is_over =
            records.last().map_or(last.is_some(), |record| Some(record.number) >= last.or(Some(u64::MAX)));
        let wanted = records.iter().filter(|numbered| {
            numbered.record.is_of_slot(slot) && last.is_none_or(|last| numbered.number <= last)
        });
        let mut replies = if lost > 0 { encode(&Reply::Lost { records: lost }) } else { String::new() };
        replies.extend(wanted.map(|record| encode(&numbered(record))));
        send_encoded(writer, &replies).await?;
        if is_over {
            return send(writer, &Reply::Done).await;
        }
        tokio::select! {
            biased;
            () = reader.changed() => {}
            _ = signs.tick() => send(writer, &Reply::Alive).await?,
        }
    }
}

fn numbered(Numbered { number, record }: &Numbered) -> Reply {
    Reply::Progress { record: record.clone(), number: Some(*number) }
}

/// Carries out a request, and sends the client the events of concern meanwhile.
async fn carry_out(
    work: impl Future<Output = Reply>,
    mut concern: Concern,
    service: &Service,
    writer: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let mut events = service.feed.later_events();
    let mut work = std::pin::pin!(work);
    let mut signs = interval(SIGN_OF_LIFE);
    let reply = loop {
        tokio::select! {
            biased;
            event = events.next() => progress(event, &mut concern, writer).await?,
            reply = &mut work => break reply,
            _ = signs.tick() => send(writer, &Reply::Alive).await?,
        }
    };
    while let Some(event) = events.read() {
        progress(event, &mut concern, writer).await?;
    }
    send(writer, &reply).await
}

async fn progress(event: EventRecord, concern: &mut Concern, writer: &mut OwnedWriteHalf) -> io::Result<()> {
    if !concern.includes(&event) {
        return Ok(());
    }
    send(writer, &Reply::Progress { record: Record::Event(event), number: None }).await
}
