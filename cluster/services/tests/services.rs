//! Runs every service through a reload, with the command in the head of its program. The workers inherit the
//! standard output, so no process remains when the output ends.

use std::fs;
use std::process::Stdio;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::Request;
use futures_util::{SinkExt, StreamExt};
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// A running service, with a worker for each core.
struct Service {
    primary: Child,
    lines: Lines<BufReader<ChildStdout>>,
    address: String,
}

impl Service {
    async fn start(program: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.arg("127.0.0.1:0").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut primary = command.kill_on_drop(true).spawn()?;
        let lines = BufReader::new(primary.stdout.take().expect("a pipe")).lines();
        let mut service = Service { primary, lines, address: String::new() };
        service.all_serve().await?;
        Ok(service)
    }

    /// Waits until a new worker for each core serves.
    async fn all_serve(&mut self) -> anyhow::Result<()> {
        for _ in 0..std::thread::available_parallelism()?.get() {
            self.one_serves().await?;
        }
        Ok(())
    }

    async fn one_serves(&mut self) -> anyhow::Result<()> {
        let line = self.lines.next_line().await?.expect("a further line");
        let (_, address) = line.split_once("://").expect("an address");
        self.address = address.trim_end_matches('/').into();
        Ok(())
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let process = self.primary.id().expect("the service runs");
        Ok(kill(Pid::from_raw(process.cast_signed()), signal)?)
    }

    async fn reload(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::SIGHUP)?;
        self.all_serve().await
    }

    /// Ends the service, with all processes.
    async fn end(mut self) -> anyhow::Result<()> {
        self.signal(Signal::SIGTERM)?;
        while self.lines.next_line().await?.is_some() {}
        assert!(self.primary.wait().await?.success());
        Ok(())
    }
}

/// Sends a request, and returns the head and the body of the answer.
async fn get(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    cookie: &str,
) -> anyhow::Result<(String, String)> {
    let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while stream.read_line(&mut head).await? > 2 {}
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.expect("a length")];
    stream.read_exact(&mut body).await?;
    Ok((head, String::from_utf8(body)?))
}

/// A Redis server on a Unix socket.
struct Redis {
    directory: tempfile::TempDir,
    _server: Child,
}

impl Redis {
    async fn start() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--unixsocket"]).arg(directory.path().join("redis"));
        command.current_dir(&directory).stdout(Stdio::null()).kill_on_drop(true);
        let server =
            command.spawn().expect("install redis-server, on Debian with `apt-get install redis-server`");
        let redis = Redis { directory, _server: server };
        while UnixStream::connect(redis.directory.path().join("redis")).await.is_err() {
            tokio::task::yield_now().await;
        }
        Ok(redis)
    }

    fn url(&self) -> String {
        format!("redis+unix://{}", self.directory.path().join("redis").display())
    }
}

#[tokio::test]
async fn sessions_outlive_workers() -> anyhow::Result<()> {
    let redis = Redis::start().await?;
    let mut service = Service::start(env!("CARGO_BIN_EXE_sessions"), &[&redis.url()]).await?;
    let (head, body) = get(&mut TcpStream::connect(&service.address).await?, "").await?;
    assert_eq!(body, "request 1\n");
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")?.split(';').next());
    let cookie = cookie.expect("a cookie").to_owned();
    // Several workers serve the same session in turn.
    for count in 2..6 {
        let (_, body) = get(&mut TcpStream::connect(&service.address).await?, &cookie).await?;
        assert_eq!(body, format!("request {count}\n"));
    }
    service.reload().await?;
    let (_, body) = get(&mut TcpStream::connect(&service.address).await?, &cookie).await?;
    assert_eq!(body, "request 6\n");
    let (_, body) = get(&mut TcpStream::connect(&service.address).await?, "session=unknown").await?;
    assert_eq!(body, "request 1\n", "another session");
    service.end().await
}

