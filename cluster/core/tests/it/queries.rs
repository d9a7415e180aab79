//! The queries of a worker, byte by byte as Node's own workers write them, and the primary's refusals.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test matches the variant under test alone")]

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

use cluster_core::testing::{TestOs, drain};
use cluster_core::{
    BindAddress, Call, ChannelId, Errno, Limits, ListenAddress, ListenError, ListenOptions, Machine, OsEvent,
    Primary, Serialization, Settings, SocketId, Worker, WorkerId,
};
use serde_json::{Value, json};

const ONE: WorkerId = WorkerId(1);

/// The messages written by a machine until idle. A bind has no answer.
fn written<M: Machine>(machine: &mut M) -> Vec<Value> {
    written_on(machine, TestOs::withholding_binds())
}

fn written_on<M: Machine>(machine: &mut M, mut os: TestOs) -> Vec<Value> {
    drain(machine, &mut os, |_| {});
    os.written().iter().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// The query of a worker with these options.
fn query(options: ListenOptions) -> Value {
    let mut worker = Worker::new(ONE, Serialization::Json, Limits::default());
    worker.listen(options);
    let mut query = written(&mut worker).into_iter().find(|message| message["act"] == "queryServer");
    let fields = query.as_mut().and_then(Value::as_object_mut).expect("a worker asks");
    for common in ["cmd", "act", "seq"] {
        fields.remove(common).expect("each request has it");
    }
    query.unwrap_or_default()
}

/// Node: `queryServer` of `lib/internal/cluster/child.js`, with the fields of `net` and `dgram`.
#[test]
fn queries_are_those_of_node() {
    let host = |text: &str| text.parse().expect("an address");
    let (v4, v6) = ("127.0.0.1", "fe80::1");
    let zoned =
        |udp| ListenAddress::Zoned { host: host_v6(v6), zone: "eth0".into(), port: 80, udp, ipv6_only: true };
    let udp = |v6, host, ipv6_only, reuse_address| ListenAddress::Udp {
        v6,
        host,
        port: Some(53),
        ipv6_only,
        reuse_address,
    };
    for (address, expected) in [
        (
            ListenAddress::Tcp { host: Some(host(v4)), port: 80, ipv6_only: false },
            json!({ "address": v4, "port": 80, "addressType": 4, "flags": 0, "backlog": 9 }),
        ),
        (
            ListenAddress::Tcp { host: Some(host(v6)), port: 80, ipv6_only: true },
            json!({ "address": v6, "port": 80, "addressType": 6, "flags": 1, "backlog": 9 }),
        ),
        (
            ListenAddress::Path { path: "/run/a".into(), readable_all: true, writable_all: false },
            json!({ "address": "/run/a", "port": -1, "addressType": -1, "backlog": 9, "readableAll": true }),
        ),
        (
            ListenAddress::Descriptor { fd: 7, udp: false },
            json!({ "address": null, "port": null, "addressType": null, "fd": 7, "backlog": 9 }),
        ),
        (
            ListenAddress::Descriptor { fd: 7, udp: true },
            json!({ "address": null, "port": null, "addressType": "udp4", "fd": 7 }),
        ),
        (
            zoned(false),
            json!({ "address": "fe80::1%eth0", "port": 80, "addressType": 6, "flags": 1, "backlog": 9 }),
        ),
        (
            zoned(true),
            json!({ "address": "fe80::1%eth0", "port": 80, "addressType": "udp6", "fd": -1, "flags": 1 }),
        ),
        (
            udp(false, None, false, true),
            json!({ "address": "0.0.0.0", "port": 53, "addressType": "udp4", "fd": -1, "flags": 4 }),
        ),
        (
            udp(true, None, true, true),
            json!({ "address": "::", "port": 53, "addressType": "udp6", "fd": -1, "flags": 5 }),
        ),
        (
            udp(true, Some(host(v6)), true, false),
            json!({ "address": v6, "port": 53, "addressType": "udp6", "fd": -1, "flags": 1 }),
        ),
    ] {
        let mut expected = expected;
        expected["index"] = json!(0);
        expected["data"] = Value::Null;
        assert_eq!(
            query(ListenOptions { backlog: Some(9), ..address.clone().into() }),
            expected,
            "{address:?}"
        );
    }
}

fn host_v6(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

/// An address in a zone keeps the zone.
#[test]
fn zones_are_kept() {
    let address = |text: &str| {
        let address: SocketAddr = text.parse().expect("an address");
        ListenOptions::from(address).address
    };
    let host = |text: &str| Some(text.parse().expect("an address"));
    assert_eq!(address("[::1]:80"), ListenAddress::Tcp { host: host("::1"), port: 80, ipv6_only: false });
    assert_eq!(
        address("127.0.0.1:80"),
        ListenAddress::Tcp { host: host("127.0.0.1"), port: 80, ipv6_only: false }
    );
    let ListenAddress::Zoned { zone, udp: false, .. } = address("[fe80::1%3]:80") else {
        unreachable!("it has one")
    };
    assert_eq!(zone, "3");
    let zoned =
        ListenAddress::Zoned { host: host_v6("fe80::1"), zone, port: 80, udp: false, ipv6_only: false };
    let advice = |errno| ListenError { errno, address: zoned.clone(), exclusive: false }.to_string();
    assert!(advice(Errno::EINVAL).contains("the zone must be"));
    assert!(!advice(Errno::EADDRINUSE).contains("the zone must be"));
}

/// A primary of some workers.
fn primary(settings: Settings, workers: usize) -> Primary {
    let mut primary = Primary::new(settings);
    for _ in 0..workers {
        primary.fork().expect("the settings are valid");
    }
    written(&mut primary);
    primary
}

/// A query with these fields; the other fields ask for port 80.
fn asked(fields: &Value) -> Value {
    let mut query = json!({
        "cmd": "NODE_CLUSTER", "act": "queryServer", "seq": 1, "index": 0, "address": null, "port": 80,
        "addressType": 4,
    });
    for (name, value) in fields.as_object().expect("fields") {
        query[name] = value.clone();
    }
    query
}

fn read(machine: &mut impl Machine, channel: ChannelId, message: &Value, socket: Option<SocketId>) {
    machine.handle(OsEvent::Read { channel, bytes: format!("{message}\n").into_bytes(), socket });
}

/// The answer to a query, if it is sent before a bind.
fn answer(primary: &mut Primary, worker: WorkerId, fields: &Value) -> Option<Value> {
    read(primary, worker.into(), &asked(fields), None);
    written(primary).into_iter().find(|message| message["ack"] == 1)
}

/// The error number in the primary's answer to a query with these fields; `None` if the primary binds.
fn refusal(fields: &Value) -> Option<i64> {
    answer(&mut primary(Settings::default(), 1), ONE, fields).and_then(|answer| answer["errno"].as_i64())
}

/// The primary's bind for a query with these fields.
fn bound(fields: &Value) -> BindAddress {
    let mut primary = primary(Settings::default(), 1);
    read(&mut primary, ONE.into(), &asked(fields), None);
    let mut os = TestOs::withholding();
    drain(&mut primary, &mut os, |_| {});
    let is_bind = |call| if let Call::Bind { address, .. } = call { Some(address) } else { None };
    os.calls.into_iter().find_map(is_bind).expect("a bound listener")
}

/// Node: `UV_UDP_IPV6ONLY` and `UV_UDP_REUSEADDR`. The second has no effect on TCP.
#[test]
fn flags_of_zones_are_nodes() {
    for address_type in [json!(6), json!("udp6")] {
        for flags in [0, 1, 4, 5] {
            let fields = json!({ "address": "fe80::1%eth0", "addressType": address_type, "flags": flags });
            let udp = address_type == "udp6";
            let expected = BindAddress::Zoned {
                host: host_v6("fe80::1"),
                zone: "eth0".into(),
                port: 80,
                datagrams: udp,
                ipv6_only: flags & 1 != 0,
                reuse_address: udp && flags & 4 != 0,
                reuse_port: false,
            };
            assert_eq!(bound(&fields), expected);
        }
    }
}

/// The last answer of a primary that has bound this address.
fn answer_at(address: SocketAddr, fields: &Value) -> Value {
    let mut primary = primary(Settings::default(), 1);
    read(&mut primary, ONE.into(), &asked(fields), None);
    let mut os = TestOs::default();
    os.address = Some(address.into());
    written_on(&mut primary, os).pop().expect("an answer")
}

/// The answer has the zone of the address, if any, and the worker's data, if any.
#[test]
fn answers_are_those_of_node() {
    let at = |scope| SocketAddr::from(SocketAddrV6::new(host_v6("fe80::1"), 80, 0, scope));
    let fields = json!({ "address": "fe80::1%2", "addressType": 6 });
    assert_eq!(answer_at(at(2), &fields)["sockname"]["address"], "fe80::1%2");
    assert_eq!(answer_at(at(0), &fields)["sockname"]["address"], "fe80::1");
    let data = |fields: Value| answer_at(at(0), &fields).as_object().expect("an object").get("data").cloned();
    assert_eq!(data(json!({})), None);
    assert_eq!(data(json!({ "data": null })), Some(Value::Null));
    assert_eq!(data(json!({ "data": [1] })), Some(json!([1])));
}

/// Workers share the first data that is true in JavaScript.
#[test]
fn first_true_data_is_shared() {
    for (first, shared) in [(json!(null), "b"), (json!(0), "b"), (json!(""), "b"), (json!("a"), "a")] {
        let mut primary = primary(Settings::default(), 2);
        for (worker, data) in [(ONE, first.clone()), (WorkerId(2), json!("b"))] {
            read(&mut primary, worker.into(), &asked(&json!({ "data": data })), None);
        }
        let answers = written_on(&mut primary, TestOs::default());
        assert_eq!(answers.last().map(|answer| &answer["data"]), Some(&json!(shared)), "{first}");
    }
}

/// After closing a server, a worker uses the same index for the next server of the same address.
#[test]
fn index_is_given_back() {
    let mut worker = Worker::new(ONE, Serialization::Json, Limits::default());
    for _ in 0..2 {
        let listener = worker.listen(ListenOptions::default());
        let query = written(&mut worker).into_iter().find(|message| message["act"] == "queryServer");
        let query = query.expect("a worker asks");
        assert_eq!(query["index"], 0);
        let sockname = json!({ "address": "::", "family": "IPv6", "port": 80 });
        let answer = json!({
            "cmd": "NODE_CLUSTER", "ack": query["seq"], "errno": null, "key": "k", "data": null, "sockname": sockname,
            "seq": 0,
        });
        read(&mut worker, ChannelId::PRIMARY, &answer, None);
        written(&mut worker);
        worker.close(listener);
        written(&mut worker);
    }
}

/// Without a configured backlog, a shared socket has the default backlog of Node.
#[test]
fn worker_listens_with_a_backlog() {
    for (asked, given) in [(None, 511), (Some(0), 511), (Some(1), 1)] {
        let mut worker = Worker::new(ONE, Serialization::Json, Limits::default());
        let listener = worker.listen(ListenOptions { backlog: asked, ..ListenOptions::default() });
        let query = written(&mut worker).into_iter().find(|message| message["act"] == "queryServer");
        let reply = json!({
            "cmd": "NODE_CLUSTER", "ack": query.expect("a worker asks")["seq"], "errno": 0, "key": "k", "data": null, "seq": 0,
        });
        let envelope = json!({ "cmd": "NODE_HANDLE", "type": "net.Native", "msg": reply });
        read(&mut worker, ChannelId::PRIMARY, &envelope, Some(SocketId(9)));
        let mut os = TestOs::withholding();
        drain(&mut worker, &mut os, |_| {});
        let is_listen =
            |call: &Call| if let Call::Listen { backlog, .. } = call { Some(*backlog) } else { None };
        let backlog = os.calls.iter().find_map(is_listen);
        assert_eq!(backlog, Some(given), "{listener:?}");
    }
}

/// The longest address, in bytes. The key, which contains the string of each field, may be twice as long.
const LONGEST: usize = 4096;

#[test]
fn long_queries_are_refused() {
    let too_long = Some(i64::from(-Errno::ENAMETOOLONG.0));
    let path = |length| json!({ "address": "x".repeat(length), "port": -1, "addressType": -1 });
    assert_eq!(refusal(&path(LONGEST)), None);
    assert_eq!(refusal(&path(LONGEST + 1)), too_long);
    // Zeros before a number are part of its string.
    let key = |length: usize| {
        let rest = "null::4:undefined:0".len();
        json!({ "port": format!("{:0>1$}", 80, length - rest) })
    };
    assert_eq!(refusal(&key(2 * LONGEST)), None);
    assert_eq!(refusal(&key(2 * LONGEST + 1)), too_long);
}

/// The data echoed for TLS may be wide, but not deep.
#[test]
fn deep_data_is_refused() {
    let wide = json!({ "data": vec![json!([[], {}]); 100] });
    assert_eq!(refusal(&wide), None);
    let nested = |levels| json!({ "data": (0..levels).fold(json!([]), |inner, _| json!([inner])) });
    assert_eq!(refusal(&nested(63)), None);
    let refused = answer(&mut primary(Settings::default(), 1), ONE, &nested(64)).expect("a refusal");
    assert_eq!(refused["errno"], -Errno::ENOBUFS.0);
    assert_eq!(refused.get("data"), Some(&Value::Null), "what is too deep is not echoed");
}
