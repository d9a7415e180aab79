//! Listening other than at a TCP address: at paths, for datagrams, on descriptors of the primary, on
//! exclusive sockets.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{self, UnixStream};
use std::path::{Path, PathBuf};

use ::cluster::{Event, ExitStatus, Primary, SchedulingPolicy, Settings, WorkerId};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::ends::abandon;
use super::support::{
    TIMEOUT, TestResult, asynchronous, connect, message, primary, read_answer, rest, until,
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        asynchronous("workers_serve_a_path_in_turn", || serves_a_path(SchedulingPolicy::RoundRobin)),
        asynchronous("workers_share_a_path", || serves_a_path(SchedulingPolicy::Shared)),
        asynchronous("relative_path_begins_at_working_directory", relative_path),
        asynchronous("long_path_is_served", long_path),
        asynchronous("abstract_name_is_served", abstract_name),
        asynchronous("path_has_its_mode", mode),
        asynchronous("failed_path_has_a_reason", bad_paths),
        asynchronous("relative_path_needs_a_directory", removed_directory),
        asynchronous("empty_path_is_refused", empty_path),
        asynchronous("datagrams_reach_workers", || datagrams("127.0.0.1")),
        asynchronous("datagrams_reach_workers_over_ipv6", || datagrams("::1")),
        asynchronous("disconnected_worker_gets_no_datagrams", last_datagram),
        asynchronous("busy_udp_port_is_an_error", busy_udp_port),
        asynchronous("exclusive_server_is_not_shared", exclusive),
        asynchronous("exclusive_path_is_removed", exclusive_path),
        asynchronous("busy_exclusive_port_is_an_error", busy_exclusive_port),
        asynchronous("workers_may_reuse_a_port", reused_port),
        asynchronous("workers_serve_primary_descriptor", || descriptor(SchedulingPolicy::RoundRobin)),
        asynchronous("workers_share_primary_descriptor", || descriptor(SchedulingPolicy::Shared)),
        asynchronous("workers_read_primary_udp_descriptor", udp_descriptor),
        asynchronous("unsuitable_descriptor_is_not_served", bad_descriptors),
        asynchronous("ipv6_only_refuses_ipv4", ipv6_only),
        asynchronous("zone_is_served", zone),
        asynchronous("address_kind_must_fit", another_kind),
        asynchronous("full_worker_declines_clients", full_worker),
    ]
}

/// A primary of workers that serve `listen`.
fn serving(policy: SchedulingPolicy, workers: usize, listen: &Value) -> Result<Primary, Failed> {
    let mut primary = Primary::new(Settings { policy, ..Settings::default() })?;
    for _ in 0..workers {
        fork(&mut primary, listen)?;
    }
    Ok(primary)
}

fn fork(primary: &mut Primary, listen: &Value) -> Result<WorkerId, Failed> {
    Ok(primary.fork_with_env([("PROGRAM", "serve the script".to_owned()), ("LISTEN", listen.to_string())])?)
}

/// The address or the error that the next worker reports.
async fn listen_result(primary: &mut Primary) -> Result<String, Failed> {
    let result = message(primary).await?;
    Ok(result.as_str().ok_or("an address")?.to_owned())
}

async fn port(primary: &mut Primary) -> Result<u16, Failed> {
    let result = listen_result(primary).await?;
    let (_, port) = result.rsplit_once(':').ok_or_else(|| result.clone())?;
    Ok(port.parse()?)
}

/// Asserts that `listen` fails, with an error that begins with `why`.
async fn refused(primary: &mut Primary, listen: Value, why: &str) -> TestResult {
    fork(primary, &listen)?;
    let text = listen_result(primary).await?;
    if text.starts_with(why) { Ok(()) } else { Err(format!("{text} does not begin with {why}").into()) }
}

async fn over(mut primary: Primary) -> TestResult {
    primary.disconnect_all();
    let seen = rest(&mut primary).await?;
    let failed =
        |event: &&Event| matches!(event, Event::Exit { status, .. } if *status != ExitStatus::Code(0));
    assert_eq!(seen.iter().find(failed), None);
    Ok(())
}

fn place(name: &str) -> io::Result<(TempDir, PathBuf)> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join(name);
    Ok((directory, path))
}

