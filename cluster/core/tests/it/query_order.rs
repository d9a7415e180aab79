//! The order of a primary's answers to one read with a query and the request to exit.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it looks for, and no more")]

use std::net::{Ipv6Addr, SocketAddr};

use cluster_core::{
    Call, ChannelId, Errno, Os, OsEvent, Primary, SchedulingPolicy, Settings, SocketId, pump,
};

/// An operating system that binds, or fails to, and records the writes.
#[derive(Default)]
struct Recorder {
    bind_fails: bool,
    written: Vec<String>,
}

impl Os for Recorder {
    fn perform(&mut self, call: Call) -> Option<OsEvent> {
        match call {
            Call::Spawn { worker, .. } => Some(OsEvent::Spawned { worker, pid: 1 }),
            Call::Write { channel, bytes, .. } => {
                self.written.push(String::from_utf8(bytes).expect("JSON"));
                Some(OsEvent::Wrote { channel, rest: Vec::new() })
            }
            Call::Bind { handle, .. } if self.bind_fails => {
                Some(OsEvent::BindFailed { handle, errno: Errno::EADDRINUSE })
            }
            Call::Bind { handle, .. } => {
                let address = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 40_000).into();
                Some(OsEvent::Bound { handle, socket: SocketId(1), address })
            }
            _ => None,
        }
    }
}

/// The sequence numbers that the primary acknowledges, in order, when a worker listens and disconnects at once: 1 for the
/// query, 2 for the request to exit.
fn answers(primary: &mut Primary, os: &mut Recorder) -> Vec<u64> {
    let worker = primary.fork().expect("possible settings");
    while pump(primary, os).is_some() {}
    os.written.clear();
    let bytes = concat!(
        r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#,
        "\n",
        r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":null,"port":0,"addressType":4,"seq":1}"#,
        "\n",
        r#"{"cmd":"NODE_CLUSTER","act":"exitedAfterDisconnect","seq":2}"#,
        "\n"
    );
    let channel = ChannelId::from(worker);
    cluster_core::Machine::handle(primary, OsEvent::Read { channel, bytes: bytes.into(), socket: None });
    while pump(primary, os).is_some() {}
    let acknowledged = |line: &str| (1..=2).find(|seq| line.contains(&format!("\"ack\":{seq}")));
    os.written.iter().flat_map(|text| text.lines()).filter_map(acknowledged).collect()
}

/// Node: the query waits for `'listening'`. A worker of Node 26 that has its answer before it exits keeps running.
#[test]
fn first_query_is_answered_later() {
    for bind_fails in [false, true] {
        let (mut primary, mut os) = (Primary::new(Settings::default()), Recorder::default());
        os.bind_fails = bind_fails;
        assert_eq!(answers(&mut primary, &mut os), [2, 1]);
    }
}

/// The socket listens already. Node: waits for no event.
#[test]
fn later_query_is_answered_at_once() {
    let (mut primary, mut os) = (Primary::new(Settings::default()), Recorder::default());
    answers(&mut primary, &mut os);
    assert_eq!(answers(&mut primary, &mut os), [1, 2]);
}

/// Node: a `SharedHandle` answers at once. The worker acknowledges the descriptor before the next answer is written.
#[test]
fn shared_query_is_answered_at_once() {
    let settings = Settings { policy: SchedulingPolicy::Shared, ..Settings::default() };
    let (mut primary, mut os) = (Primary::new(settings), Recorder::default());
    assert_eq!(answers(&mut primary, &mut os), [1]);
}

/// Two workers ask in the same turn: the second query arrives after the bind and before the answer to the first, and waits.
#[test]
fn later_query_waits_for_earlier() {
    let (mut primary, mut os) = (Primary::new(Settings::default()), Recorder::default());
    let workers = [1, 2].map(|seq| (primary.fork().expect("possible settings"), seq));
    while pump(&mut primary, &mut os).is_some() {}
    os.written.clear();
    for (worker, seq) in workers {
        let query = format!(
            r#"{{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":null,"port":0,"addressType":4,"seq":{seq}}}"#
        );
        let (channel, bytes) = (ChannelId::from(worker), format!("{query}\n").into_bytes());
        cluster_core::Machine::handle(&mut primary, OsEvent::Read { channel, bytes, socket: None });
    }
    while pump(&mut primary, &mut os).is_some() {}
    let acknowledged: Vec<bool> = os.written.iter().map(|text| text.contains("\"ack\":1")).collect();
    assert_eq!(acknowledged, [true, false], "{:?}", os.written);
}
