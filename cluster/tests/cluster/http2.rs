//! `serve` with HTTP/2 clients.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

use ::cluster::{Event, Supervisor, SupervisorEvent};
use axum::body::Bytes;
use axum::http::Request;
use h2::client::{ResponseFuture, SendRequest, handshake};
use h2::{Error, Reason, SendStream};
use libtest_mimic::{Failed, Trial};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::supervising::{settings, settings_of, start};
use super::support::{TIMEOUT, TestResult, asynchronous};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        asynchronous("http2_reload_completes_streams", reload),
        asynchronous("http2_loop_sends_goaway_first", by_hand),
    ]
}

/// A connection of a client.
struct Client {
    requests: SendRequest<Bytes>,
    /// Why the connection takes no further requests.
    refused: oneshot::Receiver<Error>,
}

impl Client {
    async fn connect(port: u16) -> Result<Self, Failed> {
        let (requests, connection) = handshake(TcpStream::connect(("127.0.0.1", port)).await?).await?;
        let (refuse, refused) = oneshot::channel();
        let (mut refuse, mut observed) = (Some(refuse), requests.clone());
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            poll_fn(|cx| {
                let ended = connection.as_mut().poll(cx);
                if let std::task::Poll::Ready(Err(error)) = observed.poll_ready(cx) {
                    let _ = refuse.take().map(|refuse| refuse.send(error));
                }
                ended
            })
            .await
        });
        Ok(Client { requests, refused })
    }

    /// Sends a request with an open body.
    fn open(&mut self) -> Result<(ResponseFuture, SendStream<Bytes>), Failed> {
        let request = Request::post("http://localhost/").body(())?;
        Ok(self.requests.send_request(request, false)?)
    }

    async fn request(&mut self, body: &'static str) -> Result<String, Failed> {
        let (answer, stream) = self.open()?;
        complete(answer, stream, body).await
    }
}

/// Sends the rest of the body, and returns the answer.
async fn complete(
    answer: ResponseFuture,
    mut stream: SendStream<Bytes>,
    body: &'static str,
) -> Result<String, Failed> {
    stream.send_data(Bytes::from_static(body.as_bytes()), true)?;
    let mut answer = timeout(TIMEOUT, answer).await??.into_body();
    let mut text = Vec::new();
    while let Some(part) = timeout(TIMEOUT, answer.data()).await? {
        text.extend(part?);
    }
    Ok(String::from_utf8(text)?)
}

/// At the start of the lame duck, the connection receives GOAWAY. The old worker still answers an open
/// stream, and a new worker answers a new connection. Idle connections are not closed here: the reload and
/// the shutdown end by GOAWAY alone.
async fn reload() -> TestResult {
    let running = start(settings(&["serve streams"])).await?;
    let mut client = Client::connect(running.port).await?;
    let first = client.request("x").await?;
    let (answer, stream) = client.open()?;
    let handle = running.handle.clone();
    let reload = tokio::spawn(async move { handle.reload().await });
    let error = timeout(TIMEOUT, client.refused).await??;
    assert!(error.is_remote() && error.is_go_away(), "{error:?}");
    assert_eq!(error.reason(), Some(Reason::NO_ERROR));
    let mut successor = Client::connect(running.port).await?;
    assert!(successor.request("x").await?.ends_with(" x"));
    assert_eq!(complete(answer, stream, "x").await?, first);
    timeout(TIMEOUT, reload).await???;
    let last = Client::connect(running.port).await?.request("x").await?;
    assert_ne!(last, first);
    running.end().await
}

/// A hand-written loop sends GOAWAY at the start of a lame duck of one hour, and the open stream completes.
async fn by_hand() -> TestResult {
    let long = Duration::from_hours(1);
    // With two workers the connection could belong to the worker that the reload does not reach.
    let settings = settings_of(1, &["serve streams by hand"]).shutdown(2 * long).hurry_after(Duration::ZERO);
    let mut supervisor = Supervisor::new(settings.lame_duck(long))?;
    let handle = supervisor.handle();
    let (mut is_ready, mut port) = (false, 0);
    while !is_ready {
        match timeout(TIMEOUT, supervisor.next()).await?.ok_or("the end")? {
            SupervisorEvent::SlotReady { .. } => is_ready = true,
            SupervisorEvent::Primary(Event::Listening { address, .. }) => port = u16::try_from(address.port)?,
            _ => {}
        }
    }
    let run = tokio::spawn(supervisor.run());
    let mut client = Client::connect(port).await?;
    let first = client.request("x").await?;
    let (answer, stream) = client.open()?;
    let commands = handle.clone();
    let reload = tokio::spawn(async move { commands.reload().await });
    let error = timeout(TIMEOUT, client.refused).await??;
    assert!(error.is_remote() && error.is_go_away(), "{error:?}");
    assert_eq!(complete(answer, stream, "x").await?, first);
    assert!(!reload.is_finished());
    let requests = [handle.clone(), handle.clone(), handle];
    let ended =
        async { tokio::join!(requests[0].shutdown(), requests[1].shutdown(), requests[2].shutdown()) };
    assert_eq!(timeout(TIMEOUT, ended).await?, (Ok(()), Ok(()), Ok(())));
    Ok(timeout(TIMEOUT, run).await???)
}