/// The answer of a server at a path.
async fn answer_at(primary: &mut Primary, path: &Path) -> Result<String, Failed> {
    let client = UnixStream::connect(path)?;
    client.set_read_timeout(Some(TIMEOUT))?;
    read_answer(primary, client).await
}

async fn serves_a_path(policy: SchedulingPolicy) -> TestResult {
    let (_directory, path) = place("s")?;
    let mut primary = serving(policy, 2, &json!({ "path": path }))?;
    for _ in 0..2 {
        let listening = until(&mut primary, |event| matches!(event, Event::Listening { .. })).await?.pop();
        let Some(Event::Listening { address, .. }) = listening else { return Err("it listens".into()) };
        assert_eq!((address.address.as_deref(), address.port), (path.to_str(), -1));
    }
    for _ in 0..4 {
        let who = answer_at(&mut primary, &path).await?;
        assert!(["1", "2"].contains(&who.as_str()));
    }
    primary.disconnect_all();
    rest(&mut primary).await?;
    // The last worker removes the path, and not the primary.
    assert!(!path.exists());
    fork(&mut primary, &json!({ "path": path }))?;
    listen_result(&mut primary).await?;
    abandon(primary, || ()).await?;
    assert!(!path.exists());
    Ok(())
}

async fn relative_path() -> TestResult {
    let (directory, path) = place("s")?;
    let mut primary = primary()?;
    primary.setup(::cluster::SpawnOptions::new().cwd(directory.path()));
    fork(&mut primary, &json!({ "path": "s" }))?;
    assert_eq!(Some(listen_result(&mut primary).await?.as_str()), path.to_str());
    assert_eq!(answer_at(&mut primary, &path).await?, "1");
    over(primary).await
}

async fn long_path() -> TestResult {
    let (directory, _) = place("s")?;
    let deep = directory.path().join("d".repeat(200));
    fs::create_dir(&deep)?;
    for policy in [SchedulingPolicy::RoundRobin, SchedulingPolicy::Shared] {
        let mut primary = serving(policy, 2, &json!({ "path": deep.join("s") }))?;
        for _ in 0..2 {
            assert_eq!(Some(listen_result(&mut primary).await?.as_str()), deep.join("s").to_str());
        }
        // A client cannot use the long path either, so the client uses the directory.
        let there = File::open(&deep)?;
        let short = format!("/proc/self/fd/{}/s", there.as_raw_fd());
        let who = answer_at(&mut primary, Path::new(&short)).await?;
        assert!(["1", "2"].contains(&who.as_str()));
        over(primary).await?;
        assert_eq!(fs::read_dir(&deep)?.count(), 0);
    }
    Ok(())
}

/// A Unix socket that has a name but no file, under both policies.
async fn abstract_name() -> TestResult {
    let name = format!("cluster-{}", std::process::id());
    let address = net::SocketAddr::from_abstract_name(&name)?;
    for policy in [SchedulingPolicy::RoundRobin, SchedulingPolicy::Shared] {
        let listen = json!({ "path": format!("\0{name}") });
        let mut primary = serving(policy, 1, &listen)?;
        assert_eq!(listen_result(&mut primary).await?, format!("\0{name}"));
        let client = UnixStream::connect_addr(&address)?;
        client.set_read_timeout(Some(TIMEOUT))?;
        assert_eq!(read_answer(&mut primary, client).await?, "1");
        over(primary).await?;
        assert!(UnixStream::connect_addr(&address).is_err());
    }
    Ok(())
}

async fn mode() -> TestResult {
    let (_directory, path) = place("s")?;
    for policy in [SchedulingPolicy::RoundRobin, SchedulingPolicy::Shared] {
        let listen = json!({ "path": path, "readable_all": true, "writable_all": true });
        let mut primary = serving(policy, 1, &listen)?;
        listen_result(&mut primary).await?;
        assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o666, 0o666);
        over(primary).await?;
    }
    Ok(())
}