#[tokio::test]
async fn websocket_closes_with_a_frame() -> anyhow::Result<()> {
    let mut service = Service::start(env!("CARGO_BIN_EXE_websocket"), &[]).await?;
    let url = format!("ws://{}/", service.address);
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let (mut client, _) = tokio_tungstenite::connect_async(&url).await?;
        client.send(Message::text("hello")).await?;
        assert_eq!(client.next().await.transpose()?, Some(Message::text("hello")));
        clients.spawn(async move { (client.next().await, client.next().await.is_none()) });
    }
    service.reload().await?;
    while let Some(ended) = clients.join_next().await {
        let (closed, is_end) = ended?;
        assert!(
            matches!(&closed, Some(Ok(Message::Close(Some(frame)))) if frame.code == CloseCode::Away),
            "{closed:?}"
        );
        assert!(is_end, "the connection ends after the close frame");
    }
    let (mut client, _) = tokio_tungstenite::connect_async(&url).await?;
    client.send(Message::text("again")).await?;
    assert_eq!(client.next().await.transpose()?, Some(Message::text("again")));
    drop(client);
    service.end().await
}

async fn tls_client(
    certificate: &CertificateDer<'_>,
    address: &str,
    protocol: &str,
) -> anyhow::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone().into_owned())?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.into()];
    let connector = TlsConnector::from(Arc::new(config));
    Ok(connector.connect(ServerName::try_from("localhost")?, TcpStream::connect(address).await?).await?)
}

#[tokio::test]
async fn tls_drains_at_reload() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| directory.path().join(name));
    let identity = rcgen::generate_simple_self_signed(["localhost".into()])?;
    fs::write(&certificate, identity.cert.pem())?;
    fs::write(&key, identity.signing_key.serialize_pem())?;
    let files = [&certificate, &key].map(|path| path.to_str().expect("a name in UTF-8"));
    let mut service = Service::start(env!("CARGO_BIN_EXE_tls"), &files).await?;
    let certificate = identity.cert.der();
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let mut client = tls_client(certificate, &service.address, "http/1.1").await?;
        let (head, body) = get(&mut client, "").await?;
        assert_eq!((head.contains("connection: close"), &*body), (false, "hello\n"));
        clients.spawn(until_close(client));
    }
    let mut stream = OpenStream::begin(tls_client(certificate, &service.address, "h2").await?).await?;
    // A client without TLS must not disturb the other clients.
    TcpStream::connect(&service.address).await?.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
    service.signal(Signal::SIGHUP)?;
    // The reload waits for the open stream to an old worker.
    stream.receives_goaway().await?;
    assert_eq!(stream.end("late").await?, "late");
    service.all_serve().await?;
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    let (_, body) = get(&mut tls_client(certificate, &service.address, "http/1.1").await?, "").await?;
    assert_eq!(body, "hello\n");
    service.end().await
}

/// A request of an HTTP/2 client with an open body.
struct OpenStream {
    answer: ResponseFuture,
    body: SendStream<Bytes>,
    requests: SendRequest<Bytes>,
}

impl OpenStream {
    async fn begin(stream: TlsStream<TcpStream>) -> anyhow::Result<Self> {
        let (requests, connection) = h2::client::handshake(stream).await?;
        tokio::spawn(connection);
        let mut requests = requests.ready().await?;
        let (answer, body) = requests.send_request(Request::post("https://localhost/").body(())?, false)?;
        Ok(OpenStream { answer, body, requests })
    }

    /// Checks that the connection takes no further request, and has not failed.
    async fn receives_goaway(&mut self) -> anyhow::Result<()> {
        while let Ok(requests) = self.requests.clone().ready().await {
            drop(requests);
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Sends the rest of the body, and returns the answer.
    async fn end(mut self, body: &'static str) -> anyhow::Result<String> {
        self.body.send_data(Bytes::from_static(body.as_bytes()), true)?;
        let mut answer = self.answer.await?.into_body();
        let mut text = Vec::new();
        while let Some(part) = answer.data().await.transpose()? {
            text.extend(part);
        }
        Ok(String::from_utf8(text)?)
    }
}

/// Sends requests until an answer announces the end of the connection.
async fn until_close(mut client: TlsStream<TcpStream>) -> anyhow::Result<()> {
    while let (head, body) = get(&mut client, "").await?
        && !head.contains("connection: close")
    {
        assert_eq!(body, "hello\n");
    }
    Ok(())
}
