//! Exclusive servers of a worker: bound without the primary.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test matches the variant under test alone")]

use crate::listening::{
    BOUND, LISTENER, LOOPBACK, ONE, announced, binds, exclusive, path, serving, udp, worker_events,
};
use cluster_core::testing::{Answer, TestProcess};
use cluster_core::{
    BindAddress, Call, ChannelId, Errno, Event, HandleId, Limits, ListenAddress, ListenError, ListenOptions,
    Machine, OsEvent, Serialization, Settings, SocketId, Worker, WorkerEvent,
};

/// The worker binds an exclusive server, and the primary gets no message.
#[test]
fn exclusive_server_bypasses_primary() {
    let reuse = ListenOptions { reuse_port: true, backlog: Some(5), ..ListenAddress::any(80).into() };
    for (options, reuse_port, backlog) in [(exclusive(ListenAddress::any(80)), false, 511), (reuse, true, 5)]
    {
        let mut cluster = serving(Settings::default(), &options);
        assert_eq!(binds(&cluster.os.calls), []);
        assert_eq!(announced(&cluster), []);
        let bound = BindAddress::Tcp { host: None, port: 80, ipv6_only: false, reuse_port };
        assert_eq!(binds(&cluster.processes[&ONE].os.calls), [(bound, Some(backlog))]);
        cluster.worker(ONE).accept(LISTENER);
        cluster.settle();
        let asked = &cluster.processes[&ONE].os.calls;
        assert_eq!(asked.last(), Some(&Call::ResumeAccept { socket: BOUND }));
        let connection = SocketId(99);
        cluster.worker(ONE).handle(OsEvent::Accepted { listener: BOUND, socket: connection, client: None });
        cluster.settle();
        let last = worker_events(&cluster, ONE).last();
        assert_eq!(last, Some(&WorkerEvent::Connection { listener: LISTENER, connection }));
    }
}

/// A shutdown neither closes an exclusive server nor waits for it.
#[test]
fn shutdown_ignores_exclusive_server() {
    let mut cluster = serving(Settings::default(), &exclusive(ListenAddress::any(0)));
    cluster.worker(ONE).disconnect();
    let worker = cluster.worker(ONE).clone();
    cluster.settle();
    assert!(cluster.events.contains(&Event::Disconnect { worker: ONE }));
    // The test cluster removes a process with a closed channel; the worker is examined alone.
    let mut worker = worker;
    let mut outputs = Vec::new();
    while let Some(output) = worker.poll() {
        outputs.push(output);
    }
    let closes = |output: &_| matches!(output, cluster_core::Output::Call(Call::Close { .. }));
    assert!(!outputs.iter().any(closes), "{outputs:?}");
}

fn worker() -> Worker {
    Worker::new(ONE, Serialization::Json, Limits::default())
}

/// An exclusive server can be opened and closed without a channel.
#[test]
fn exclusive_server_needs_no_channel() {
    let mut process = TestProcess::new(worker());
    let first = process.machine.listen(exclusive(ListenAddress::any(0)));
    process.machine.disconnect();
    process.drain();
    process.read(ChannelId::PRIMARY, r#"{"cmd":"NODE_CLUSTER","ack":1,"seq":0}"#, None);
    assert!(!process.machine.is_connected());
    process.machine.close(first);
    let late = process.machine.listen(exclusive(ListenAddress::any(0)));
    process.drain();
    let exits = process.os.calls.iter().any(|call| matches!(call, Call::Exit { .. }));
    assert!(!exits, "a worker that was asked to exit exits when its program does");
    assert!(process.os.calls.contains(&Call::Close { socket: BOUND }));
    let lives = |event: &WorkerEvent| match event {
        WorkerEvent::Listening { listener, .. } => Some(("listening", *listener)),
        WorkerEvent::Closed { listener } => Some(("closed", *listener)),
        _ => None,
    };
    let lives: Vec<_> = process.events.iter().filter_map(lives).collect();
    assert_eq!(lives, [("listening", first), ("closed", first), ("listening", late)]);
}

/// The failed bind of an exclusive server is reported as in Node.
#[test]
fn exclusive_bind_failure_matches_node() {
    let mut process = TestProcess::new(worker());
    process.os.binds = Answer::Failures(1, Errno::EADDRINUSE);
    let address = ListenAddress::Tcp { host: Some(LOOPBACK), port: 80, ipv6_only: false };
    let listener = process.machine.listen(exclusive(address));
    process.drain();
    let (calls, events) = process.take();
    let bind = |call: &Call| if let Call::Bind { handle, .. } = call { Some(*handle) } else { None };
    assert_eq!(calls.iter().filter_map(bind).collect::<Vec<_>>(), [HandleId(listener.0)]);
    let [WorkerEvent::ListenFailed { error, .. }] = &events[..] else { unreachable!("{events:?}") };
    assert_eq!(
        error.to_string(),
        "cannot listen on 127.0.0.1:80: EADDRINUSE (the address is in use); stop what listens there, or choose another address"
    );
}

/// A listen error names the binding process and the address.
#[test]
fn listen_error_names_binder() {
    let text =
        |address: ListenAddress| ListenError { errno: Errno::EACCES, address, exclusive: false }.to_string();
    assert_eq!(
        text(ListenAddress::any(80)),
        "cannot bind port 80 on every address: EACCES (permission denied); a port below 1024 needs root or CAP_NET_BIND_SERVICE"
    );
    assert_eq!(
        text(path()),
        "cannot bind /run/cluster: EACCES (permission denied); the directory of the path must exist, and the primary must be allowed to write in it"
    );
    assert_eq!(
        text(udp(Some(53))),
        "cannot bind 127.0.0.1:53: EACCES (permission denied); a port below 1024 needs root or CAP_NET_BIND_SERVICE"
    );
    assert_eq!(
        text(ListenAddress::Descriptor { fd: 7, udp: false }),
        "cannot bind descriptor 7: EACCES (permission denied); a port below 1024 needs root or CAP_NET_BIND_SERVICE"
    );
}

// ---- connection limits