async fn bad_paths() -> TestResult {
    let (directory, path) = place("s")?;
    fs::write(&path, "here already")?;
    let missing = directory.path().join("no/s");
    let long = directory.path().join("n".repeat(200));
    for policy in [SchedulingPolicy::RoundRobin, SchedulingPolicy::Shared] {
        let mut primary = serving(policy, 0, &Value::Null)?;
        for (path, errno) in [(&path, "EADDRINUSE"), (&missing, "EACCES"), (&long, "ENAMETOOLONG")] {
            refused(
                &mut primary,
                json!({ "path": path }),
                &format!("cannot bind {}: {errno} (", path.display()),
            )
            .await?;
        }
        over(primary).await?;
    }
    assert_eq!(fs::read_to_string(&path)?, "here already");
    Ok(())
}

/// A client with a time limit for reads.
fn datagram_client(host: &str) -> io::Result<UdpSocket> {
    let client = UdpSocket::bind((host, 0))?;
    client.set_read_timeout(Some(TIMEOUT))?;
    Ok(client)
}

/// The answer to a datagram, while the primary runs.
async fn answered(primary: &mut Primary, client: &UdpSocket, text: &str) -> Result<String, Failed> {
    client.send(text.as_bytes())?;
    let client = client.try_clone()?;
    let answer = tokio::task::spawn_blocking(move || {
        let mut answer = [0; 100];
        client.recv(&mut answer).map(|length| String::from_utf8_lossy(&answer[..length]).into_owned())
    });
    tokio::select! {
        answer = answer => Ok(answer??),
        event = until(primary, |event| matches!(event, Event::Exit { .. })) => Err(format!("{event:?}").into()),
    }
}

async fn datagrams(host: &str) -> TestResult {
    let mut primary =
        serving(SchedulingPolicy::RoundRobin, 2, &json!({ "udp": true, "host": host, "port": 0 }))?;
    let first = port(&mut primary).await?;
    assert_eq!(port(&mut primary).await?, first);
    let client = datagram_client(host)?;
    client.connect((host, first))?;
    for number in 0..10 {
        let answer = answered(&mut primary, &client, &number.to_string()).await?;
        assert!([format!("{number} for 1"), format!("{number} for 2")].contains(&answer));
    }
    over(primary).await
}

async fn last_datagram() -> TestResult {
    let mut primary = primary()?;
    let listen = json!({ "udp": true, "host": "127.0.0.1", "port": 0, "stay": true });
    fork(&mut primary, &listen)?;
    port(&mut primary).await?;
    primary.disconnect_all();
    let seen = rest(&mut primary).await?;
    // The worker receives an error instead of a datagram, and exits with a special code.
    assert!(seen.contains(&Event::Exit {
        worker: WorkerId(1),
        status: ExitStatus::Code(NOT_CONNECTED),
        exited_after_disconnect: true,
    }));
    Ok(())
}

/// The exit code of a worker that has received an error instead of a datagram.
pub(crate) const NOT_CONNECTED: i32 = 9;

async fn busy_udp_port() -> TestResult {
    let taken = UdpSocket::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?;
    let mut primary = primary()?;
    let listen = json!({ "udp": true, "host": "127.0.0.1", "port": address.port() });
    refused(
        &mut primary,
        listen,
        &format!("cannot bind {address}: EADDRINUSE (the address is in use); stop"),
    )
    .await?;
    over(primary).await
}

async fn exclusive() -> TestResult {
    let listen = json!({ "host": "127.0.0.1", "port": 0, "exclusive": true });
    let mut primary = serving(SchedulingPolicy::RoundRobin, 2, &listen)?;
    let (first, second) = (port(&mut primary).await?, port(&mut primary).await?);
    assert_ne!(first, second);
    let mut who = [
        read_answer(&mut primary, connect(first)?).await?,
        read_answer(&mut primary, connect(second)?).await?,
    ];
    who.sort();
    assert_eq!(who, ["1".to_owned(), "2".to_owned()]);
    // A signal ends the workers: the primary itself neither kills nor disconnects.
    primary.disconnect_all();
    let both =
        |seen: &[Event]| seen.iter().filter(|event| matches!(event, Event::Disconnect { .. })).count() == 2;
    let mut seen = Vec::new();
    while !both(&seen) {
        seen.extend(until(&mut primary, |event| matches!(event, Event::Disconnect { .. })).await?);
    }
    assert!(!(seen.iter().any(|event| matches!(event, Event::Listening { .. } | Event::Exit { .. }))));
    assert!(!read_answer(&mut primary, connect(first)?).await?.is_empty());
    for worker in primary.running_workers().collect::<Vec<_>>() {
        primary.kill(worker, ::cluster::Signal::SIGKILL);
    }
    rest(&mut primary).await.map(drop)
}

