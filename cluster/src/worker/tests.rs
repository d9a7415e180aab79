//! A worker with a listener and a connection over a real channel; the test is the primary.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::task::Waker;

use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::*;
use crate::connection::Connection;
use cluster_core::{ListenAddress, ListenOptions, SocketId};
use tokio::time::timeout;

fn worker(rule: ExitRule) -> (Worker, UnixStream) {
    let (near, far) = UnixStream::pair().expect("a pair");
    let unix = Unix::with_channel(near).expect("a channel");
    let json = cluster_core::Serialization::Json;
    let machine = cluster_core::Worker::new(WorkerId(1), json, Limits::default());
    (Worker { inner: Arc::new(Inner::new(machine, unix, Handle::current(), rule)) }, far)
}

/// A dropped stream of events leaves no waker.
#[tokio::test]
async fn dropped_events_leave_no_waker() {
    struct Nothing;
    impl std::task::Wake for Nothing {
        fn wake(self: Arc<Self>) {}
    }
    let (worker, _far) = worker(ExitRule::KeepRunning);
    let count = Arc::new(Nothing);
    let waker = Waker::from(count.clone());
    let before = Arc::strong_count(&count);
    {
        let mut events = pin!(worker.events());
        assert!(events.as_mut().poll_next(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(Arc::strong_count(&count), before + 1);
    }
    assert_eq!(Arc::strong_count(&count), before);
}

/// A shutdown ends the stream of an open connection.
#[tokio::test]
async fn shutdown_ends_open_connection() {
    let (worker, _channel) = worker(ExitRule::KeepRunning);
    let (near, mut far) = UnixStream::pair().expect("a pair");
    far.set_read_timeout(Some(Duration::from_secs(10))).expect("a bound");
    near.set_nonblocking(true).expect("a flag");
    let stream = || tokio::net::UnixStream::from_std(near);
    let mut connection = Connection::new(&worker.inner, SocketId(1), stream).expect("a connection");
    assert!(connection.is_write_vectored());
    connection.write_all(b"all").await.expect("written");
    connection.shutdown().await.expect("an open stream");
    let mut read = String::new();
    far.read_to_string(&mut read).expect("the end");
    assert_eq!(read, "all");
    drop(connection);
}

/// A new worker is connected, and keeps the bounds set by the program for the exit.
#[tokio::test]
async fn new_worker_keeps_its_bounds() {
    let (worker, _far) = worker(ExitRule::KeepRunning);
    assert!(worker.is_connected() && !worker.exited_after_disconnect());
    worker.set_linger(Duration::from_secs(4_321));
    worker.set_exit_deadline(Duration::from_secs(1_234));
    let worker = format!("{worker:?}");
    assert!(worker.contains("4321s") && worker.contains("1234s"), "{worker}");
}

/// An exclusive datagram socket still receives after the end of the channel.
#[tokio::test]
async fn exclusive_datagrams_never_end() {
    for reuse_port in [false, true] {
        let (worker, far) = worker(ExitRule::KeepRunning);
        worker.inner.start();
        let host = Some(std::net::Ipv4Addr::LOCALHOST.into());
        let address =
            ListenAddress::Udp { v6: false, host, port: Some(0), ipv6_only: false, reuse_address: false };
        let options = ListenOptions { exclusive: !reuse_port, reuse_port, ..ListenOptions::from(address) };
        let socket = worker.bind_udp_with(options).await.expect("a socket");
        drop(far);
        let bound = Duration::from_secs(10);
        timeout(bound, worker.disconnected()).await.expect("the channel ends in time");
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        sender.send_to(b"late", socket.local_addr().expect("an address")).expect("sent");
        let mut buffer = [0; 10];
        let received = timeout(bound, socket.recv_from(&mut buffer)).await.expect("received in time");
        assert_eq!(received.expect("a datagram").map(|(length, _)| length), Some(4));
    }
}