async fn exclusive_path() -> TestResult {
    let (_directory, path) = place("s")?;
    let mut primary = primary()?;
    fork(&mut primary, &json!({ "path": path, "exclusive": true, "one": true }))?;
    listen_result(&mut primary).await?;
    let client = UnixStream::connect(&path)?;
    // The worker has closed the connection and the server.
    assert_eq!(listen_result(&mut primary).await?, "closed");
    assert_eq!((path.exists(), io::read_to_string(client)?), (false, "1".to_owned()));
    over(primary).await
}

async fn busy_exclusive_port() -> TestResult {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?;
    let mut primary = primary()?;
    let listen = json!({ "host": "127.0.0.1", "port": address.port(), "exclusive": true });
    refused(
        &mut primary,
        listen,
        &format!("cannot listen on {address}: EADDRINUSE (the address is in use); stop"),
    )
    .await?;
    over(primary).await
}

async fn reused_port() -> TestResult {
    let mut primary = primary()?;
    let listen = |port: u16| json!({ "host": "127.0.0.1", "port": port, "reuse_port": true });
    fork(&mut primary, &listen(0))?;
    let first = port(&mut primary).await?;
    fork(&mut primary, &listen(first))?;
    assert_eq!(port(&mut primary).await?, first);
    for _ in 0..5 {
        let who = read_answer(&mut primary, connect(first)?).await?;
        assert!(["1", "2"].contains(&who.as_str()));
    }
    for worker in primary.running_workers().collect::<Vec<_>>() {
        primary.kill(worker, ::cluster::Signal::SIGKILL);
    }
    rest(&mut primary).await.map(drop)
}

async fn descriptor(policy: SchedulingPolicy) -> TestResult {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (_directory, path) = place("s")?;
    let at_path = std::os::unix::net::UnixListener::bind(&path)?;
    let port = listener.local_addr()?.port();
    let mut primary = serving(policy, 2, &json!({ "fd": listener.as_raw_fd() }))?;
    for _ in 0..2 {
        assert_eq!(listen_result(&mut primary).await?, format!("127.0.0.1:{port}"));
    }
    for _ in 0..4 {
        let who = read_answer(&mut primary, connect(port)?).await?;
        assert!(["1", "2"].contains(&who.as_str()));
    }
    fork(&mut primary, &json!({ "fd": at_path.as_raw_fd(), "unix": true }))?;
    listen_result(&mut primary).await?;
    assert_eq!(answer_at(&mut primary, &path).await?, "3");
    over(primary).await?;
    // The primary still owns both.
    assert_eq!((listener.local_addr()?.port(), path.exists()), (port, true));
    TcpStream::connect(("127.0.0.1", port)).map(drop)?;
    Ok(())
}

async fn udp_descriptor() -> TestResult {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let address = socket.local_addr()?;
    let mut primary =
        serving(SchedulingPolicy::RoundRobin, 1, &json!({ "udp": true, "fd": socket.as_raw_fd() }))?;
    assert_eq!(listen_result(&mut primary).await?, address.to_string());
    let client = datagram_client("127.0.0.1")?;
    client.connect(address)?;
    assert_eq!(answered(&mut primary, &client, "hello").await?, "hello for 1");
    over(primary).await
}

async fn bad_descriptors() -> TestResult {
    let file = File::open("/dev/null")?;
    let (pipe, _other) = UnixStream::pair()?;
    let udp = UdpSocket::bind("127.0.0.1:0")?;
    for policy in [SchedulingPolicy::RoundRobin, SchedulingPolicy::Shared] {
        let mut primary = serving(policy, 0, &Value::Null)?;
        for fd in [1_000_000, file.as_raw_fd(), pipe.as_raw_fd(), udp.as_raw_fd()] {
            refused(
                &mut primary,
                json!({ "fd": fd }),
                &format!("cannot bind descriptor {fd}: EINVAL (an invalid argument); a descriptor must"),
            )
            .await?;
        }
        over(primary).await?;
    }
    Ok(())
}

/// In a removed directory, a relative path leads to a fitting error.
async fn removed_directory() -> TestResult {
    let directory = tempfile::tempdir()?;
    let inner = directory.path().join("inner");
    std::fs::create_dir(&inner)?;
    let own = std::env::current_exe()?;
    let mut primary = super::support::primary_of(
        "/bin/sh",
        &["-c", "rmdir \"$PWD\" && exec \"$0\"", &own.to_string_lossy()],
    )?;
    primary.setup(::cluster::SpawnOptions::new().cwd(&*inner));
    let text = "cannot read the working directory, where a relative path begins; use an absolute path";
    refused(&mut primary, json!({ "path": "s" }), text).await?;
    over(primary).await
}

/// The error of an empty path does not blame the working directory.
async fn empty_path() -> TestResult {
    let mut primary = primary()?;
    refused(&mut primary, json!({ "path": "" }), "unsuitable address: the path is empty").await?;
    over(primary).await
}

async fn ipv6_only() -> TestResult {
    let listen = |ipv6_only| json!({ "host": "::", "port": 0, "ipv6_only": ipv6_only });
    let mut primary = primary()?;
    fork(&mut primary, &listen(true))?;
    let alone = port(&mut primary).await?;
    assert_eq!(
        TcpStream::connect(("127.0.0.1", alone)).map(drop).map_err(|error| error.kind()),
        Err(io::ErrorKind::ConnectionRefused)
    );
    let client = TcpStream::connect((Ipv6Addr::LOCALHOST, alone))?;
    assert_eq!(read_answer(&mut primary, client).await?, "1");
    over(primary).await?;
    let mut primary = serving(SchedulingPolicy::RoundRobin, 1, &listen(false))?;
    let both = port(&mut primary).await?;
    assert_eq!(read_answer(&mut primary, connect(both)?).await?, "1");
    over(primary).await
}

/// An IPv6 address in a zone, given by the name and by the number of the interface.
async fn zone() -> TestResult {
    for policy in [SchedulingPolicy::RoundRobin, SchedulingPolicy::Shared] {
        for zone in ["lo", "1"] {
            let mut primary = serving(policy, 1, &json!({ "host": "::1", "zone": zone, "port": 0 }))?;
            let listening =
                until(&mut primary, |event| matches!(event, Event::Listening { .. })).await?.pop();
            let Some(Event::Listening { address, .. }) = listening else { return Err("it listens".into()) };
            assert_eq!(address.address.as_deref(), Some("::1%lo"));
            let client = TcpStream::connect((Ipv6Addr::LOCALHOST, address.port.try_into()?))?;
            assert_eq!(read_answer(&mut primary, client).await?, "1");
            over(primary).await?;
        }
    }
    Ok(())
}

async fn another_kind() -> TestResult {
    let mut primary = primary()?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    for listen in [
        json!({ "path": "/nowhere", "as": "tcp" }),
        json!({ "port": 0, "as": "udp" }),
        json!({ "port": 0, "as": "unix" }),
    ] {
        fork(&mut primary, &listen)?;
        let result = listen_result(&mut primary).await?;
        assert!(result.starts_with("unsuitable address: use `listen` for TCP"));
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    fork(&mut primary, &json!({ "fd": listener.as_raw_fd(), "unix": true }))?;
    let result = listen_result(&mut primary).await?;
    assert!(result.starts_with("unsuitable address: use `listen` for TCP"));
    drop(socket);
    over(primary).await
}

async fn full_worker() -> TestResult {
    let mut primary = primary()?;
    let listen = |most: u32| json!({ "host": "127.0.0.1", "port": 0, "max_connections": most, "hold": true });
    fork(&mut primary, &listen(1))?;
    let port = port(&mut primary).await?;
    let mut first = connect(port)?;
    assert_eq!(message(&mut primary).await?, json!("held"));
    let mut second = connect(port)?;
    // The connection waits as long as there is no other worker.
    fork(&mut primary, &listen(1))?;
    listen_result(&mut primary).await?;
    assert_eq!(message(&mut primary).await?, json!("held"));
    let mut who = [0_u8; 2];
    first.read_exact(&mut who[..1])?;
    second.read_exact(&mut who[1..])?;
    assert_eq!(who, *b"12");
    drop((first, second));
    over(primary).await
}
